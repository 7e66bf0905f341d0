"""Anybody's two-hand data held against the gates and the judge."""
