"""The command that shows the person of one picture in the poses of others."""
