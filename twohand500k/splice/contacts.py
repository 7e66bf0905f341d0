"""Which contacts are drawn how often: a table of weights over pairs of contact regions.

Comes in: ``natural``, ``uniform``, or a TOML file of one's own. Goes out: a `ContactWeights`: one
weight per (region of the right hand, region of the left hand), and one for interlocked fingers,
which are a mode of their own. The file, with every name of `hand.contact_regions.REGIONS`:

    interlocked = 4                          # weight of the mode; left out: 0
    lifelike = true                          # placed as people hold their hands; left out: false
    [groups]                                 # a name for several regions
    tips = ["index tip", "middle tip"]
    [[contact]]
    between = ["tips", "palm"]               # groups or regions
    weight = 6                               # of all their pairs together
    each = false                             # true: the weight is of every single pair

A contact counts both ways round, its weight shared: right tips on the left palm as often as left
tips on the right palm. Lifelike placement prefers what arms hold at ease and hands that are close,
and leaves out regions that a hand's own fingers cover; without it every placement that passes is as
good as another.
"""

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from twohand500k.errors import DataError
from twohand500k.hand.contact_regions import REGIONS

Array = np.ndarray

SHIPPED = ("natural", "uniform")
_INDEX = {name: k for k, name in enumerate(REGIONS)}


@dataclass(frozen=True, eq=False)
class ContactWeights:
    """pair (30, 30) by right and left region, interlocked: shares that sum to 1 together.

    lifelike: of the placements that pass, likely ones are preferred.
    name: "natural", "uniform", or the file's sha256: what a run is recorded and compared with.
    """

    name: str
    pair: Array
    interlocked: float
    lifelike: bool


def load_contacts(which: str) -> ContactWeights:
    """The shipped table of that name, or a file. Raises DataError saying what is wrong with it."""
    if which in SHIPPED:
        file = resources.files("twohand500k.manifests.contacts").joinpath(f"{which}.toml")
        return _parse(file.read_text("utf8"), f"{which}.toml", which)
    path = Path(which)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot read the contact weights {which} ({error.strerror}): give "
            f"{' or '.join(SHIPPED)}, or a TOML file"
        ) from error
    try:
        text = content.decode("utf8")
    except UnicodeDecodeError as error:
        raise DataError(f"{which} is not text in UTF-8: {error}") from error
    return _parse(text, which, f"sha256 {hashlib.sha256(content).hexdigest()}")


def _parse(text: str, where: str, name: str) -> ContactWeights:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{where} is not TOML: {error}") from error
    known = {"interlocked", "lifelike", "groups", "contact", "title"}
    if unknown := sorted(set(table) - known):
        raise DataError(f"{where}: unknown key {unknown[0]!r}; keys are {', '.join(sorted(known))}")
    groups = _groups(table.get("groups", {}), where)
    pair = np.zeros((len(REGIONS), len(REGIONS)))
    contacts = table.get("contact", [])
    if not isinstance(contacts, list) or not all(isinstance(c, dict) for c in contacts):
        raise DataError(f"{where}: contacts are written as [[contact]], each with between, weight")
    for number, contact in enumerate(contacts, start=1):
        _add(pair, contact, groups, f"{where}: contact {number}")
    interlocked = _weight(table.get("interlocked", 0), f"{where}: interlocked")
    lifelike = table.get("lifelike", False)
    if not isinstance(lifelike, bool):
        raise DataError(f"{where}: lifelike must be true or false, not {lifelike!r}")
    total = pair.sum() + interlocked
    if total <= 0:
        raise DataError(f"{where}: no contact has a weight above 0")
    return ContactWeights(name, pair / total, interlocked / total, lifelike)


def _groups(table: Any, where: str) -> dict[str, list[int]]:
    if not isinstance(table, dict):
        raise DataError(f"{where}: [groups] is a table of name = [regions]")
    groups = {}
    for name, members in table.items():
        if name in _INDEX:
            raise DataError(f"{where}: the group {name!r} is called like a region")
        if not isinstance(members, list) or not members:
            raise DataError(f"{where}: the group {name!r} must be a list of regions")
        for member in members:
            if not isinstance(member, str) or member not in _INDEX:
                raise DataError(
                    f"{where}: group {name!r} names {member!r}, no contact region; regions are "
                    f"{', '.join(REGIONS)}"
                )
        groups[name] = [_INDEX[member] for member in members]
    return groups


def _add(pair: Array, contact: Mapping[str, Any], groups: dict[str, list[int]], at: str) -> None:
    if unknown := sorted(set(contact) - {"between", "weight", "each"}):
        raise DataError(f"{at}: unknown key {unknown[0]!r}; keys are between, weight, each")
    between = contact.get("between")
    if not isinstance(between, list) or len(between) != 2:
        raise DataError(f"{at}: between must name two regions or groups, not {between!r}")
    sides = []
    for name in between:
        if name in groups:
            sides.append(groups[name])
        elif isinstance(name, str) and name in _INDEX:
            sides.append([_INDEX[name]])
        else:
            raise DataError(
                f"{at}: {name!r} is no contact region and no group; regions are "
                f"{', '.join(REGIONS)}"
            )
    weight = _weight(contact.get("weight"), f"{at}: weight")
    ways = {(a, b) for a in sides[0] for b in sides[1]}
    ways |= {(b, a) for a, b in ways}
    each = contact.get("each", False)
    if not isinstance(each, bool):
        raise DataError(f"{at}: each must be true or false, not {each!r}")
    for a, b in sorted(ways):
        pair[a, b] += weight if each else weight / len(ways)


def _weight(value: Any, at: str) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or not np.isfinite(value) or value < 0:
        raise DataError(f"{at} must be a number, 0 or more, not {value!r}")
    return float(value)
