"""Pairs drawn elsewhere, by a prior, made hands, judged, and written as a dataset."""
