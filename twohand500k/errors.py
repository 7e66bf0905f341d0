"""The one exception a person is meant to read. Whatever else raises is a fault of the code."""


class DataError(Exception):
    """The data failed: the message says what, where it looked, what would work. Exit status 1."""
