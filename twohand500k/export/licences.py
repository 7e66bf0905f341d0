"""Whose data went into a dataset, and on what terms: history in, `Licence`s out.

The terms are what `manifests/sources/*.toml` say. The flags are read out of that text; they are a
help to a reader and no legal advice, and a licence that is not known is said to be not known.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from twohand500k.shards import Dataset
from twohand500k.sources.manifest import SourceManifest, list_manifests

_NON_COMMERCIAL: Final = r"\bNC\b|non-?commercial|no commercial|commercial use prohibited|research"
_NO_DERIVATIVES: Final = r"\bND\b|no[ -]derivative|no redistribution"
_SHARE_ALIKE: Final = r"\bSA\b|share-?alike"
_NOT_KNOWN: Final = r"unverified|not verified|^see |whatever|that of the data|yours are yours"
NOT_KNOWN: Final = "not known"


@dataclass(frozen=True)
class Licence:
    """One source that went in.

    terms: the licence in words. known: whether those words settle it. non_commercial,
    no_derivatives (or no redistribution), share_alike: what they forbid or ask.
    """

    source: str
    title: str
    terms: str
    known: bool
    non_commercial: bool
    no_derivatives: bool
    share_alike: bool
    citation: str
    url: str

    @property
    def flags(self) -> tuple[str, ...]:
        """What a user must know, in words."""
        told = []
        if not self.known:
            told.append("licence not settled: ask before you share")
        if self.non_commercial:
            told.append("non-commercial or research only")
        if self.no_derivatives:
            told.append("no derivatives or no redistribution")
        if self.share_alike:
            told.append("share alike")
        return tuple(told)


def licences_of(dataset: Dataset) -> tuple[Licence, ...]:
    """The licences of every source the dataset's history and counts name, and of its hand model."""
    manifests = {m.name: m for m in list_manifests()}
    names = sources_in(dataset.index.history)
    # A sample's own source, where the history names another (a recording's layout) or none.
    spliced = any(record.get("stage") == "splice" for record in dataset.index.history)
    for name in sorted(dataset.index.counts):
        if name not in names and not (name == "splice" and spliced):
            names.append(name)
    found = [_of(name, manifests.get(name)) for name in names]
    return (*found, _of_model(str(dataset.conventions["hand_model"][0])))


def sources_in(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the sources that were built, in order."""
    built = [r.get("options", {}).get("source") for r in history if r.get("stage") == "build"]
    return list(dict.fromkeys(str(name) for name in built if name))


def _of(name: str, manifest: SourceManifest | None) -> Licence:
    if manifest is None:
        title = "recordings of your own" if name == "mocap" else "a source without a manifest"
        return Licence(name, title, NOT_KNOWN, False, False, False, False, "", "")
    terms = manifest.license
    return Licence(
        source=name,
        title=manifest.title,
        terms=terms,
        known=not re.search(_NOT_KNOWN, terms, re.IGNORECASE),
        non_commercial=bool(re.search(_NON_COMMERCIAL, terms, re.IGNORECASE)),
        no_derivatives=bool(re.search(_NO_DERIVATIVES, terms, re.IGNORECASE)),
        share_alike=bool(re.search(_SHARE_ALIKE, terms, re.IGNORECASE)),
        citation=manifest.citation,
        url=manifest.url,
    )


def _of_model(name: str) -> Licence:
    if name == "open":
        terms = "the licence of twohand500k: the model is its own"
        return Licence("hand model: open", "the toolkit's open hand", terms, True, False, False,
                       False, "", "")  # fmt: skip
    return Licence(
        f"hand model: {name}",
        "a hand model that is not the toolkit's",
        "MANO's: non-commercial scientific research (mano.is.tue.mpg.de), if it is MANO; its files "
        "are not in this export",
        name.upper().startswith("MANO"),
        True,
        False,
        False,
        "J. Romero, D. Tzionas, M. J. Black. Embodied Hands. SIGGRAPH Asia 2017.",
        "https://mano.is.tue.mpg.de",
    )
