"""Kernels in C++ for training on a CPU in float32, built on first use where a compiler is."""
