"""Datasets filtered, thinned to a number and merged."""
