"""A dataset walked through in 3D, in the browser."""
