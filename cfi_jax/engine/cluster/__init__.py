"""One command as several processes."""
