"""`numbers.json`: every number of the report in one dictionary.

Comes in: what was gathered of each dataset. Goes out: plain data (no NaN, no arrays) that
`shards.files.json_bytes` writes. A number that cannot be computed is null, with `reason` or
`KEY_reason` beside it, never 0. What each means and its unit stands under `definitions`.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from twohand500k import __version__
from twohand500k.errors import DataError
from twohand500k.hand.contact_regions import REGIONS
from twohand500k.pipeline.provenance import git_revision
from twohand500k.report.contacts import NEAR_MM, region_map
from twohand500k.report.distributions import distributions
from twohand500k.report.diversity import (
    FEWEST,
    MOST_USED,
    NEAR_DUPLICATE_MM,
    NEIGHBOURS,
    compare,
    diversity,
)
from twohand500k.report.feature import DEFINITION, DIMENSIONS, NAME
from twohand500k.report.gather import DatasetFacts
from twohand500k.report.thinning import THIN_MM

FORMAT: Final = 1

DEFINITIONS: Final = {
    "distance": (
        "root mean square distance of the 42 joints of two pairs, mm on a hand of standard size"
    ),
    "frechet": (
        "Fréchet distance of the Gaussians through two sets of features, its square root in mm a "
        "joint; 0 for the same distribution. Not the paper's FHID"
    ),
    "precision": (
        f"share of the set inside the reference's balls (each reaching to its {NEIGHBOURS}th "
        "neighbour): low where the set has poses the reference has not"
    ),
    "recall": (
        "share of the reference inside the set's balls: low where the set lacks poses of the "
        "reference"
    ),
    "density": (
        f"reference balls that hold a pair of the set, over {NEIGHBOURS}; 1 for the same "
        "distribution, more where the set heaps up in the reference's dense parts"
    ),
    "coverage": "share of the reference's balls that hold a pair of the set",
    "nearest_mm": "distance from a pair of the set to the nearest of the reference",
    "floor": "the same numbers between two halves of the reference, as many pairs each",
    "hands": (
        "the same numbers of single hands, one of each pair, in the frame of their own palm, left "
        "ones mirrored: what the fingers do, whatever the place of the other hand"
    ),
    "halves": "the same numbers between two halves of the dataset itself",
    "pair_distance_mm": "mean distance of two pairs drawn at random",
    "nearest_within_mm": "distance from a pair to the nearest other of the pairs used",
    "near_duplicates": (
        f"share of pairs with another within {NEAR_DUPLICATE_MM:g} mm among all that were not "
        "thinned"
    ),
    "directions": "in how many directions the features spread (participation ratio), 1 to 123",
    "n_used": f"pairs drawn at random for these numbers, {MOST_USED:,} at most",
    "n_thinned": f"frames left out that moved less than {THIN_MM:g} mm since the last kept",
    "entropy_bits": (
        "Shannon entropy over the 900 pairs of contact regions; corrected for few pairs after "
        "Miller (1955)"
    ),
    "realised": f"regions nearest each other where the skins lie within {NEAR_MM:g} mm",
    "intended": "regions that the placement drew",
}


def numbers_of(
    facts: Sequence[DatasetFacts],
    *,
    reference: str | None = None,
    seed: int = 0,
    command: str | None = None,
) -> dict[str, Any]:
    """The numbers of these datasets; all compared with `reference`, a name, else the first.

    seed: of the subsampling. command: what was run, for the record.

    Raises DataError for a reference that is none of the datasets, ValueError for two of one name.
    """
    names = [f.name for f in facts]
    if len(set(names)) != len(names):
        raise ValueError(f"datasets need different names, got {', '.join(names)}")
    if reference is not None and reference not in names:
        raise DataError(f"no dataset is called {reference!r}; there are: {', '.join(names)}")
    entries = [_entry(f, seed, number) for number, f in enumerate(facts)]
    for entry, quality in zip(entries, distributions([f.quality for f in facts]), strict=True):
        entry["quality"] = quality
    against = names.index(reference) if reference is not None else 0
    between = [
        {"a": f.name, "b": names[against]}
        | compare(f.features, facts[against].features, _rng(seed, 1, number))
        for number, f in enumerate(facts)
        if number != against
    ]
    numbers: dict[str, Any] = _rounded(
        {
            "format": FORMAT,
            "datasets": entries,
            "between": between,
            "reference": names[against] if names else None,
            "feature": {"name": NAME, "definition": DEFINITION, "dimensions": DIMENSIONS},
            "definitions": dict(DEFINITIONS),
            "map": None,
            "seed": seed,
            "made": {"version": __version__, "git_revision": git_revision(), "command": command},
        }
    )
    return numbers


def _entry(facts: DatasetFacts, seed: int, number: int) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": facts.name} | dict(facts.about)
    found = diversity(facts.features, _rng(seed, 0, number))
    if found is None:
        entry |= {
            "diversity": None,
            "diversity_reason": f"{len(facts.features)} pairs of hands, {FEWEST} are needed",
        }
    else:
        entry["diversity"] = {"n_thinned": facts.n_thinned, "n": len(facts.features)} | found
    entry["contacts"] = {"regions": list(REGIONS)}
    for key, regions, missing in (
        ("realised", facts.realised, _why_no_contact(facts)),
        ("intended", facts.intended, "no contact was drawn: the dataset is not a splice"),
    ):
        found_map = region_map(regions)
        entry["contacts"][key] = found_map
        if found_map is None:
            entry["contacts"][f"{key}_reason"] = missing
    return entry


def _why_no_contact(facts: DatasetFacts) -> str:
    if not facts.n_pairs:
        return "the dataset has no pairs of hands"
    if np.isnan(facts.quality["contact_distance_mm"]).all():
        return "the dataset was not judged: build or splice it with --judge"
    return f"no two skins lie within {NEAR_MM:g} mm"


def _rng(seed: int, use: int, number: int) -> np.random.Generator:
    return np.random.default_rng([seed, use, number])


def _rounded(value: Any) -> Any:
    """Floats to 6 digits: the last bits depend on the processor, and nobody reads them."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if isinstance(value, np.ndarray):
        raise ValueError("arrays do not belong into numbers.json")
    if isinstance(value, float | np.floating):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value
