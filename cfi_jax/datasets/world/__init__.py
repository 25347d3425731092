"""The embedded world: procedural scenes with known truth."""
