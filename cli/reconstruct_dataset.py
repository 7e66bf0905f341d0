"""Reconstructed hands as an ordinary dataset, in the camera's frame.

Comes in: the JSON files of `reconstruct_outputs`, and which pictures were refused. Goes out: a
dataset through the pipeline, a sample a picture; joints are those of the parameters as stored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twohand500k.conventions import LEFT, RIGHT, SIDES
from twohand500k.drawn.fit import limit_violation
from twohand500k.errors import DataError
from twohand500k.hand import HandPair
from twohand500k.pipeline import RunSummary, Summary, UnitResult, run
from twohand500k.pipeline.units import Stats
from twohand500k.shards import Reject, Samples
from twohand500k.shards.files import read_json, sha256_of_file

Array = np.ndarray

SHARD_SIZE = 4096
UNREADABLE = "unreadable_picture"


@dataclass(frozen=True)
class FoundChunk:
    """One work unit: the JSON files of some pictures, and the pictures refused among them."""

    first: int
    files: tuple[Path, ...]
    sha256: tuple[str, ...]
    refused: tuple[Reject, ...]

    @property
    def name(self) -> str:
        return f"pictures from {self.first}"

    @property
    def inputs(self) -> Mapping[str, str]:
        return {f.name: sha for f, sha in zip(self.files, self.sha256, strict=True)}


@dataclass(frozen=True)
class FoundStage:
    """Pictures' JSON files to samples."""

    hands: HandPair
    source: str

    def __call__(self, chunk: FoundChunk) -> UnitResult:
        kept: list[dict[str, Any]] = []
        rejects = list(chunk.refused)
        for file in chunk.files:
            told = read_json(file)
            sample_id = f"{self.source}/{file.stem}"
            try:
                kept.append({"sample_id": sample_id, **_numbers_of(told)})
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(f"{file} is damaged: {error!r}") from error
            if not np.isfinite(kept[-1]["pose"]).all():
                kept.pop()
                rejects.append(
                    Reject(sample_id, self.source, "not_finite", "no hand fits the joints or skin")
                )
        samples = _samples(kept, self.hands, self.source) if kept else None
        stats = Stats()
        if samples is not None:
            excess = Summary.of(samples.limit_violation)
            stats = Stats({"hands": 2 * len(samples)}, {"limit_violation_rad": excess})
        return UnitResult(samples, tuple(rejects), len(chunk.files) + len(chunk.refused), stats)


def write_dataset(
    files: Sequence[Path],
    refused: Sequence[Reject],
    out: Path,
    hands: HandPair,
    *,
    source: str,
    options: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    progress: bool,
) -> RunSummary:
    """Write the pictures' hands into `out`. Raises DataError where it holds those of others."""
    chunks = []
    for first in range(0, max(len(files), 1), SHARD_SIZE):
        part = tuple(files[first : first + SHARD_SIZE])
        shas = tuple(sha256_of_file(file) for file in part)
        chunks.append(FoundChunk(first, part, shas, tuple(refused) if first == 0 else ()))
    return run(
        FoundStage(hands, source), chunks, out,
        name="reconstruct", options={"source": source, **options}, hands=hands, frame="camera",
        history=history, progress=progress,
    )  # fmt: skip


def _numbers_of(told: Mapping[str, Any]) -> dict[str, Any]:
    """One picture's row, NaN for null."""
    hands = [told["hands"][side] for side in SIDES]
    row: dict[str, Any] = {
        key: np.array([hand[key] for hand in hands], dtype=np.float64)
        for key in ("pose", "betas", "transl", "fit_error")
    }
    seconds = told["timestamp"]
    return row | {
        "take": str(told["take"]),
        "frame": int(told["number"]),
        "timestamp": np.nan if seconds is None else float(seconds),
    }


def _samples(rows: list[dict[str, Any]], hands: HandPair, source: str) -> Samples:
    def column(key: str) -> Array:
        return np.array([row[key] for row in rows])

    def stored(key: str) -> Array:
        return np.asarray(column(key).astype(np.float32).astype(np.float64))

    pose, betas, transl = stored("pose"), stored("betas"), stored("transl")
    joints = [
        hands[s].with_shape(betas[:, s]).with_pose(pose[:, s], transl[:, s]).joints
        for s in (RIGHT, LEFT)
    ]
    n = len(rows)
    return Samples(
        sample_id=column("sample_id"),
        pose=pose,
        betas=betas,
        transl=transl,
        joints=np.stack(joints, axis=1),
        present=np.ones((n, 2), dtype=np.bool_),
        source=np.full(n, source),
        take=column("take"),
        frame=column("frame"),
        timestamp=column("timestamp"),
        mirrored=np.zeros((n, 2), dtype=np.bool_),
        fit_error=column("fit_error"),
        limit_violation=np.stack(
            [limit_violation(hands[s], pose[:, s]) for s in (RIGHT, LEFT)], axis=1
        ),
    )
