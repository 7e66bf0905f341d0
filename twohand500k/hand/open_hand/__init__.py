"""The generator of the open hand. ``python -m twohand500k.hand.open_hand`` rebuilds the file."""
