"""`twohand hand show | convert | render`: look at hand models, move them and what was made on them.

`show` prints what a model is; `convert` writes MANO's pickles as plain .npz, or moves a dataset to
another model; `render` draws poses.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import numpy as np

from twohand500k.cli import options
from twohand500k.conventions import (
    FINGERS,
    MANO_CHAINS,
    MANO_JOINT_NAMES,
    N_BETAS,
    N_MANO_JOINTS,
    SIDES,
    Side,
)
from twohand500k.cores import available_cores
from twohand500k.errors import DataError
from twohand500k.hand import HandModel, HandPair, load_hands
from twohand500k.hand.anatomy import ANGLE_NAMES, FLEXION, Anatomy
from twohand500k.hand.contact_regions import ContactRegions
from twohand500k.hand.load import LeftShapedirs
from twohand500k.hand.measure import measure
from twohand500k.ik.convert import convert_dataset
from twohand500k.pipeline import RunSummary

_BONES = ("wrist to base", "first", "second", "last, to tip")


@click.group()
def hand() -> None:
    """Show, convert and render hand models."""


@hand.command()
@options.hand_model
@options.as_json
@options.verbose
def show(hand_model: str, as_json: bool, verbose: int) -> None:
    """Print what a hand model is: dimensions, joint limits, what its betas do, its hash."""
    facts = _facts(load_hands(hand_model))
    click.echo(json.dumps(facts, indent=1) if as_json else _page(facts))


def _facts(hands: HandPair) -> dict[str, Any]:
    right = hands.right
    at_zero = measure(right)
    anatomy = Anatomy.of(right)
    betas = []
    for unit in np.eye(N_BETAS):
        changed = measure(right, unit)
        betas.append(
            {
                "length_mm": changed.length_mm - at_zero.length_mm,
                "breadth_mm": changed.breadth_mm - at_zero.breadth_mm,
                "thickness_mm": changed.thickness_mm - at_zero.thickness_mm,
                "volume_cm3": changed.volume_cm3 - at_zero.volume_cm3,
                "bones_mm": dict(
                    zip(FINGERS, (changed.bones_mm - at_zero.bones_mm).tolist(), strict=True)
                ),
            }
        )
    return {
        "name": right.name,
        "sha256": {model.side: model.sha256 for model in (hands.right, hands.left)},
        "notes": {model.side: list(model.notes) for model in (hands.right, hands.left)},
        "joints": N_MANO_JOINTS,
        "vertices": len(right.v_template),
        "faces": len(right.faces),
        "closed_faces": len(right.closed_faces),
        "betas": N_BETAS,
        "tip_vertex_ids": dict(zip(FINGERS, right.tip_vertex_ids, strict=True)),
        "recorded_poses": 0 if right.hands_coeffs is None else len(right.hands_coeffs),
        "largest_mean_pose_deg": float(
            np.degrees(np.linalg.norm(right.hands_mean.reshape(-1, 3), axis=1).max())
        ),
        "largest_pose_corrective_mm": float(np.linalg.norm(right.posedirs, axis=1).max() * 1e3),
        "length_mm": at_zero.length_mm,
        "breadth_mm": at_zero.breadth_mm,
        "thickness_mm": at_zero.thickness_mm,
        "volume_cm3": at_zero.volume_cm3,
        "bones_mm": dict(zip(FINGERS, at_zero.bones_mm.tolist(), strict=True)),
        "change_per_beta": betas,
        "limits_deg": {
            name: {
                angle: np.degrees(anatomy.limits[joint, a]).round(6).tolist()
                for a, angle in enumerate(ANGLE_NAMES)
            }
            for joint, name in enumerate(MANO_JOINT_NAMES[1:])
        },
    }


def _page(facts: dict[str, Any]) -> str:
    def row(head: str, cells: Iterable[str]) -> str:
        return f"{head:<16} " + "".join(f"{cell:>15}" for cell in cells)

    recorded = f"; {facts['recorded_poses']} recorded poses" if facts["recorded_poses"] else ""
    sizes = ("length_mm", "breadth_mm", "thickness_mm", "volume_cm3")
    lines = [
        f"hand model       {facts['name']}",
        *(f"{side:<16} sha256 {facts['sha256'][side]}" for side in SIDES),
        *(f"{side:<16} {note}" for side in SIDES for note in facts["notes"][side]),
        f"counts           {facts['joints']} joints, {facts['vertices']} vertices, "
        f"{facts['faces']} faces ({facts['closed_faces']} closed), {facts['betas']} betas",
        "tip vertices     " + ", ".join(f"{f} {i}" for f, i in facts["tip_vertex_ids"].items()),
        f"mean pose        up to {facts['largest_mean_pose_deg']:.1f} deg from flat{recorded}",
        f"pose correctives up to {facts['largest_pose_corrective_mm']:.2f} mm per unit of R - I",
        "",
        row("", ("length mm", "breadth mm", "thickness mm", "volume cm3")),
        row("flat, betas 0", (f"{facts[size]:.1f}" for size in sizes)),
        *(
            row(f"  beta {k} + 1", (f"{change[size]:+.1f}" for size in sizes))
            for k, change in enumerate(facts["change_per_beta"])
        ),
        "",
        row("bones (mm)", _BONES),
        *(row(f"  {f}", (f"{mm:.1f}" for mm in bones)) for f, bones in facts["bones_mm"].items()),
        "",
        row("limits (deg)", ANGLE_NAMES),
        *(
            row(f"  {joint}", (f"{low:g} .. {high:g}" for low, high in angles.values()))
            for joint, angles in facts["limits_deg"].items()
        ),
    ]
    return "\n".join(lines)


@hand.command()
@click.argument("mano_dir", required=False, type=click.Path(path_type=Path))
@click.option(
    "--data", type=click.Path(path_type=Path), help="A dataset to move, instead of model files."
)
@click.option("--to", metavar="open|DIR", help="The hand model to move it to.")
@options.hand_model
@options.out_dir
@click.option(
    "--left-shapedirs",
    type=click.Choice(["mirrored", "as is"]),
    default="mirrored",
    show_default=True,
    help="Model files: put MANO_LEFT's known defect right, or keep it.",
)
@click.option(
    "--max-residual-mm",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="Dataset: refuse a sample whose skin stays further away than this on average.",
)
@options.workers
@options.as_json
@options.verbose
@options.quiet
def convert(
    mano_dir: Path | None,
    data: Path | None,
    to: str | None,
    hand_model: str,
    out: Path,
    left_shapedirs: LeftShapedirs,
    max_residual_mm: float,
    workers: int | None,
    as_json: bool,
    verbose: int,
    quiet: bool,
) -> None:
    """Write MANO's files as plain .npz, or move a dataset to another hand model.

    \b
    twohand hand convert MANO_DIR --out DIR              pickles to .npz, which smplx reads too
    twohand hand convert --data DIR --to MODEL --out DIR  the same skins, parameters on MODEL

    The dataset's present model is --hand-model; it must be the one the dataset was made on.
    """
    if (mano_dir is None) == (data is None):
        raise click.UsageError("give either MANO_DIR, or --data DIR with --to MODEL")
    if (data is None) != (to is None):
        raise click.UsageError("--data and --to belong together")
    if data is not None and to is not None:
        summary = convert_dataset(
            data,
            load_hands(hand_model),
            load_hands(to),
            out,
            max_residual_m=max_residual_mm * 1e-3,
            workers=workers or available_cores(),
            progress=not quiet,
        )
        click.echo(_json_of(summary) if as_json else _line_of(summary))
        return
    assert mano_dir is not None
    hands = load_hands(
        mano_dir, left_shapedirs="as is" if left_shapedirs == "as is" else "mirrored"
    )
    written = []
    for model in (hands.right, hands.left):
        path = out / f"MANO_{model.side.upper()}.npz"
        model.save(path)
        written.append({"file": str(path), "sha256": model.sha256, "notes": list(model.notes)})
    if as_json:
        click.echo(json.dumps(written, indent=1))
    else:
        for entry in written:
            click.echo(f"{entry['file']}  {entry['sha256']}")
            for note in entry["notes"]:
                click.echo(f"  {note}")


def _json_of(summary: RunSummary) -> str:
    return json.dumps(
        {
            "folder": str(summary.folder),
            "in": summary.n_in,
            "kept": summary.n_kept,
            "rejected": dict(summary.rejected_per_reason),
            "stats": summary.stats.to_json(),
        },
        indent=1,
    )


def _line_of(summary: RunSummary) -> str:
    mean, most = (summary.stats.summaries[f"residual_{k}_m"] for k in ("mean", "max"))
    joints = summary.stats.summaries["joint_shift_m"]
    stuck = summary.stats.counts["hands_not_converged"]
    return (
        f"{summary.folder}: {summary.n_kept:,} of {summary.n_in:,} samples on the new model\n"
        f"skin distance    mean {1e3 * mean.total / mean.n:.3f} mm, worst hand's mean "
        f"{1e3 * mean.largest:.3f} mm, worst vertex {1e3 * most.largest:.3f} mm\n"
        f"joints moved     mean {1e3 * joints.total / joints.n:.3f} mm, "
        f"worst {1e3 * joints.largest:.3f} mm (the models place joints differently)"
        + (f"\nnot converged    {stuck} hands" if stuck else "")
    )


# Flexion of a finger's three joints, base first, degrees; what is not named stays straight.
_BENT = (85, 100, 60)
_GESTURES: dict[str, dict[str, tuple[float, ...]]] = {
    "flat": {},
    "fist": {"thumb": (25, 35, 50), **dict.fromkeys(FINGERS[1:], _BENT)},
    "point": {"thumb": (25, 35, 50), **dict.fromkeys(FINGERS[2:], _BENT)},
    "pinch": {"thumb": (22, 20, 25), "index": (52, 48, 25), "middle": (20, 25, 15)},
    "hook": dict.fromkeys(FINGERS[1:], (0, 95, 55)),
}
_VIEWS = {"palm": (0.0, -1.0, 0.0), "back": (0.0, 1.0, 0.0), "thumb side": (0.0, -0.25, 1.0)}
# Tip, pad, radial side, ulnar side, back of every finger; palm, thenar, hypothenar, back, wrist.
_ON_A_FINGER = (
    *((0.85, 0.25, 0.20), (0.95, 0.75, 0.25), (0.25, 0.60, 0.85)),
    *((0.35, 0.70, 0.40), (0.62, 0.55, 0.72)),
)
_ON_THE_HAND = (
    *((0.93, 0.84, 0.66), (0.90, 0.55, 0.40), (0.45, 0.75, 0.75)),
    *((0.72, 0.74, 0.80), (0.50, 0.50, 0.50)),
)
_REGION_COLOURS = _ON_A_FINGER * len(FINGERS) + _ON_THE_HAND


@hand.command()
@options.hand_model
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="PNG to write."
)
@click.option(
    "--pose",
    "poses",
    multiple=True,
    metavar="NAME|FILE",
    help=f"One of mean, {', '.join(_GESTURES)}, or a .npy of poses (…, 16, 3) in radians relative "
    "to the flat hand; may be repeated.  [default: all of the names]",
)
@click.option("--side", type=click.Choice(SIDES), default="right", show_default=True)
@click.option("--betas", default="", metavar="B0,B1,…", help="Shape coefficients, the rest are 0.")
@click.option(
    "--size",
    default=320,
    show_default=True,
    type=click.IntRange(32, 4096),
    help="Pixels of a tile.",
)
@click.option("--regions", is_flag=True, help="Colour the contact regions.")
@options.verbose
def render(
    hand_model: str,
    out: Path,
    poses: tuple[str, ...],
    side: Side,
    betas: str,
    size: int,
    regions: bool,
    verbose: int,
) -> None:
    """Draw a hand model in poses, each from the palm, the back and the thumb's side."""
    # Only this command draws; the others start without the ray caster.
    from twohand500k.pictures import SKIN, Camera, Surface, contact_sheet, render_meshes, save_png

    hands = load_hands(hand_model)
    model = hands.right if side == "right" else hands.left
    shape = _betas(betas)
    colour: Any = SKIN[SIDES.index(side)]
    if regions:
        colour = np.array(_REGION_COLOURS)[ContactRegions.of(model).of_vertex]
    tiles, labels = [], []
    for label, pose in _poses(model, poses):
        skin = model.with_shape(shape).with_pose(pose).vertices
        surface = Surface(skin, model.faces, colour)
        for view, seen_from in _VIEWS.items():
            # Fingers up: MANO's right hand points to -x.
            up = (-1.0 if side == "right" else 1.0, 0.0, 0.0)
            camera = Camera.framing(skin, seen_from, up=up)
            tiles.append(render_meshes([surface], camera, (size, size)))
            labels.append(f"{label}\n{view}")
    try:
        save_png(out, contact_sheet(tiles, labels, columns=len(_VIEWS)))
    except OSError as error:
        raise DataError(f"cannot write {out}: {error.strerror}") from error
    click.echo(str(out))


def _betas(text: str) -> np.ndarray:
    try:
        given = [float(number) for number in text.split(",") if number.strip()]
    except ValueError:
        raise click.BadParameter(
            f"'{text}' is not a list of numbers", param_hint="--betas"
        ) from None
    if len(given) > N_BETAS or not np.isfinite(given).all():
        raise click.BadParameter(f"at most {N_BETAS} finite numbers", param_hint="--betas")
    return np.array(given + [0.0] * (N_BETAS - len(given)))


def _poses(model: HandModel, wanted: tuple[str, ...]) -> list[tuple[str, np.ndarray]]:
    """(label, pose (16, 3)) of each name or file asked for."""
    found = []
    for name in wanted or ("mean", *_GESTURES):
        if name == "mean":
            mean = np.concatenate([np.zeros((1, 3)), model.hands_mean.reshape(-1, 3)])
            found.append((name, mean))
        elif name in _GESTURES:
            found.append((name, _gesture(model, _GESTURES[name])))
        elif Path(name).suffix == ".npy":
            found += [(f"{Path(name).stem} {k}", pose) for k, pose in enumerate(_read_poses(name))]
        else:
            raise click.BadParameter(
                f"'{name}' is none of mean, {', '.join(_GESTURES)}, nor a .npy file",
                param_hint="--pose",
            )
    return found


def _gesture(model: HandModel, flexions: dict[str, tuple[float, ...]]) -> np.ndarray:
    anatomy = Anatomy.of(model)
    angles = np.zeros((N_MANO_JOINTS - 1, 3))
    for finger, degrees in flexions.items():
        chain = [joint - 1 for joint in MANO_CHAINS[FINGERS.index(finger)]]
        angles[chain, FLEXION] = np.radians(degrees)
    return anatomy.pose_from_angles(angles)


def _read_poses(name: str) -> np.ndarray:
    try:
        poses = np.load(name, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{name}: not a readable .npy of numbers ({error})") from None
    if poses.dtype.kind not in "fiu" or poses.shape[-2:] != (N_MANO_JOINTS, 3) or not len(poses):
        raise DataError(f"{name}: holds {poses.dtype} {poses.shape}; poses are (…, 16, 3) numbers")
    if not np.isfinite(poses).all():
        raise DataError(f"{name}: holds NaN or infinite numbers")
    return poses.reshape(-1, N_MANO_JOINTS, 3)
