"""Procedural people: drawn from a key, rendered with their keypoints, parts and occlusion."""
