"""Weights files: ours, those of other projects, and those that the package carries."""
