"""The trainer: one loop for every system."""
