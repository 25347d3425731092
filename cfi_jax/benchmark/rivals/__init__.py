"""Other implementations that stand beside ours."""
