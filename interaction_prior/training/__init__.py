"""The prior training: options, run folder, checkpoints, steps."""
