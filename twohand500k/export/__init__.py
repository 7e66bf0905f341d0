"""A dataset in formats other people read, with its card and licences."""
