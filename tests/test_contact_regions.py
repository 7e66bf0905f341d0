"""Contact regions: a partition of the skin, each region one patch and where anatomy has it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from twohand500k.cli.main import twohand
from twohand500k.conventions import FINGERS, MANO_CHAINS
from twohand500k.hand import HandModel, load_hands
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.contact_regions import REGIONS, ContactRegions
from twohand500k.hand.mesh import vertex_normals


def _another_hand() -> HandModel:
    """The same topology with other proportions and uneven flesh, as another maker's would be."""
    right = load_hands("open").right
    uneven = np.random.default_rng(0).normal(scale=3e-4, size=right.v_template.shape)
    return replace(right, v_template=right.v_template * [1.1, 0.95, 1.04] + uneven)


@pytest.fixture(scope="module", params=["open", "another"])
def right(request: pytest.FixtureRequest) -> HandModel:
    return load_hands("open").right if request.param == "open" else _another_hand()


def _cm2(model: HandModel, regions: ContactRegions) -> dict[str, float]:
    corner = model.v_template[model.faces]
    cross = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    area = np.linalg.norm(cross, axis=1) / 2 * 1e4
    of_corner = regions.of_vertex[model.faces].ravel()
    return dict(zip(REGIONS, np.bincount(of_corner, np.repeat(area / 3, 3)), strict=True))


def test_thirty_regions_each_one_patch_of_the_mesh(right):
    assert len(REGIONS) == len(set(REGIONS)) == 30
    regions = ContactRegions.of(right)
    assert regions.of_vertex.shape == (778,) and regions.of_vertex.dtype == np.int64
    assert sum(len(regions.vertices(r)) for r in range(30)) == 778
    a, b = right.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).T
    inside = regions.of_vertex[a] == regions.of_vertex[b]
    graph = coo_array((np.ones(inside.sum()), (a[inside], b[inside])), shape=(778, 778))
    assert connected_components(graph, directed=False)[0] == 30


def test_left_is_right_vertex_by_vertex():
    hands = load_hands("open")
    left, right = (ContactRegions.of(h).of_vertex for h in (hands.left, hands.right))
    assert (left == right).all()


def test_skin_faces_as_its_regions_name_says(right):
    regions = ContactRegions.of(right)
    normal = vertex_normals(right.v_template, right.faces)
    frames = Anatomy.of(right).A  # radial, dorsal, distal on the right hand

    def mean(name: str, axis: np.ndarray) -> float:
        return float((normal[regions.vertices(REGIONS.index(name))] @ axis).mean())

    for finger, chain in zip(FINGERS, MANO_CHAINS, strict=True):
        radial, dorsal, distal = frames[chain[-1] - 1].T
        assert mean(f"{finger} pad", -dorsal) > 0.8
        assert mean(f"{finger} back", dorsal) > 0.7
        assert mean(f"{finger} radial side", radial) > 0.7
        assert mean(f"{finger} ulnar side", -radial) > 0.7
        assert mean(f"{finger} tip", distal) > 0.5
    dorsal = frames[MANO_CHAINS[2][0] - 1][:, 1]
    for name in ("palm", "thenar", "hypothenar"):
        assert mean(name, -dorsal) > 0.4
    assert mean("hand back", dorsal) > 0.7


def test_skin_lies_where_its_regions_name_says(right):
    regions = ContactRegions.of(right)
    centre = {
        name: right.v_template[regions.vertices(r)].mean(axis=0) for r, name in enumerate(REGIONS)
    }
    owner = right.weights.argmax(axis=1)
    for finger, chain, tip in zip(FINGERS, MANO_CHAINS, right.tip_vertex_ids, strict=True):
        assert regions.of_vertex[tip] == REGIONS.index(f"{finger} tip")
        mine = np.isin(regions.of_vertex, [REGIONS.index(f"{finger} {p}") for p in ("tip", "pad")])
        assert np.isin(owner[mine], chain).all()
    # The rest frame: fingers to -x, thumb to +z.
    assert centre["thenar"][2] > centre["palm"][2] > centre["hypothenar"][2]
    assert centre["wrist"][0] > centre["hypothenar"][0] > centre["palm"][0]
    assert centre["palm"][0] > max(centre[f"{f} pad"][0] for f in FINGERS[1:])


def test_no_region_is_out_of_proportion():
    hand = load_hands("open").right
    cm2 = _cm2(hand, ContactRegions.of(hand))
    for finger in FINGERS:
        pad = cm2[f"{finger} pad"]
        assert 1.5 < cm2[f"{finger} tip"] < 6 and 5 < pad < 16
        for side in ("radial", "ulnar"):
            assert 0.5 < cm2[f"{finger} {side} side"] / pad < 1.5
    assert 40 < cm2["palm"] < 80 and 15 < cm2["thenar"] < 40 and 12 < cm2["hypothenar"] < 35


def test_a_model_without_a_finger_is_refused():
    right = load_hands("open").right
    weights = right.weights.copy()
    weights[np.isin(weights.argmax(axis=1), MANO_CHAINS[1])] = np.eye(16)[0]
    with pytest.raises(ValueError, match=r"no skin of .* lies in the region 'index tip'"):
        ContactRegions.of(replace(right, weights=weights))


def test_render_colours_the_regions(tmp_path: Path):
    args = ["hand", "render", "--pose", "flat", "--size", "64", "--out"]
    pictures = []
    for name, flag in (("plain.png", []), ("regions.png", ["--regions"])):
        ran = CliRunner().invoke(twohand, [*args, str(tmp_path / name), *flag])
        assert ran.exit_code == 0, ran.output
        pictures.append(np.asarray(Image.open(tmp_path / name).convert("HSV"))[:64, :64])
    strong = [np.unique(p[..., 0][p[..., 1] > 90] // 16).size for p in pictures]
    assert strong[1] >= strong[0] + 3, "no more hues than bare skin has"
