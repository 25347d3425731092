"""The work directory of a run: lock, record, checkpoints, logs."""
