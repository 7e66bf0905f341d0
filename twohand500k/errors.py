"""The one exception a person is meant to read. Everything else that raises is a fault of the code."""


class DataError(Exception):
    """The data failed: the message says what, where it looked and what would work. Exit status 1."""
