"""Sources: from recorded files to `Take`s. One reader a format, one TOML joint map a source."""

from twohand500k.sources.recordings.joint_map import JointMap, list_maps, load_map
from twohand500k.sources.recordings.reader import read_takes
from twohand500k.sources.take import InputFile, Landmark, Take, Unit

__all__ = [
    "InputFile",
    "JointMap",
    "Landmark",
    "Take",
    "Unit",
    "list_maps",
    "load_map",
    "read_takes",
]
