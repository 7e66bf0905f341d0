"""The pose bank (mirror, thinning, refusals) and the draw (no pair twice, no mixed splits)."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from shards_fixture import synthetic_hands
from splice_fixture import Hands, bank, hands

from twohand500k.conventions import LEFT, RIGHT
from twohand500k.errors import DataError
from twohand500k.hand import HandPair
from twohand500k.hand.rotations import mirror_points
from twohand500k.splice import load_bank
from twohand500k.splice.draw import (
    PAIRS_PER_SLOT,
    _fill,
    default_shares,
    is_reserved,
    nth_pair,
    parse_shares,
    plan_draw,
)
from twohand500k.splice.placement import is_open, open_hands


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bank(
        tmp_path_factory.mktemp("bank") / "a",
        Hands("one", "right", "train", 40),
        Hands("two", "left", "train", 20),
        Hands("two", "both", "val", 12),
    )


def test_every_present_hand_is_a_bank_hand(folder: Path) -> None:
    b = load_bank([folder], hands(), thin_mm=0)
    assert len(b) == 40 + 20 + 24
    assert b.counts["hands_read"] == len(b) and b.counts["hands_thinned"] == 0
    assert (b.pose[:, :, 0] == 0).all()


def test_a_mirrored_hands_skin_is_the_mirror_image(folder: Path) -> None:
    b = load_bank([folder], hands(), thin_mm=0)
    for hand in (0, 45, 70):
        recorded = b.side[hand]
        skins = [
            hands()[s].with_shape(b.betas[s, hand]).with_pose(b.pose[s, hand]).vertices
            for s in (RIGHT, LEFT)
        ]
        own, image = skins[recorded], skins[1 - recorded]
        np.testing.assert_array_equal(mirror_points(own), image)
        assert not b.mirrored(np.array(hand), recorded) and b.mirrored(np.array(hand), 1 - recorded)


def test_models_that_are_no_mirror_images_are_refitted(tmp_path: Path) -> None:
    """The left model's first shape direction is larger: the same betas would be another hand."""
    left = hands().left
    shapedirs = left.shapedirs.copy()
    shapedirs[..., 0] *= 1.2
    pair = HandPair(hands().right, replace(left, shapedirs=shapedirs))
    folder = bank(tmp_path / "a", Hands("one", "right", "train", 3), pair=pair)
    b = load_bank([folder], pair, thin_mm=0)
    right = pair.right.with_shape(b.betas[RIGHT]).with_pose(b.pose[RIGHT]).vertices
    wanted = mirror_points(right - right[:, :1])

    def away(betas: np.ndarray) -> np.ndarray:
        skin = pair.left.with_shape(betas).with_pose(b.pose[LEFT]).vertices
        return np.linalg.norm(skin - skin[:, :1] - wanted, axis=-1).mean(axis=1)

    assert (b.refit_mean < 1e-4).all()
    assert (away(b.betas[LEFT]) < 2e-4).all() and (away(b.betas[RIGHT]) > 5e-4).any()


def test_neighbouring_frames_are_thinned_per_take(tmp_path: Path) -> None:
    folder = bank(
        tmp_path / "a",
        Hands("one", "right", "train", 10, still=True),
        Hands("two", "right", "train", 10, still=True),
        Hands("three", "right", "train", 10),
    )
    b = load_bank([folder], hands(), thin_mm=2.0)
    assert {s: int((b.source == s).sum()) for s in ("one", "two")} == {"one": 1, "two": 1}
    kept = int((b.source == "three").sum())
    assert 5 <= kept <= 10 and b.counts["hands_thinned"] == 30 - len(b)
    assert len(load_bank([folder], hands(), thin_mm=0)) == 30


def test_hands_of_unknown_side_are_left_out(tmp_path: Path) -> None:
    folder = bank(tmp_path / "a", Hands("one", "right", "train", 10, ambiguous=4))
    b = load_bank([folder], hands(), thin_mm=0)
    assert len(b) == 6 and b.counts["hands_side_ambiguous"] == 4


def test_refusals(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="hand convert"):
        load_bank([folder], synthetic_hands())
    with pytest.raises(DataError, match="occurs twice"):
        load_bank([folder, folder], hands())
    with pytest.raises(DataError, match="not a folder"):
        load_bank([tmp_path / "nothing"], hands())
    empty = bank(tmp_path / "empty", Hands("one", "right", "train", 3, ambiguous=3))
    with pytest.raises(DataError, match="empty"):
        load_bank([empty], hands())


# The draw


def draw(folder: Path, count: int, mirror: bool = True, share: tuple[str, ...] = (), **more):  # type: ignore[no-untyped-def]
    b = load_bank([folder], hands(), thin_mm=0, mirror=mirror)
    spread = more.pop("open_hands", np.zeros((2, len(b)), dtype=bool))
    return b, plan_draw(b, count, parse_shares(share, b), open_hands=spread, **more)


def drawn_pairs(d) -> list[list[tuple[int, int]]]:  # type: ignore[no-untyped-def]
    """Every pair each slot owns."""
    out = []
    for block, rank in zip(d.block, d.rank, strict=True):
        n_left = d.left[block, 1]
        pairs = d.right[block, 1] * n_left
        own = [
            nth_pair(number, pairs, d.key[block])
            for number in range(rank, pairs, int(d.slots[block]))
        ]
        out.append([
            (int(d.hands[d.right[block, 0] + p // n_left]),
             int(d.hands[d.left[block, 0] + p % n_left]))
            for p in own
        ])  # fmt: skip
    return out


def test_a_permutation_of_any_size() -> None:
    for pairs in (1, 2, 3, 7, 64, 65, 1000):
        places = [nth_pair(k, pairs, np.uint64(12345)) for k in range(pairs)]
        assert sorted(places) == list(range(pairs))
    first = [nth_pair(k, 1000, np.uint64(1)) for k in range(1000)]
    assert first != [nth_pair(k, 1000, np.uint64(2)) for k in range(1000)]
    # Looks random: neighbours are not neighbours.
    assert np.mean(np.abs(np.diff(first)) < 20) < 0.1


def test_no_pair_is_owned_twice_and_none_joins_two_splits(folder: Path) -> None:
    b, d = draw(folder, 150)
    owned = [pair for pairs in drawn_pairs(d) for pair in pairs]
    assert len(owned) == len(set(owned)) >= PAIRS_PER_SLOT * 150
    right, left = np.array(owned).T
    assert (b.split[right] == b.split[left]).all()
    slots = {s: int(d.slots[d.split == s].sum()) for s in ("train", "val")}
    assert abs(slots["train"] / 150 - 60 / 84) < 0.01 and sum(slots.values()) == 150
    assert all(len(pairs) >= PAIRS_PER_SLOT for pairs in drawn_pairs(d))


def test_without_the_mirror_hands_serve_as_recorded(folder: Path) -> None:
    b, d = draw(folder, 40, mirror=False)
    right, left = np.array([p for pairs in drawn_pairs(d) for p in pairs]).T
    assert (b.side[right] == RIGHT).all() and (b.side[left] == LEFT).all()


def test_shares(folder: Path) -> None:
    b, d = draw(folder, 80, share=("one=1", "two:left=3"))
    first = np.array([pairs[0] for pairs in drawn_pairs(d)])
    train = b.split[first[:, 0]] == "train"
    from_one = (b.source[first[train]] == "one").mean()
    assert abs(from_one - 0.25) < 0.04
    equal = default_shares(b)
    assert equal["one", RIGHT] == pytest.approx(np.sqrt(40))
    for bad, said in (
        ("three=1", "has no 'three'"),
        ("one:left=1", "has no 'one:left'"),
        ("one=x", "is not SOURCE"),
        ("one=-1", "is not SOURCE"),
        ("one=0", "every weight is 0"),
    ):
        with pytest.raises(DataError, match=said):
            parse_shares((bad,), b)
    with pytest.raises(DataError, match="twice"):
        parse_shares(("one=1", "one:right=1"), b)


def test_too_few_pairs_says_how_many_there_are(folder: Path) -> None:
    said = r"4,176 pairs within its splits.*lower --count to (\d+)"
    with pytest.raises(DataError, match=said) as refused:
        draw(folder, 10_000)
    found = re.search(said, str(refused.value))
    assert found is not None
    _, plan = draw(folder, int(found[1]))
    assert plan.slots.sum() == int(found[1])


def test_all_of_the_room_can_be_used() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        capacity = rng.integers(1, 50, size=rng.integers(1, 9)).astype(np.float64)
        share = rng.random(len(capacity)) + 0.01
        wanted = share / share.sum() * capacity.sum()
        filled = _fill(wanted, capacity)
        assert filled is not None and np.allclose(filled, capacity)
        assert _fill(wanted * (1 + 1 / capacity.sum()), capacity) is None


def test_splits_without_partners(tmp_path: Path) -> None:
    folder = bank(
        tmp_path / "a", Hands("one", "right", "train", 20), Hands("two", "left", "val", 20)
    )
    with pytest.raises(DataError, match="never joins two splits"):
        draw(folder, 10, mirror=False)
    b, d = draw(folder, 40)  # the mirror makes partners
    right, left = np.array([p for pairs in drawn_pairs(d) for p in pairs]).T
    assert (b.split[right] == b.split[left]).all()


def test_pairs_for_interlocked_fingers_are_their_own(tmp_path: Path) -> None:
    folder = bank(
        tmp_path / "a",
        Hands("spread", "right", "train", 20, spread=True),
        Hands("bent", "right", "train", 20),
    )
    b = load_bank([folder], hands(), thin_mm=0)
    spread = open_hands(b, hands())
    assert spread[:, b.source == "spread"].mean() > 0.8
    assert not spread[:, b.source == "bent"].any()
    joints = hands().right.with_shape(b.betas[0]).with_pose(b.pose[0]).joints
    np.testing.assert_array_equal(is_open(joints), spread[0])
    d = plan_draw(b, 100, default_shares(b), open_hands=spread, interlocked=0.3)
    locked = d.interlocked[d.block]
    assert 15 <= locked.sum() <= 30
    for pairs, mode in zip(drawn_pairs(d), locked, strict=True):
        if mode:
            assert all(
                spread[0, right] and spread[1, left] and is_reserved(right, left)
                for right, left in pairs
            )
