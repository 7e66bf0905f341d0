"""What the viewer shows, asked without a browser: the walk, the figure, the panel; one server."""

import dataclasses
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import trimesh
from click.testing import CliRunner

from twohand500k.cli.main import twohand
from twohand500k.conventions import LEFT, RIGHT
from twohand500k.errors import DataError
from twohand500k.hand import HandPair, load_hands
from twohand500k.hand.measure import pair_displacement
from twohand500k.shards import Reject, Samples
from twohand500k.shards.index import Index, write_index
from twohand500k.shards.schema import conventions_for
from twohand500k.shards.writer import write_shard
from twohand500k.view import panel
from twohand500k.view.catalog import Catalog, Query, Walk
from twohand500k.view.figure import UNIT, Studio, window

N = 150


@pytest.fixture(scope="module")
def hands() -> HandPair:
    return load_hands("open")


@pytest.fixture(scope="module")
def studio(hands: HandPair) -> Studio:
    return Studio(hands)


def _pairs(hands: HandPair, n: int = N) -> Samples:
    """A take of n moments: two flat hands, the left one sliding through the right one; one index
    finger bent backwards in moment 7; moments of an odd number were repaired."""
    pose = np.zeros((n, 2, 16, 3))
    pose[7, RIGHT, 1] = [0.0, 0.0, -1.0]
    transl = np.zeros((n, 2, 3))
    transl[:, LEFT, 1] = np.linspace(-0.06, 0.06, n)
    # The left model lies with its fingers the other way; turned about y they lie side by side.
    pose[:, LEFT, 0, 1] = np.pi
    joints = np.stack(
        [hands[s].with_shape().with_pose(pose[:, s], transl[:, s]).joints for s in (0, 1)], axis=1
    )
    transl_before = transl.copy()
    transl_before[:, LEFT, 1] *= 0.5
    known = np.arange(n) % 3 > 0
    volume = np.where(known, np.arange(n) * 1e-8, np.nan)
    return Samples(
        sample_id=np.array([f"made/{k:06d}" for k in range(n)]),
        pose=pose, betas=np.zeros((n, 2, 10)), transl=transl, joints=joints,
        present=np.ones((n, 2), dtype=bool),
        source=np.where(np.arange(n) < 100, "one", "two"), take=np.full(n, "slide"),
        timestamp=np.arange(n) / 50.0, frame=np.arange(n),
        split=np.full(n, "train"),
        penetration_volume=volume,
        contact_realised=np.where(np.arange(n)[:, None] < 10, [["palm", "thumb tip"]], ""),
        pose_before=pose, transl_before=transl_before, volume_before=volume * 2,
        depth_before=np.full(n, np.nan), displacement=np.full(n, 0.001),
        evaluations=np.full(n, -1), repair_verdict=np.full(n, "repaired"),
    )  # fmt: skip


def _written(folder: Path, hands: HandPair, samples: Samples) -> Path:
    """A dataset of three shards, two samples of which were refused."""
    folder.mkdir()
    conventions = conventions_for(hands)
    parts = np.array_split(np.arange(len(samples)), 3)
    entries = [
        write_shard(folder / f"shard-{k:05d}.h5", samples.select(rows), conventions)
        for k, rows in enumerate(parts)
    ]
    rejects = [Reject("made/a", "one", "far apart", "9 cm"), Reject("made/b", "one", "mirrored")]
    lines = [json.dumps(dataclasses.asdict(reject)) for reject in rejects]
    (folder / "rejects.jsonl").write_text("\n".join(lines) + "\n")
    counts = {"one": {"kept": 100, "rejected": 2}, "two": {"kept": N - 100, "rejected": 0}}
    write_index(folder, Index(tuple(entries), counts, conventions, ()))
    return folder


@pytest.fixture(scope="module")
def samples(hands: HandPair) -> Samples:
    return _pairs(hands)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, hands: HandPair, samples: Samples) -> Path:
    return _written(tmp_path_factory.mktemp("view") / "slide", hands, samples)


@pytest.fixture(scope="module")
def catalog(folder: Path, hands: HandPair) -> Catalog:
    return Catalog.open([folder], hands)


def test_a_query_finds_what_the_fields_say(catalog: Catalog, samples: Samples) -> None:
    volume = samples.penetration_volume * 1e6
    low, high = 0.205, 0.805
    found = catalog.rows(Query(source="one", between=(("volume_cm3", low, high),)))
    expected = np.flatnonzero((samples.source == "one") & (volume >= low) & (volume <= high))
    assert 0 < len(expected) < N and np.array_equal(found, expected)
    assert np.array_equal(catalog.rows(Query(contact=("palm", "(any)"))), np.arange(10))
    assert len(catalog.rows(Query(contact=("thumb tip", "(any)")))) == 0
    assert np.array_equal(catalog.rows(Query(contains="SLID")), np.arange(N))
    by_where = catalog.rows(
        Query(where='source == "one" and 0.205 < penetration_volume_cm3 < 0.805')
    )
    assert np.array_equal(by_where, expected)
    with pytest.raises(DataError, match="fields:"):
        catalog.rows(Query(where="volumen > 3"))


def test_sorting_puts_what_is_not_known_last(catalog: Catalog, samples: Samples) -> None:
    unknown = int(np.isnan(samples.penetration_volume).sum())
    for descending in (True, False):
        found = catalog.rows(Query(order="volume_cm3", descending=descending))
        values = catalog.numbers["volume_cm3"][found]
        assert np.isnan(values[-unknown:]).all() and not np.isnan(values[:-unknown]).any()
        steps = np.diff(values[:-unknown])
        assert (steps <= 0).all() if descending else (steps >= 0).all()


def test_two_datasets_share_one_row_of_names(tmp_path: Path, hands: HandPair) -> None:
    """Without the group repair, its numbers are unknown and its verdict is none."""
    full = _pairs(hands, 9)
    bare = dataclasses.replace(
        full,
        sample_id=np.array([f"other/{k}" for k in range(9)]),
        source=np.full(9, "another"),
        **dict.fromkeys(
            ("pose_before", "transl_before", "volume_before", "depth_before", "displacement",
             "evaluations", "repair_verdict")
        ),
    )  # fmt: skip
    catalog = Catalog.open(
        [_written(tmp_path / "a", hands, full), _written(tmp_path / "b", hands, bare)], hands
    )
    assert len(catalog) == 18 and catalog.place(9) == (1, 0)
    assert catalog.names["source"].names == ("another", "one")
    assert catalog.name("source", 3) == "one" and catalog.name("source", 12) == "another"
    assert catalog.name("verdict", 12) == "" and np.isnan(catalog.numbers["displacement_mm"][12])
    assert len(catalog.rows(Query(verdict="repaired"))) == 9
    assert str(catalog.sample(13).sample_id[0]) == "other/4"
    assert Walk.begin(catalog).jump("other/4").row == 13


def test_a_walk_keeps_its_sample_while_that_is_found(catalog: Catalog) -> None:
    walk = Walk.begin(catalog).to(40)
    assert walk.asking(Query(source="one")).row == 40
    assert walk.asking(Query(source="two")).row == 100
    assert walk.step(-41).row == N - 1 and Walk.begin(catalog).to(10_000).row == N - 1
    assert walk.asking(Query(source="two")).jump("made/000007").row == 7
    assert walk.jump("000149").row == 149
    with pytest.raises(DataError, match="no sample_id"):
        walk.jump("elsewhere")
    nothing = walk.asking(Query(contains="no such take"))
    assert nothing.row is None and nothing.step(1).row is None
    assert nothing.random(np.random.default_rng(0)).row is None
    assert walk.rate() == pytest.approx(50.0)
    assert walk.is_take_neighbour(walk.step(1)) and not walk.is_take_neighbour(nothing)


def test_samples_come_from_their_own_rows(catalog: Catalog, samples: Samples) -> None:
    for row in (0, 49, 50, 63, 64, 99, 100, N - 1):
        assert catalog.sample(row).sample_id[0] == samples.sample_id[row]
        assert np.array_equal(catalog.sample(row).transl[0], samples.transl[row])


def test_other_hands_and_empty_folders_are_refused(folder: Path, hands: HandPair) -> None:
    other = HandPair(dataclasses.replace(hands.right, v_template=hands.right.v_template * 2),
                     hands.left)  # fmt: skip
    with pytest.raises(DataError, match="--hand-model"):
        Catalog.open([folder], other)
    with pytest.raises(DataError, match="not a folder"):
        Catalog.open([folder / "nothing"], hands)


def test_skins_are_closed_and_pass_through_the_models_vertices(
    hands: HandPair, studio: Studio, samples: Samples
) -> None:
    figure = studio.figure(samples.select([7]))
    for side in (RIGHT, LEFT):
        mesh = studio.skin(figure.after, side)
        solid = trimesh.Trimesh(mesh.vertices, mesh.faces)
        assert solid.is_watertight and solid.is_winding_consistent
        volume = trimesh.Trimesh(figure.after.skins[side], hands[side].closed_faces).volume
        assert solid.volume * UNIT**3 == pytest.approx(volume, rel=0.03)
        away = np.linalg.norm(
            mesh.vertices[:, None] * UNIT - figure.after.skins[side][None, ::50], axis=-1
        )
        assert away.min(axis=0).max() < 1e-9


def test_a_figure_is_moved_but_never_changed(
    hands: HandPair, studio: Studio, samples: Samples
) -> None:
    """Turned for the viewer, the hands keep every distance; the repair's own motion remains."""
    one = samples.select([20])
    figure = studio.figure(one)
    shown, stored = figure.after.joints.reshape(-1, 3), one.joints[0].reshape(-1, 3)
    distances = [np.linalg.norm(p[:, None] - p[None], axis=-1) for p in (shown, stored)]
    assert np.allclose(*distances, atol=1e-6)
    assert figure.before is not None
    ends = [figure.at(0.0), figure.at(1.0)]
    assert ends[0] is figure.before and ends[1] is figure.after
    half = figure.at(0.5).joints
    assert np.allclose(half, (ends[0].joints + ends[1].joints) / 2)
    was = [
        hands[s].with_shape().with_pose(one.pose_before[0, s], one.transl_before[0, s]).joints
        for s in (RIGHT, LEFT)
    ]
    moved = np.linalg.norm(ends[1].joints - ends[0].joints, axis=-1).mean()
    assert moved == pytest.approx(pair_displacement(np.stack(was), one.joints[0]), rel=1e-4)
    # Hands in a viewer's space stand with their wrists below.
    assert figure.after.joints[:, 0, 2].mean() < figure.after.joints[:, 12, 2].mean()


def test_overlap_is_red_where_hands_overlap_and_only_there(
    studio: Studio, samples: Samples
) -> None:
    """The two flat hands share space in the middle of the slide and none at its ends."""
    apart = studio.figure(samples.select([0])).after
    assert studio.overlap(apart) is None
    skin = studio.skin(apart, RIGHT)
    assert window(skin, None) == (skin, None)
    through = studio.figure(samples.select([N // 2])).after
    red = studio.overlap(through)
    assert red is not None
    shared = trimesh.Trimesh(red.vertices, red.faces)
    assert shared.volume * UNIT**3 * 1e6 > 0.1
    for side in (RIGHT, LEFT):
        skin = studio.skin(through, side)
        solid, glass = window(skin, red)
        assert glass is not None and len(solid.faces) + len(glass.faces) == len(skin.faces)


def test_collision_bodies_hold_the_skin_they_stand_for(studio: Studio, samples: Samples) -> None:
    state = studio.figure(samples.select([3])).after
    for side in (RIGHT, LEFT):
        bodies = studio.bodies(state, side)
        assert len(trimesh.Trimesh(bodies.vertices, bodies.faces).split()) == 16
        low, high = bodies.vertices.min(axis=0) * UNIT, bodies.vertices.max(axis=0) * UNIT
        skin = state.skins[side]
        assert (skin > low - 2e-3).all() and (skin < high + 2e-3).all()


def test_a_finger_bent_backwards_is_marked_and_no_other(studio: Studio, samples: Samples) -> None:
    assert studio.marks(studio.figure(samples.select([6])).after) == []
    marks = studio.marks(studio.figure(samples.select([7])).after)
    assert [(m.side, m.joint) for m in marks] == [(RIGHT, 5)]
    assert marks[0].text.startswith("right index1: ")


def test_a_single_hand_is_a_figure_too(studio: Studio, hands: HandPair) -> None:
    pose = np.zeros((1, 2, 16, 3))
    pose[:, LEFT] = np.nan
    betas, transl = np.zeros((1, 2, 10)), np.zeros((1, 2, 3))
    betas[:, LEFT] = transl[:, LEFT] = np.nan
    joints = np.full((1, 2, 21, 3), np.nan)
    joints[0, RIGHT] = hands.right.with_shape().with_pose().joints
    one = Samples(
        sample_id=np.array(["one"]), pose=pose, betas=betas, transl=transl, joints=joints,
        present=np.array([[True, False]]), source=np.array(["s"]), take=np.array(["t"]),
    )  # fmt: skip
    figure = studio.figure(one)
    assert figure.present == (True, False) and studio.overlap(figure.after) is None
    assert np.isfinite([figure.reach, figure.floor]).all()
    told = panel.table_html(panel.facts(one, "bank", 0, 1))
    assert "left in itself" not in told and "right in itself" in told


def test_the_panel_never_makes_zero_of_what_is_not_known(samples: Samples) -> None:
    tables = panel.facts(samples.select([3]), "slide", 3, N)  # a third is not judged
    told = {a: b for rows in tables.values() for a, b in rows}
    assert told["volume"] == "not judged" and told["depth before"] == "not judged"
    assert told["evaluations"] == "not counted" and told["subject"] == "not known"
    assert told["right over limits"] == "not measured"
    known = panel.facts(samples.select([4]), "slide", 4, N)
    assert dict(known["Overlap"])["volume"] == "0.04 cm³"
    assert "&lt;b&gt;" in panel.table_html({"x": [("<b>", "1")]})


def test_rejects_are_listed_with_their_reasons(catalog: Catalog) -> None:
    reasons, listed = catalog.rejects()
    assert reasons == {"far apart": 1, "mirrored": 1}
    page = panel.rejects_html(reasons, listed, "far apart")
    assert "made/a" in page and "9 cm" in page and "made/b" not in page


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def test_a_server_answers_and_a_session_shows_what_is_asked(
    catalog: Catalog, studio: Studio
) -> None:
    pytest.importorskip("viser")
    from twohand500k.view.server import serving
    from twohand500k.view.session import Session

    port = _free_port()
    with serving(Walk.begin(catalog), studio, "127.0.0.1", port) as server:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=10) as answer:
            assert answer.status == 200 and b"<html" in answer.read(2000)
        with (
            pytest.raises(DataError, match="--port"),
            serving(Walk.begin(catalog), studio, "127.0.0.1", port),
        ):
            pass
        # The server itself stands for a browser: it has the same widgets and scene.
        session = Session(server, Walk.begin(catalog), studio, np.random.default_rng(0))
        assert "made/000000" in session._widgets.facts.content
        session.ask(source="two")
        assert "made/000100" in session._widgets.facts.content
        assert session._widgets.status.content.startswith("**1 of 50**")
        session.ask(where="nonsense")
        assert "nonsense" in session._widgets.status.content and session.walk.row == 100
        session.jump("made/000007")
        assert "past/0/5" in session._nodes and "overlap" not in session._nodes
        session.show(share=0.5, ghost=True, bones=True, names=True, bodies=True)
        assert {"ghost/0", "bones/1", "names/1/20", "bodies/0"} <= set(session._nodes)
        session.show(bones=False, names=False, ghost=False)
        assert not {n for n in session._nodes if n.startswith(("bones", "names", "ghost"))}
        session.go(session.walk.to(N // 2))
        assert {"overlap", "glass/0", "glass/1"} <= set(session._nodes)
        session.ask(contains="no such take")
        assert set(session._nodes) == {"grid"} and "Nothing" in session._widgets.facts.content
        session.close()
    with socket.create_server(("127.0.0.1", port)):
        pass  # the port is free again


def test_a_take_plays_and_stops(catalog: Catalog, studio: Studio) -> None:
    pytest.importorskip("viser")
    from twohand500k.view.server import serving
    from twohand500k.view.session import Session

    with serving(Walk.begin(catalog), studio, "127.0.0.1", _free_port()) as server:
        last = Walk.begin(catalog).to(N - 1)
        session = Session(server, last, studio, np.random.default_rng(0))
        view = session.view
        session.play(True, rate=1000.0)
        for _ in range(100):
            time.sleep(0.05)
            if 0 < session.walk.at < N - 1:
                break
        session.play(False)
        time.sleep(0.3)
        stopped = session.walk.at
        assert 0 < stopped < N - 1, "after its end a take starts again"
        assert session.view is view, "one take is seen from one side"
        time.sleep(0.3)
        assert session.walk.at == stopped


def test_the_command_says_what_is_missing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    port = str(_free_port())
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "viser", None)
        shown = CliRunner().invoke(twohand, ["view", str(folder), "--port", port])
        assert isinstance(shown.exception, DataError)
        assert "pip install" in str(shown.exception) and "[view]" in str(shown.exception)
    shown = CliRunner().invoke(twohand, ["view", str(tmp_path / "none"), "--port", port])
    assert isinstance(shown.exception, DataError) and "not a folder" in str(shown.exception)


def test_ctrl_c_ends_the_command_cleanly(folder: Path) -> None:
    port = str(_free_port())
    command = [sys.executable, "-m", "twohand500k.cli", "view", str(folder), "--port", port]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None and run.stderr is not None
        assert f"{N} samples at http://127.0.0.1:{port}" in run.stdout.readline()
        run.send_signal(signal.SIGINT)
        assert run.wait(timeout=20) == 0
        assert run.stdout.read() == "ended\n" and run.stderr.read() == ""
