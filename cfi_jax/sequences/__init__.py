"""Recordings: numbered files, TIFFs of many pages and videos, read and written frame by frame."""
