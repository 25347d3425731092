"""Running, timing and reporting of contenders."""
