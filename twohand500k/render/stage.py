"""Picturing as a stage: samples of a finished dataset in, pictures of them out.

Comes in: a `Slice` of the input. Goes out: `views` pictures of each sample, every one a sample of
its own in its camera's frame, with the group `image`. Whose hands, from where, in which split and
how far they overlap stays; parameters and joints are those of the same hands before the camera.
A picture is a function of (seed, its id, the sample) alone. The group `repair` is left out: what
was before the repair lies in the other frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twohand500k.hand import HandPair
from twohand500k.pipeline import Stats, Summary, UnitResult, rng_for
from twohand500k.render.picture import Pair, Picture, PictureOptions, draw_picture
from twohand500k.shards import Samples
from twohand500k.shards.schema import FIELDS
from twohand500k.shards.slices import Slice, read_rows

Array = np.ndarray

FRAME = "camera"


@dataclass(frozen=True, eq=False)
class RenderStage:
    """What a worker does with a `Slice`: `views` pictures of each sample of `folder`."""

    folder: Path
    hands: HandPair
    options: PictureOptions
    views: int
    seed: int

    def __call__(self, unit: Slice) -> UnitResult:
        samples = read_rows(self.folder, unit.rows, unit.inputs)
        rows = np.repeat(np.arange(len(samples)), self.views)
        names = [f"{samples.sample_id[row]}/view{k % self.views}" for k, row in enumerate(rows)]
        drawn = []
        for name, row in zip(names, rows.tolist(), strict=True):
            try:
                drawn.append(
                    draw_picture(
                        self.hands, pair_of(samples, row), self.options, rng_for(self.seed, name)
                    )
                )
            except Exception as error:
                error.add_note(f"while {name!r} was pictured")
                raise
        return UnitResult(
            pictured(samples, rows, names, drawn), (), n_in=len(drawn), stats=stats_of(drawn)
        )


def pair_of(samples: Samples, row: int) -> Pair:
    """The hands of one sample in float64."""
    return Pair(
        pose=samples.pose[row].astype(np.float64),
        betas=samples.betas[row].astype(np.float64),
        transl=samples.transl[row].astype(np.float64),
        present=samples.present[row],
    )


def pictured(
    samples: Samples, rows: Array, names: Sequence[str], drawn: Sequence[Picture]
) -> Samples:
    """Samples (N,) of pictures: picture k, called names[k], shows row rows[k] of `samples`."""
    kept: dict[str, Any] = {
        field.attribute: getattr(samples, field.attribute)[rows]
        for field in FIELDS
        if field.group in ("core", "splice") and getattr(samples, field.attribute) is not None
    }
    return Samples(
        **{
            **kept,
            "sample_id": np.array(names),
            "pose": np.stack([p.pose for p in drawn]),
            "transl": np.stack([p.transl for p in drawn]),
            "joints": np.stack([p.joints for p in drawn]),
            "image": np.stack([p.image for p in drawn]),
            "mask": np.stack([p.mask for p in drawn]),
            "uv": np.stack([p.uv for p in drawn]),
            "visible": np.stack([p.visible for p in drawn]),
            "K": np.stack([p.view.K for p in drawn]),
            "T_camera_world": np.stack([p.view.T_camera_world for p in drawn]),
            "hidden": np.stack([p.hidden for p in drawn]),
            "pose_id": samples.sample_id[rows],
        }
    )


def stats_of(drawn: Sequence[Picture]) -> Stats:
    """How much of the hands the pictures hide, and joints that can be seen."""
    return Stats(
        summaries={
            "hidden": Summary.of(np.stack([p.hidden for p in drawn])),
            "visible_joints": Summary.of(
                [p.visible[side].sum() for p in drawn for side in (0, 1)
                 if not np.isnan(p.hidden[side])]
            ),
        }
    )  # fmt: skip
