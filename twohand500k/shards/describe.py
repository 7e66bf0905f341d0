"""What a dataset is, in numbers: a `Dataset` in, a plain dictionary out, for `twohand info`.

Reads the small datasets of every shard, not the poses; nothing is checked (that is `verify`).
"""

from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np

from twohand500k.errors import DataError
from twohand500k.shards.reader import Dataset

# field, scale to the unit of its key
_QUALITY: Final = {
    "fit_error_mm": ("fit_error", 1e3),
    "limit_violation_deg": ("limit_violation", 180 / np.pi),
    "penetration_volume_cm3": ("penetration_volume", 1e6),
    "penetration_depth_mm": ("penetration_depth", 1e3),
    "contact_distance_mm": ("contact_distance", 1e3),
    "self_penetration_volume_cm3": ("self_penetration_volume", 1e6),
}


def describe(dataset: Dataset) -> dict[str, Any]:
    """Counts per source, take, split and reason, quantiles of quality, conventions, history, size.

    Quality: {n, median, p95, p99, largest} of the values that are known; absent if none is.

    Raises DataError if a file of the dataset is missing or cannot be read.
    """
    rejects = list(dataset.rejects())
    size = sum(_size(dataset.path / shard.file) for shard in dataset.index.shards)
    present = dataset.array("present")
    quality = {}
    for key, (field, scale) in _QUALITY.items():
        values = dataset.array(field).ravel().astype(np.float64)
        values = values[~np.isnan(values)] * scale
        if values.size:
            median, p95, p99 = np.quantile(values, [0.5, 0.95, 0.99])
            quality[key] = {
                "n": int(values.size),
                "median": float(median),
                "p95": float(p95),
                "p99": float(p99),
                "largest": float(values.max()),
            }
    subjects = dataset.array("subject").tolist()
    takes = dataset.array("take").tolist()
    run = dataset.run
    return {
        "folder": str(dataset.path),
        "samples": len(dataset),
        "shards": len(dataset.index.shards),
        "bytes": size,
        "bytes_per_sample": size / len(dataset) if len(dataset) else None,
        "groups": list(dataset.groups),
        "hands": {
            "both": int(present.all(axis=1).sum()),
            "right only": int((present[:, 0] & ~present[:, 1]).sum()),
            "left only": int((~present[:, 0] & present[:, 1]).sum()),
        },
        "hands_of_ambiguous_side": int(dataset.array("side_ambiguous").sum()),
        "sources": {name: dict(counts) for name, counts in dataset.index.counts.items()},
        "splits": _counts(split or "none" for split in dataset.array("split").tolist()),
        "subjects": len(set(subjects) - {""}),
        "takes": _counts(takes),
        "rejects": _counts(reject.reason for reject in rejects),
        "quality": quality,
        "conventions": dataset.conventions,
        "history": [dict(record) for record in dataset.index.history],
        "run": {
            key: run.get(key)
            for key in ("command", "versions", "git_revision", "seed", "unit_seconds")
        },
    }


def _size(path: Path) -> int:
    """Bytes of a shard that the index lists."""
    try:
        return path.stat().st_size
    except FileNotFoundError as error:
        raise DataError(
            f"{path} is missing, the index lists it: copy it again, or rerun the command that made "
            "the dataset"
        ) from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _counts(values: Any) -> dict[str, int]:
    """How often each value occurs, most frequent first."""
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))
