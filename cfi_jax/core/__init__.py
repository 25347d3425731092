"""Ground that everything stands on: errors, typed configs, command lines, files."""
