"""Every public dataset that can be read, by name: a folder in, takes out."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from twohand500k.errors import DataError
from twohand500k.sources.datasets import (
    freihand,
    h2o,
    hic,
    ho3d,
    interhand26m,
    joints,
    lsmv,
    mano,
    quest,
    rhd,
    stb,
)
from twohand500k.sources.datasets.choice import Choice
from twohand500k.sources.take import Take

Reader = Callable[..., list[Take]]

READERS: Mapping[str, Reader] = {
    "freihand": freihand.read,
    "h2o": h2o.read,
    "h2o3d": ho3d.read_h2o3d,
    "hic": hic.read,
    "ho3d": ho3d.read_ho3d,
    "interhand26m": interhand26m.read,
    "joints": joints.read,
    "lsmv": lsmv.read,
    "mano": mano.read,
    "quest": quest.read,
    "rhd": rhd.read,
    "stb": stb.read,
}


# What a user declares to a reader beside the folder, by the reader's own argument names; all other
# datasets say it themselves.
DECLARED: Mapping[str, tuple[str, ...]] = {
    "joints": ("map", "unit", "side", "subject", "coordinates"),
    "mano": ("convention",),
}


def read_dataset(
    name: str, folders: Sequence[Path], choice: Choice | None = None, **declared: Any
) -> list[Take]:
    """The takes of one dataset, from one folder or several.

    declared: arguments of the reader that `DECLARED` lists for it. Raises DataError for a folder
    that is not of the dataset's layout (names the first missing file and where to get it), for a
    split it does not have, and where nothing was found. A frame that cannot be read is a fault of
    its take, not an error.
    """
    choice = choice or Choice()
    takes: list[Take] = []
    for folder in folders:
        takes += READERS[name](Path(folder), choice, **declared)
    takes = [take for take in takes if take.n_frames]
    if not takes:
        wanted = f"{choice.subset} frames" if choice.subset else "frames"
        raise DataError(f"{', '.join(map(str, folders))}: no {wanted} of {name} found")
    for name_of_take, times in Counter(take.name for take in takes).items():
        if times > 1:
            raise DataError(f"take {name_of_take} is found {times} times; give each folder once")
    return takes
