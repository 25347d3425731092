"""Characters: people of MakeHuman's mesh with Mixamo's rig, rendered once and read back."""
