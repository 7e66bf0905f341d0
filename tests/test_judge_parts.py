"""Parts of the skin: closed, sixteen, together the whole hand, alike on both sides."""

import numpy as np
import pytest

from twohand500k.conventions import MANO_PARENTS
from twohand500k.hand import HandPair, load_hands, volume_cm3
from twohand500k.physics.parts import Parts


@pytest.fixture(scope="module")
def hands() -> HandPair:
    return load_hands("open")


def test_every_part_is_closed_and_wound_one_way(hands: HandPair) -> None:
    for side in (0, 1):
        parts = Parts.of(hands[side])
        for part in range(16):
            faces = parts.faces[parts.face_part == part]
            edges = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
            once = set(map(tuple, edges.tolist()))
            assert len(once) == len(edges)
            assert all((b, a) in once for a, b in once)


def test_parts_make_up_the_hand(hands: HandPair) -> None:
    # Cones of neighbouring parts over the same border cancel where it is one loop of two parts;
    # where three parts meet (between fingers) a wedge is in none, so the sum is near, not equal.
    model = hands.right
    parts = Parts.of(model)
    skin = parts.closed_skin(model.v_template)
    volumes = [volume_cm3(skin, parts.faces[parts.face_part == p]) for p in range(16)]
    assert min(volumes) > 1.0
    assert sum(volumes) == pytest.approx(volume_cm3(model.v_template, model.closed_faces), rel=0.06)
    assert np.array_equal(
        parts.faces[parts.face_is_skin][:, 0],
        model.closed_faces[np.argsort(parts.part_of_face, kind="stable")][:, 0],
    )


def test_neighbours(hands: HandPair) -> None:
    adjacent = Parts.of(hands.right).adjacent
    assert np.array_equal(adjacent, adjacent.T) and adjacent.diagonal().all()
    assert all(adjacent[j, p] for j, p in enumerate(MANO_PARENTS) if p >= 0)
    # What a fist brings together must stay apart: fingertips from the palm and from one another.
    for tip in (3, 6, 9, 12, 15):
        assert not adjacent[tip, 0]
        assert not any(adjacent[tip, other] for other in (3, 6, 9, 12, 15) if other != tip)


def test_left_parts_are_the_right_ones(hands: HandPair) -> None:
    right, left = Parts.of(hands.right), Parts.of(hands.right.mirrored())
    assert np.array_equal(right.part_of_face, left.part_of_face)
    assert np.array_equal(right.adjacent, left.adjacent)
