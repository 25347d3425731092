"""Systems: networks, their training and their inference, one folder each."""
