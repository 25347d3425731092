"""What a run leaves behind: record, checkpoints, logs."""
