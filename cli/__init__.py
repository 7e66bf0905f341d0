"""The command line: one click module per command, installed as `twohand500k.cli`."""
