"""Image files and arrays: reading, writing, colour, arithmetic."""
