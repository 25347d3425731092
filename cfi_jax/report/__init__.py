"""Reports on numbers: means with intervals and ranks, as Markdown, CSV, plots and one HTML page."""
