"""Registration of two cameras by the edges that both see."""
