"""The command `weather`: clean pairs in, pairs under rain, haze or snow out."""
