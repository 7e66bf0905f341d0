"""Sources: what was recorded, as `Take`s. Recordings of points, and public datasets of hands."""

from twohand500k.sources.datasets import Choice, read_dataset
from twohand500k.sources.manifest import SourceManifest, list_manifests
from twohand500k.sources.reading import DECLARATIONS, SOURCES, Reading
from twohand500k.sources.recordings import JointMap, list_maps, load_map, read_takes
from twohand500k.sources.synthetic import synthetic_takes
from twohand500k.sources.take import InputFile, Landmark, ManoParameters, Take, Unit

__all__ = [
    "DECLARATIONS",
    "SOURCES",
    "Choice",
    "InputFile",
    "JointMap",
    "Landmark",
    "ManoParameters",
    "Reading",
    "SourceManifest",
    "Take",
    "Unit",
    "list_manifests",
    "list_maps",
    "load_map",
    "read_dataset",
    "read_takes",
    "synthetic_takes",
]
