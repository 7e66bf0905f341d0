"""Public hand datasets: their own layouts to takes. One module and one manifest a dataset."""

from twohand500k.sources.datasets.catalog import DECLARED, READERS, read_dataset
from twohand500k.sources.datasets.choice import Choice

__all__ = ["DECLARED", "READERS", "Choice", "read_dataset"]
