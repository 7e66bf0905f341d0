"""Shipped manifests: sources (what a dataset is) and recipes (what makes 500K)."""
