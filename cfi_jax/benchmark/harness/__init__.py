"""How contenders are run, timed and reported."""
