"""Public hand datasets: their own layouts to takes. One module and one manifest a dataset."""

from twohand500k.sources.datasets.catalog import READERS, read_dataset
from twohand500k.sources.datasets.choice import Choice

__all__ = ["READERS", "Choice", "read_dataset"]
