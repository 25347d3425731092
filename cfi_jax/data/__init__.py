"""Samples from files: listing, matching by name, crops, the input pipeline."""
