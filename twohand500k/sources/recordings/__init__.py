"""Recordings: files of named points to takes. One reader a format, one joint map a layout."""

from twohand500k.sources.recordings.joint_map import JointMap, list_maps, load_map
from twohand500k.sources.recordings.reader import read_takes

__all__ = ["JointMap", "list_maps", "load_map", "read_takes"]
