"""The closed hand, its volume and normals, and triangles that cut each other."""

import numpy as np
import pytest
import trimesh
from mano_fixture import random_model, random_pair

from twohand500k.hand import load_hands, mesh
from twohand500k.hand.mesh import (
    closed_faces,
    self_intersections,
    volume_cm3,
    wrist_loop,
)


def box(size: tuple[float, float, float]) -> trimesh.Trimesh:
    return trimesh.creation.box(size)


def test_closed_hand_is_watertight_and_outward() -> None:
    tubes, hands = random_pair(2), load_hands("open")
    for model in (tubes.right, tubes.left, hands.right, hands.left):
        assert len(model.closed_faces) == len(model.faces) + 14
        assert model.closed_faces.max() == 777
        np.testing.assert_array_equal(model.closed_faces[: len(model.faces)], model.faces)
        skin = trimesh.Trimesh(model.v_template, model.closed_faces, process=False)
        assert skin.is_watertight and skin.is_winding_consistent
        assert skin.euler_number == 2
        assert not trimesh.Trimesh(model.v_template, model.faces, process=False).is_watertight
        volume = volume_cm3(model.v_template, model.closed_faces)
        assert 200 < volume < 500
        np.testing.assert_allclose(volume, skin.volume * 1e6, rtol=1e-9)


def test_mirrored_cap_is_the_mirrored_cap() -> None:
    pair = random_pair(2)
    right = {frozenset(face) for face in pair.right.closed_faces.tolist()}
    left = {frozenset(face) for face in pair.left.closed_faces.tolist()}
    assert right == left
    np.testing.assert_allclose(
        volume_cm3(pair.left.v_template, pair.left.closed_faces),
        volume_cm3(pair.right.v_template, pair.right.closed_faces),
        rtol=1e-12,
    )


def test_volume_of_a_box_wherever_it_stands() -> None:
    b = box((0.02, 0.03, 0.05))
    places = np.array([[0, 0, 0], [100.0, -50, 3]])
    volumes = volume_cm3(b.vertices + places[:, None], b.faces)
    np.testing.assert_allclose(volumes, 30.0, rtol=1e-9)
    np.testing.assert_allclose(volume_cm3(b.vertices, b.faces[:, ::-1]), -30.0, rtol=1e-9)


def test_wrist_loop_is_the_boundary() -> None:
    model = random_model(2)
    loop = wrist_loop(model.faces)
    assert sorted(loop.tolist()) == list(range(16)) and loop[0] == 0
    edges = {tuple(e) for e in model.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).tolist()}
    assert all((int(a), int(b)) in edges for a, b in zip(loop, np.roll(loop, -1), strict=True))


@pytest.mark.parametrize(
    "change,words",
    [
        (lambda f: closed_faces(f), "no open boundary"),
        (lambda f: f[:-40], "open boundar"),
        (lambda f: np.concatenate([f[:1, ::-1], f[1:]]), "twice"),
        (lambda f: np.concatenate([f, f[:1]]), "twice"),
    ],
)
def test_bad_surfaces_are_refused(change, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=words):
        wrist_loop(change(random_model(2).faces))


def naive_pairs(vertices: np.ndarray, faces: np.ndarray) -> set[tuple[int, int]]:
    """Every pair of triangles, each edge against each plane by solving for the meeting point."""
    found = set()
    for i in range(len(faces)):
        for j in range(i + 1, len(faces)):
            if set(faces[i].tolist()) & set(faces[j].tolist()):
                continue
            for f, g in ((i, j), (j, i)):
                a, b, c = vertices[faces[g]]
                for k in range(3):
                    p, q = vertices[faces[f, k]], vertices[faces[f, (k + 1) % 3]]
                    # p + t (q - p) = a + u (b - a) + v (c - a)
                    t, u, v = np.linalg.solve(np.stack([q - p, a - b, a - c], axis=1), a - p)
                    if 0 < t < 1 and u > 0 and v > 0 and u + v < 1:
                        found.add((i, j))
    return found


def test_self_intersections_against_the_naive_twin() -> None:
    rng = np.random.default_rng(0)
    vertices = rng.normal(size=(60, 3))
    faces = np.stack([rng.choice(60, 3, replace=False) for _ in range(90)])
    pairs = self_intersections(vertices, faces)
    expected = naive_pairs(vertices, faces)
    assert len(expected) > 100
    assert {tuple(p) for p in pairs.tolist()} == expected
    assert len(pairs) == len(expected)
    order = rng.permutation(len(faces))
    again = np.sort(order[self_intersections(vertices, faces[order])], axis=1)
    assert {tuple(p) for p in again.tolist()} == expected


def test_self_intersections_of_two_boxes() -> None:
    a, b = box((1, 1, 1)), box((1, 1, 1))
    faces = np.concatenate([a.faces, b.faces + len(a.vertices)])

    def cuts(offset: tuple[float, float, float]) -> int:
        return len(self_intersections(np.concatenate([a.vertices, b.vertices + offset]), faces))

    assert cuts((0.31, 0.47, 0.23)) > 0
    assert cuts((2.0, 0.0, 0.0)) == 0
    assert cuts((0.999, 0.13, 0.07)) > 0
    assert cuts((1.001, 0.13, 0.07)) == 0
    # One wholly inside the other cuts nothing: a question for volumes, not for this.
    small = np.concatenate([a.vertices, 0.2 * b.vertices])
    assert len(self_intersections(small, faces)) == 0


def test_self_intersections_wants_one_finite_mesh() -> None:
    b = box((1, 1, 1))
    for bad in (np.stack([b.vertices] * 2), b.vertices * np.nan):
        with pytest.raises(ValueError, match="finite"):
            mesh.self_intersections(bad, b.faces)
