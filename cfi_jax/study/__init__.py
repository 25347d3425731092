"""Studies: rows of runs from several seeds, measured and tabulated."""
