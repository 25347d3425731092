"""Measures of the features of any network, on arrays of features at places of images."""
