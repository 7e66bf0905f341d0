"""One way into every source: a `Reading` says what to read and how it is declared; takes come out.

Behind it are recordings (`mocap`), drawn hands (`synthetic`) and each public dataset by its name.
`twohand build`, recipes and the audit read through here, so that a source means the same to all.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from twohand500k.hand import HandPair
from twohand500k.sources.datasets import DECLARED, READERS, Choice, read_dataset
from twohand500k.sources.recordings import read_takes
from twohand500k.sources.synthetic import synthetic_takes
from twohand500k.sources.take import Take

MOCAP: Final = "mocap"
SYNTHETIC: Final = "synthetic"
SOURCES: Final = (MOCAP, SYNTHETIC, *READERS)
# What a user may declare of each source, by the names of its reader's arguments.
DECLARATIONS: Final[Mapping[str, tuple[str, ...]]] = {
    **DECLARED,
    MOCAP: ("map", "unit", "side", "subject", "coordinates"),
    SYNTHETIC: ("count", "side"),
}
# Declarations that may be files of one's own.
_FILES = ("map", "convention")


@dataclass(frozen=True)
class Reading:
    """source: one of `SOURCES`. inputs: files and folders, none for synthetic. choice: which part
    of a public dataset. declared: what `DECLARATIONS` allows for the source, nothing that is None.
    """

    source: str
    inputs: tuple[Path, ...] = ()
    choice: Choice = field(default_factory=Choice)
    declared: Mapping[str, Any] = field(default_factory=dict)

    def misuse(self) -> str:
        """Why these cannot go together, in the command line's words; empty if they can."""
        takes = DECLARATIONS.get(self.source, ())
        for name in sorted(set(self.declared) - set(takes)):
            goes_with = ", ".join(s for s, names in DECLARATIONS.items() if name in names)
            return f"--{name} goes with {goes_with}, not with {self.source}"
        if self.source in (MOCAP, SYNTHETIC) and (self.choice.splits or self.choice.subset):
            return f"--split and --subset go with datasets, not with {self.source}"
        if self.source == SYNTHETIC and (self.inputs or "count" not in self.declared):
            return "synthetic reads no --input and needs --count, how many to draw"
        if self.source != SYNTHETIC and not self.inputs:
            return f"--source {self.source} needs --input"
        return ""

    def takes(self, hands: HandPair, seed: int) -> list[Take]:
        """The takes. hands, seed: of drawn hands. Raises DataError as the source's reader does."""
        if self.source == MOCAP:
            return read_takes(self.inputs, **self.declared)
        if self.source == SYNTHETIC:
            return synthetic_takes(seed=seed, hands=hands, **self.declared)
        return read_dataset(self.source, self.inputs, self.choice, **self.declared)

    def record(self) -> dict[str, Any]:
        """The declarations as a run's record keeps them: a changed one must not be resumed with.

        A shipped map goes by its name, one's own file by its content.
        """
        told: dict[str, Any] = {
            "source": self.source,
            "splits": sorted(self.choice.splits),
            "subset": self.choice.subset or None,
        }
        for name, value in self.declared.items():
            if name in _FILES and Path(value).is_file():
                value = f"sha256 {hashlib.sha256(Path(value).read_bytes()).hexdigest()}"
            told[name] = value
        return told
