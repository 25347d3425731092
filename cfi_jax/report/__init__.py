"""What a table of scores says: means with intervals and ranks, as Markdown and as one HTML page."""
