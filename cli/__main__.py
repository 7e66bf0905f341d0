"""`python -m twohand500k.cli`: the same as `twohand`."""

from twohand500k.cli.main import main

main()
