"""Companion of twohand500k: trains the interaction prior and the image network on the shards."""
