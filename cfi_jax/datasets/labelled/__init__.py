"""Data sets with the truth about their pixels and objects: classes, label images, boxes."""
