"""The pairs on which the repair is measured: real recordings, put together by the toolkit itself.

    python benchmarks/physics_sets.py --out SETS [--data DIR] [--sets spliced deep …] [--count 1000]

DIR holds the recordings (default $TWOHAND_REAL_DATA). SETS becomes a folder of datasets that
`twohand physics-fix --input` reads, every sample with the judge's word before any repair:

    spliced       pairs of `twohand splice`, contacts natural, as they come
    deep          other such pairs, the left hand pushed into the right with a small random turn
                  until the volume inside both is 0-2, 2-5, 5-15 or 15-60 cm3, as many in each
    interlocked   pairs of `twohand splice` whose fingers are interlocked
    three-claps   every frame of a sensor's take of clapping whose skins are within 20 mm
    mocap         the frames of all other takes whose hands overlap most

The same seed gives the same sets. SETS/bank holds what they are made of. `physics_fix.py` reads
them.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from twohand500k.conventions import LEFT, RIGHT
from twohand500k.hand import HandPair, load_hands
from twohand500k.hand.contact_regions import REGIONS, ContactRegions
from twohand500k.hand.rigid import moved_rigidly
from twohand500k.hand.rotations import matrix_from_axis_angle
from twohand500k.physics.judge import Judge
from twohand500k.pipeline import UnitResult, rng_for, run
from twohand500k.shards import Dataset, Samples
from twohand500k.shards.files import sha256_of_file

Array = np.ndarray

SETS = ("spliced", "deep", "interlocked", "three-claps", "mocap")
FROM_TAKES = ("three-claps", "mocap")
BINS_CM3 = (0.0, 2.0, 5.0, 15.0, 60.0)
# Volumes of the first bin are drawn from here on; less is hardly an overlap.
LEAST_CM3 = 0.1
# How the left hand is pushed: turned by so much (rad, one sigma), no further than so far (m); a
# volume counts as met within this share.
TURN, FURTHEST, MET = 0.12, 0.08, 0.10
# Frames count as near when the skins are within this (m); of a take's frames no two nearer than
# this stand in the set of the tightest.
NEAR, FRAMES_APART = 0.020, 2
# Joints this far apart are not looked at: skins are at most a palm's thickness from their joints.
JOINTS_NEAR = 0.060

BANKS = {
    "quest": ["--source", "quest", "--input", "quest_poses"],
    "video": ["--source", "joints", "--side", "right", "--input", "video_hand"],
    "mocap": ["--source", "mocap", "--input", "mocap_bvh", "--every", "10"],
    "leap": ["--source", "mocap", "--input", "leap_csv"],
}
TAKES = ["--source", "mocap", "--input", "mocap_bvh", "--input", "mocap_trc", "--input", "leap_csv"]


@dataclass(frozen=True)
class Bench:
    """What every set is made with."""

    data: Path
    out: Path
    hands: HandPair
    judge: Judge
    count: int
    seed: int


@dataclass(frozen=True)
class SetUnit:
    """A set is written as one unit of work."""

    name: str
    inputs: dict[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=os.environ.get("TWOHAND_REAL_DATA"))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--count", type=int, default=1000, help="pairs of spliced and of deep")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.data is None or not Path(given.data).is_dir():
        raise SystemExit("name the folder of recordings with --data or $TWOHAND_REAL_DATA")
    hands = load_hands("open")
    bench = Bench(Path(given.data), given.out, hands, Judge.of(hands), given.count, given.seed)
    makers = {
        "spliced": spliced, "deep": deep, "interlocked": interlocked,
        "three-claps": three_claps, "mocap": tightest_mocap,
    }  # fmt: skip
    for name in given.sets:
        if (given.out / name / "index.json").exists():
            print(f"{name}: there already")
        else:
            write_set(bench, name, makers[name](bench))
        tell(name, Dataset(given.out / name))


def tell(name: str, dataset: Dataset) -> None:
    """One line: how many pairs, how much they overlap."""
    volume = 1e6 * dataset.array("penetration_volume").astype(float)
    counts = [int(((volume > a) & (volume <= b)).sum()) for a, b in bins(BINS_CM3)]
    median, most = np.nanmedian(volume), np.nanmax(volume)
    print(
        f"{name}: {len(dataset):,} pairs, {int((volume == 0).sum())} without overlap, in "
        f"{'/'.join(f'{a:g}-{b:g}' for a, b in bins(BINS_CM3))} cm3: {'/'.join(map(str, counts))}; "
        f"median {median:.2f}, largest {most:.1f} cm3; undefined {int(np.isnan(volume).sum())}"
    )


def bins(edges: tuple[float, ...]) -> list[tuple[float, float]]:
    return list(pairwise(edges))


def spliced(bench: Bench) -> Samples:
    return splice(bench, "spliced", bench.count, bench.seed)


def interlocked(bench: Bench) -> Samples:
    """A fifth as many pairs as `spliced` has, of those of splice whose fingers interlock."""
    wanted = bench.count // 5
    samples = splice(bench, "interlocked", 15 * wanted, bench.seed + 2, interlocked=1000.0)
    rows = np.flatnonzero(samples.placement == "interlocked")
    if len(rows) < wanted:
        print(f"interlocked: splice made {len(rows)} such pairs, not {wanted}")
    return bench.judge.samples(samples.select(rows[:wanted]))


def deep(bench: Bench) -> Samples:
    """As many pairs in each bin of volume, in an order that mixes the bins."""
    samples = splice(bench, "deep", bench.count + bench.count // 2, bench.seed + 1)
    ranges = bins(BINS_CM3)
    wanted = bench.count // len(ranges)
    pushed: list[list[Samples]] = [[] for _ in ranges]
    for k in range(len(samples)):
        number = int(np.argmin([len(found) for found in pushed]))
        if len(pushed[number]) == wanted:
            break
        low, high = ranges[number]
        one = push(bench, samples.select([k]), max(low, LEAST_CM3), high)
        if one is not None:
            pushed[number].append(one)
    if min(map(len, pushed)) < wanted:
        print(f"deep: only {[len(found) for found in pushed]} pairs in the bins, not {wanted} each")
    return Samples.concat([one for row in zip(*pushed, strict=False) for one in row])


def push(bench: Bench, sample: Samples, low_cm3: float, high_cm3: float) -> Samples | None:
    """One pair pushed together until the volume inside both is one drawn between low and high.

    Log-uniformly drawn, so that the shallow end of a bin is not forgotten. None if this pair cannot
    be brought there, or already overlaps by more.
    """
    rng = rng_for(bench.seed, f"push/{sample.sample_id[0]}")
    target = 1e-6 * np.exp(rng.uniform(np.log(low_cm3), np.log(high_cm3)))
    pose, betas, transl = (
        np.asarray(a[0], dtype=np.float64) for a in (sample.pose, sample.betas, sample.transl)
    )
    right, left = skins(bench.hands, pose, betas, transl)
    contact = contact_centre(bench, sample, right, left)
    # Through the contact, and towards the other hand's middle: both are what a bad capture does.
    towards = unit(contact - left.mean(axis=0)) + unit(right.mean(axis=0) - left.mean(axis=0))
    towards = unit(towards + 0.3 * rng.standard_normal(3))
    R = matrix_from_axis_angle(TURN * rng.standard_normal(3))

    def moved(way: float) -> Array:
        return (left - contact) @ R.T + contact + way * towards

    def volume(way: float) -> float:
        return bench.judge.pair(right, moved(way)).volume

    if not volume(0.0) <= target:
        return None
    near, far = 0.0, 0.004
    while not (found := volume(far)) >= target:
        near, far = far, 1.5 * far
        if far > FURTHEST:
            return None
    way = far
    while abs(found / target - 1) > MET:
        way = (near + far) / 2
        found = volume(way)
        near, far = (way, far) if not found >= target else (near, way)
        if far - near < 1e-5:
            return None
    if not 1e-6 * low_cm3 <= found <= 1e-6 * high_cm3:
        return None
    J0 = bench.hands[LEFT].with_shape(betas[LEFT]).rest_joints[0]
    t = contact + way * towards - R @ contact
    pose[LEFT], transl[LEFT] = moved_rigidly(pose[LEFT], transl[LEFT], J0, R, t)
    changed = replace(
        sample,
        sample_id=np.array([f"deep/{sample.sample_id[0].split('/')[-1]}"]),
        pose=pose[None],
        transl=transl[None],
        joints=joints(bench.hands, pose, betas, transl)[None],
    )
    judged = bench.judge.samples(changed)
    # Stored numbers are float32: a pair at the very edge of its bin may have left it.
    stored = 1e6 * float(judged.penetration_volume[0])
    return judged if low_cm3 <= stored <= high_cm3 else None


def contact_centre(bench: Bench, sample: Samples, right: Array, left: Array) -> Array:
    """Between the two regions that are meant to touch."""
    centres = []
    for side, skin in ((RIGHT, right), (LEFT, left)):
        region = REGIONS.index(str(sample.contact_intended[0, side]))
        ids = ContactRegions.of(bench.hands[side]).vertices(region)
        centres.append(skin[ids].mean(axis=0))
    return (centres[RIGHT] + centres[LEFT]) / 2


def three_claps(bench: Bench) -> Samples:
    samples = recorded(bench)
    samples = bench.judge.samples(samples.select(samples.take == "three-claps"))
    return samples.select(samples.contact_distance <= NEAR)


def tightest_mocap(bench: Bench) -> Samples:
    """A fifth as many frames as `spliced` has pairs; where few overlap, then those nearest."""
    samples = recorded(bench)
    samples = bench.judge.samples(samples.select(samples.take != "three-claps"))
    volume = np.nan_to_num(samples.penetration_volume, nan=-1.0)
    chosen: list[int] = []
    taken: dict[str, list[int]] = {}
    for k in np.lexsort((samples.contact_distance, -volume)).tolist():
        frame, others = int(samples.frame[k]), taken.setdefault(str(samples.take[k]), [])
        if volume[k] >= 0 and all(abs(frame - other) >= FRAMES_APART for other in others):
            others.append(frame)
            chosen.append(k)
        if len(chosen) == bench.count // 5:
            break
    print("mocap: " + ", ".join(f"{len(v)} of {k}" for k, v in sorted(taken.items()) if v))
    return samples.select(np.sort(chosen))


def recorded(bench: Bench) -> Samples:
    """Frames of all takes with both hands, joints near each other."""
    samples = build(bench, "takes", TAKES).samples()
    between = samples.joints[:, RIGHT, :, None] - samples.joints[:, LEFT, None]
    distance = np.linalg.norm(between, axis=-1).min(axis=(1, 2))
    return samples.select(samples.present.all(axis=1) & (distance < JOINTS_NEAR))


def build(bench: Bench, name: str, arguments: list[str]) -> Dataset:
    """`twohand build` into SETS/bank/NAME, once."""
    folder = bench.out / "bank" / name
    if not (folder / "index.json").exists():
        given = [
            str(bench.data / word) if before == "--input" else word
            for before, word in zip(["", *arguments], arguments, strict=False)
        ]
        twohand("build", *given, "--out", str(folder))
    return Dataset(folder)


def splice(
    bench: Bench, name: str, count: int, seed: int, interlocked: float | None = None
) -> Samples:
    """`twohand splice` from the four banks; interlocked: that mode's weight, the rest as ever."""
    banks = []
    for bank, arguments in BANKS.items():
        build(bench, bank, arguments)
        banks += ["--bank", str(bench.out / "bank" / bank)]
    folder = bench.out / "bank" / f"splice-{name}"
    if not (folder / "index.json").exists():
        with tempfile.TemporaryDirectory() as scratch:
            contacts = Path(scratch) / "contacts.toml"
            contacts.write_text("\n".join(natural_contacts(interlocked)))
            twohand(
                "splice", *banks, "--count", str(count), "--seed", str(seed), "--workers", "1",
                "--contacts", "natural" if interlocked is None else str(contacts),
                "--out", str(folder),
            )  # fmt: skip
    samples = Dataset(folder).samples()
    return samples if name != "spliced" else bench.judge.samples(samples)


def natural_contacts(interlocked: float | None) -> Iterator[str]:
    """The shipped contacts, with another weight of interlocked fingers."""
    shipped = Path(__file__).parents[1] / "manifests" / "contacts" / "natural.toml"
    for line in shipped.read_text("utf8").splitlines():
        weighed = line.startswith("interlocked =") and interlocked is not None
        yield f"interlocked = {interlocked}" if weighed else line


def twohand(*arguments: str) -> None:
    command = [sys.executable, "-m", "twohand500k.cli", *arguments, "-q"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"twohand {' '.join(arguments)}\n{ended.stderr}")


def write_set(bench: Bench, name: str, samples: Samples) -> None:
    """An ordinary dataset. Frames of takes lie in the world, spliced pairs at the right wrist."""
    source = "takes" if name in FROM_TAKES else f"splice-{name}"
    origin = bench.out / "bank" / source
    run(
        lambda unit: UnitResult(samples, (), n_in=len(samples)),
        [SetUnit(name, {source: sha256_of_file(origin / "index.json")})],
        bench.out / name,
        name="physics-sets",
        options={"set": name, "count": bench.count},
        hands=bench.hands,
        seed=bench.seed,
        frame="world" if name in FROM_TAKES else "right wrist",
        history=Dataset(origin).index.history,
        progress=False,
    )


def skins(hands: HandPair, pose: Array, betas: Array, transl: Array) -> tuple[Array, Array]:
    """Skins (V, 3) of a pair: pose (2, 16, 3), betas (2, 10), transl (2, 3)."""
    right, left = (
        hands[s].with_shape(betas[s]).with_pose(pose[s], transl[s]).vertices for s in (RIGHT, LEFT)
    )
    return right, left


def joints(hands: HandPair, pose: Array, betas: Array, transl: Array) -> Array:
    """Joints (2, 21, 3) of a pair."""
    return np.stack(
        [hands[s].with_shape(betas[s]).with_pose(pose[s], transl[s]).joints for s in (RIGHT, LEFT)]
    )


def unit(vector: Array) -> Array:
    return vector / np.linalg.norm(vector)


if __name__ == "__main__":
    main()
