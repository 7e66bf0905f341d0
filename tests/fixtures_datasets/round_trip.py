"""From a dataset's folder through `twohand build` to shards, back to the dataset's joints."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner

from fixtures_datasets.common import save_as_mano
from twohand500k.cli.main import twohand
from twohand500k.conventions import OPENPOSE_FROM_MANO21, TIP_SETS
from twohand500k.hand import load_hands
from twohand500k.shards import Dataset, Samples

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Built:
    """What a build left: the samples, what it printed as JSON and what it told, the rejects."""

    samples: Samples
    report: dict[str, Any]
    told: str
    rejects: list[dict[str, Any]]

    def gap(self, joints: Array, *, tips: str, regressed: bool = False) -> Array:
        """How far (n, 2, 21) m the samples' hands lie from `joints`, by frame number (T, 2, 21, 3).

        On the open hand, with the dataset's tips and its definition of joints; NaN where absent.
        """
        pair, out = load_hands("open"), []
        for side in range(2):
            model = pair[side].with_tips(TIP_SETS[tips])
            some = self.samples
            posed = model.with_shape(some.betas[:, side].astype(np.float64)).with_pose(
                some.pose[:, side].astype(np.float64), some.transl[:, side].astype(np.float64)
            )
            made = posed.joints
            if regressed:
                skin = posed.vertices[:, list(model.tip_vertex_ids)]
                made = np.concatenate([posed.regressed_joints, skin], axis=1)
                made = made[:, list(OPENPOSE_FROM_MANO21)]
            out.append(np.linalg.norm(made - joints[some.frame, side], axis=-1))
        return np.stack(out, axis=1)


def build(name: str, folder: Path, work: Path, *options: str, mano: bool) -> Built:
    """`twohand build --source NAME --input FOLDER` on the open hand, or on the same called MANO."""
    out = work / ("built-mano" if mano else "built-open")
    model = str(save_as_mano(work / "MANO")) if mano else "open"
    command = ["build", "--source", name, "--input", str(folder), "--out", str(out)]
    command += ["--hand-model", model, "--workers", "1", "--json", *options]
    run = CliRunner().invoke(twohand, command, catch_exceptions=False)
    assert run.exit_code == 0, run.output
    dataset = Dataset(out)
    rejects = (out / "rejects.jsonl").read_text().splitlines()
    return Built(
        dataset.samples(range(len(dataset))),
        json.loads(run.stdout),
        run.stderr,
        [json.loads(line) for line in rejects],
    )
