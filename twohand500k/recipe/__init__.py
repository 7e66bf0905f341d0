"""A recipe read, planned and run, stage after stage."""
