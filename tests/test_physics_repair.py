"""One pair repaired: what it promises, on hands pressed into each other in known ways."""

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest

from twohand500k.hand import load_hands
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.contact_regions import REGIONS
from twohand500k.physics.judge import Judge
from twohand500k.physics.repair import (
    MOST_DEPTH,
    MOST_NEW_SELF,
    MOST_VOLUME,
    PairInput,
    Repaired,
    Repairer,
    RepairOptions,
)

HANDS = load_hands("open")
BACK = np.array([0.0, 1.0, 0.0])  # the back of a hand, in its rest frame


@pytest.fixture(scope="module")
def repairer() -> Iterator[Repairer]:
    with Repairer(HANDS) as made:
        yield made


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def bent(side: int, seed: int, amount: float) -> np.ndarray:
    """A pose (16, 3): fingers bent at random, by up to `amount` of their limits."""
    anatomy = Anatomy.of(HANDS[side])
    draw = rng(seed).uniform(0.0, amount, (15, 1)) * [1.0, 0.0, 0.0]
    return anatomy.pose_from_angles(draw * anatomy.limits[..., 1])


@cache
def pressed(seed: int, deep: float) -> PairInput:
    """Palm to palm, the left turned about, as deep (m) in each other as asked; bent a little."""
    pose = np.stack([bent(s, 2 * seed + s, 0.35) for s in (0, 1)])
    # The left hand lies on its back under the right: its palm looks up.
    pose[1, 0] = [np.pi, 0.0, 0.0]
    betas = 0.5 * rng(seed).normal(size=(2, 10))
    transl = np.zeros((2, 3))
    joints = [HANDS[s].with_shape(betas[s]).with_pose(pose[s], transl[s]).joints for s in (0, 1)]
    middle = [j[[0, 5, 9, 13, 17]].mean(axis=0) for j in joints]
    transl[1] = middle[0] - middle[1] - (0.03 - deep) * BACK
    transl[1, [0, 2]] += 0.01 * rng(seed + 9).normal(size=2)
    return PairInput(pose, betas, transl, (REGIONS.index("palm"), REGIONS.index("palm")))


@cache
def poked() -> PairInput:
    """The right index finger straight through the left palm: no way out along the nearest skin."""
    pose = np.stack([bent(0, 5, 0.9), bent(1, 6, 0.1)])
    pose[0, 1:4] = 0.0
    # The right hand points down at the left palm, which looks up.
    pose[1, 0] = [np.pi, 0.0, 0.0]
    pose[0, 0] = [0.0, 0.0, np.pi / 2]
    betas = np.zeros((2, 10))
    joints = [HANDS[s].with_shape(betas[s]).with_pose(pose[s]).joints for s in (0, 1)]
    palm = joints[1][[0, 5, 9, 13, 17]].mean(axis=0)
    transl = np.zeros((2, 3))
    transl[1] = joints[0][8] - palm + 0.012 * BACK
    return PairInput(pose, betas, transl)


def skins(pair: PairInput, pose: np.ndarray, transl: np.ndarray) -> list[np.ndarray]:
    return [
        HANDS[s].with_shape(pair.betas[s]).with_pose(pose[s], transl[s]).vertices for s in (0, 1)
    ]


def excess(pair: PairInput, pose: np.ndarray) -> np.ndarray:
    both = [Anatomy.of(HANDS[s]) for s in (0, 1)]
    return np.stack(
        [a.limit_excess(a.angles_from_pose(p)) for a, p in zip(both, pose, strict=True)]
    )


PAIRS = [("a", 0, 0.004), ("b", 1, 0.008), ("c", 2, 0.012), ("d", 3, 0.016)]


@pytest.mark.parametrize(("name", "seed", "deep"), PAIRS)
def test_hands_pressed_together_come_apart_and_still_touch(
    repairer: Repairer, name: str, seed: int, deep: float
) -> None:
    pair = pressed(seed, deep)
    fixed = repairer.repair(pair, rng())
    assert fixed.before.volume > 1e-7 and fixed.before.depth > 0.001
    assert fixed.verdict == "repaired"
    judged = Judge.of(HANDS).pair(*skins(pair, fixed.pose, fixed.transl))
    assert judged.volume == fixed.after.volume <= MOST_VOLUME
    assert judged.depth == fixed.after.depth <= MOST_DEPTH
    assert judged.distance < 0.002
    assert (judged.self_volume - fixed.before.self_volume < MOST_NEW_SELF).all()
    assert (excess(pair, fixed.pose) <= excess(pair, pair.pose) + 1e-9).all()
    # A rigid way out along the palms' normal would take half of the depth and more of each hand.
    assert 0.0 < fixed.displacement < 0.75 * fixed.before.depth + 0.002


def test_a_finger_through_a_palm_gets_out(repairer: Repairer) -> None:
    fixed = repairer.repair(poked(), rng())
    assert fixed.before.depth > 0.004
    assert fixed.verdict == "repaired" and fixed.evaluations > 0


def test_hands_apart_pass_bit_by_bit(repairer: Repairer) -> None:
    pair = pressed(0, -0.1)
    fixed = repairer.repair(pair, rng())
    assert fixed.verdict == "untouched" and fixed.displacement == 0.0 and fixed.evaluations == 0
    assert fixed.pose.tobytes() == pair.pose.tobytes()
    assert fixed.transl.tobytes() == pair.transl.tobytes()


def test_a_hand_far_outside_its_limits_is_not_snapped_back(repairer: Repairer) -> None:
    given = pressed(1, 0.008)
    pose = given.pose.copy()
    pose[0, 15] += [0.0, 0.0, 1.2]
    pair = PairInput(pose, given.betas, given.transl, given.intended)
    fixed = repairer.repair(pair, rng())
    before, after = excess(pair, pair.pose), excess(pair, fixed.pose)
    assert before.max() > 0.3 and (after <= before + 1e-9).all()


def same(a: Repaired, b: Repaired) -> bool:
    return (
        a.pose.tobytes() == b.pose.tobytes()
        and a.transl.tobytes() == b.transl.tobytes()
        and (a.verdict, a.evaluations, a.displacement) == (b.verdict, b.evaluations, b.displacement)
    )


def test_a_result_does_not_depend_on_what_was_repaired_before(repairer: Repairer) -> None:
    pairs = [pressed(seed, deep) for _, seed, deep in PAIRS] + [poked()]
    there = [repairer.repair(pair, rng(k)) for k, pair in enumerate(pairs)]
    back = [repairer.repair(pairs[k], rng(k)) for k in reversed(range(len(pairs)))][::-1]
    with Repairer(HANDS) as other:
        fresh = [other.repair(pairs[k], rng(k)) for k in (3, 1)]
    assert all(same(a, b) for a, b in zip(there, back, strict=True))
    assert same(fresh[0], there[3]) and same(fresh[1], there[1])


def test_record_shows_the_way_and_changes_nothing(repairer: Repairer) -> None:
    pair = pressed(2, 0.012)
    plain = repairer.repair(pair, rng())
    shown = repairer.repair(pair, rng(), record=True)
    assert same(plain, shown) and not plain.during and len(shown.during) > 2
    assert np.array_equal(shown.during[0][0], pair.pose)


def test_a_pair_without_a_skin_is_unjudgeable(repairer: Repairer) -> None:
    given = pressed(0, 0.004)
    broken = given.transl.copy()
    broken[0, 0] = np.nan
    fixed = repairer.repair(PairInput(given.pose, given.betas, broken), rng())
    assert fixed.verdict == "unjudgeable" and np.isnan(fixed.after.volume) and fixed.after.fault


def test_the_frame_before_is_carried_on(repairer: Repairer) -> None:
    """A hand creeps out of an overlap: the repairs of its frames step less when kept smooth."""
    first = pressed(2, 0.012)
    frames = [
        PairInput(first.pose, first.betas, first.transl - k * 0.0004 * np.array([[0.0] * 3, BACK]))
        for k in range(8)
    ]

    def jumps(smooth: bool) -> float:
        previous, places = None, []
        for frame in frames:
            fixed = repairer.repair(frame, rng(), previous if smooth else None)
            assert fixed.kept
            places.append(fixed.transl - frame.transl)
            previous = fixed
        return float(np.abs(np.diff(places, axis=0)).max())

    assert jumps(smooth=True) < 0.9 * jumps(smooth=False) + 1e-4


def test_sampling_lessens_the_overlap_the_same_way_every_time() -> None:
    pair = pressed(1, 0.008)
    with Repairer(HANDS, RepairOptions(method="sampling")) as sampler:
        one, two = (sampler.repair(pair, rng(3)) for _ in range(2))
        other = sampler.repair(pair, rng(4))
    assert same(one, two) and not same(one, other)
    assert one.after.volume < 0.5 * one.before.volume and one.evaluations > 300


def test_fast_takes_no_more_passes_than_best(repairer: Repairer) -> None:
    pair = pressed(3, 0.016)
    with Repairer(HANDS, RepairOptions(effort="fast")) as quick:
        fast = quick.repair(pair, rng())
    best = repairer.repair(pair, rng())
    assert fast.evaluations <= best.evaluations
    assert best.after.volume <= max(fast.after.volume, 1e-8)
