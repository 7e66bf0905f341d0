"""Loading: MANO's own layout without chumpy, hostile and broken files, the left hand's defect."""

import io
import pickle
import sys
import types
from dataclasses import replace
from pathlib import Path

import mano_fixture as fixture
import numpy as np
import pytest
from mano_fixture import Call, Instance, Ref

from twohand500k.errors import DataError
from twohand500k.hand import HandModel, HandPair, load_hands, load_model
from twohand500k.pickles import read_pickle

ARRAYS = (
    "v_template",
    "shapedirs",
    "posedirs",
    "J_regressor",
    "weights",
    "faces",
    "hands_mean",
    "hands_components",
    "hands_coeffs",
)


@pytest.fixture(scope="module")
def pair() -> HandPair:
    return fixture.random_pair(1)


@pytest.fixture(scope="module")
def mano_folder(tmp_path_factory: pytest.TempPathFactory, pair: HandPair) -> Path:
    return fixture.write_mano_folder(tmp_path_factory.mktemp("mano"), pair)


def assert_same_arrays(a: HandModel, b: HandModel) -> None:
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def test_mano_pickles_load_exactly(mano_folder: Path, pair: HandPair) -> None:
    loaded = load_hands(mano_folder)
    assert_same_arrays(loaded.right, pair.right)
    assert_same_arrays(loaded.left, pair.left)
    assert loaded.sha256 == pair.sha256


def test_fixture_is_what_pickle_itself_reads(
    pair: HandPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twin: the standard unpickler, given stand-ins for the old classes, reads the same numbers."""

    class Keeps:
        def __setstate__(self, state: dict) -> None:
            self.__dict__.update(state)

    for name, cls in (
        ("chumpy.ch", "Ch"),
        ("chumpy.reordering", "Select"),
        ("scipy.sparse.csc", "csc_matrix"),
    ):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        setattr(sys.modules[name], cls, type(cls, (Keeps,), {}))
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    dump = fixture.python2_pickle(fixture.mano_dictionary(pair.right))
    content = pickle.load(io.BytesIO(dump), encoding="latin1")
    np.testing.assert_array_equal(content["posedirs"], pair.right.posedirs)
    select = content["shapedirs"]
    np.testing.assert_array_equal(
        select.a.x.ravel()[select.idxs].reshape(select.preferred_shape), pair.right.shapedirs
    )


@pytest.mark.parametrize("protocol", range(1, pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_written_again_by_python3(tmp_path: Path, pair: HandPair, protocol: int) -> None:
    """Files people saved again without chumpy, with today's numpy and scipy names."""
    sparse = pytest.importorskip("scipy.sparse")
    for side, model in (("RIGHT", pair.right), ("LEFT", pair.left)):
        content = model.mano_arrays()
        content = {k: v for k, v in content.items() if k not in ("side", "name", "notes")}
        content |= {"J_regressor": sparse.csc_matrix(model.J_regressor), "bs_style": "lbs"}
        content["posedirs"] = np.asfortranarray(model.posedirs)
        path = tmp_path / f"MANO_{side}.pkl"
        path.write_bytes(pickle.dumps(content, protocol))
    assert load_hands(tmp_path).sha256 == pair.sha256


def test_left_defect_is_put_right_and_said(mano_folder: Path, pair: HandPair) -> None:
    fixed = load_hands(mano_folder)
    assert any("issue 48" in note for note in fixed.left.notes) and not fixed.right.notes
    kept = load_hands(mano_folder, left_shapedirs="as is")
    np.testing.assert_array_equal(kept.left.shapedirs[:, 0], pair.right.shapedirs[:, 0])
    assert any("kept" in note for note in kept.left.notes)
    assert kept.sha256 != fixed.sha256


def test_sound_left_file_is_left_alone(tmp_path: Path, pair: HandPair) -> None:
    folder = fixture.write_mano_folder(tmp_path, pair, left_defect=False)
    for wanted in ("mirrored", "as is"):
        left = load_hands(folder, left_shapedirs=wanted).left
        assert_same_arrays(left, pair.left)
        assert left.notes == ()


def test_npz_round_trip(tmp_path: Path, pair: HandPair) -> None:
    model = replace(
        pair.left, notes=("one", "two"), tip_vertex_ids=(745, 317, 444, 556, 673), name="ours"
    )
    model.save(tmp_path / "MANO_LEFT.npz")
    loaded = load_model(tmp_path / "MANO_LEFT.npz", "left")
    assert_same_arrays(loaded, model)
    assert (loaded.name, loaded.notes, loaded.tip_vertex_ids, loaded.sha256) == (
        model.name,
        model.notes,
        model.tip_vertex_ids,
        model.sha256,
    )
    first = (tmp_path / "MANO_LEFT.npz").read_bytes()
    loaded.save(tmp_path / "MANO_LEFT.npz")
    assert (tmp_path / "MANO_LEFT.npz").read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ["MANO_LEFT.npz"]


def test_folder_as_smplx_users_lay_it_out(tmp_path: Path, pair: HandPair) -> None:
    fixture.write_mano_folder(tmp_path / "mano", pair)
    assert load_hands(tmp_path).sha256 == pair.sha256


def one_line(error: pytest.ExceptionInfo[DataError], *words: str) -> None:
    text = str(error.value)
    assert "\n" not in text
    for word in words:
        assert word in text, text


def write_right(folder: Path, pair: HandPair, **changes: object) -> Path:
    path = folder / "MANO_RIGHT.pkl"
    content = fixture.mano_dictionary(pair.right) | changes
    path.write_bytes(fixture.python2_pickle(content))
    return path


# Each asks for a name that runs code or reaches something that could.
HOSTILE_NAMES = [
    ("os", "system"),
    ("posix", "system"),
    ("nt", "system"),
    ("subprocess", "Popen"),
    ("builtins", "eval"),
    ("__builtin__", "eval"),
    ("builtins", "exec"),
    ("__builtin__", "execfile"),
    ("builtins", "getattr"),
    ("builtins", "__import__"),
    ("builtins", "type"),
    ("__builtin__", "type"),
    ("copy_reg", "add_extension"),
    ("copyreg", "add_extension"),
    ("importlib", "import_module"),
    ("pickle", "loads"),
    ("numpy", "load"),
    ("numpy", "fromfile"),
    ("numpy.testing._private.utils", "runstring"),
    ("numpy.core.multiarray", "fromstring"),
    ("numpy.f2py.crackfortran", "myeval"),
    ("numpy.distutils.exec_command", "exec_command"),
    ("scipy.sparse", "load_npz"),
    ("chumpy.ch", "ChLambda"),
    ("chumpy.ch", "Ch.__init__"),
    ("numpy", "ndarray.tofile"),
    ("functools", "partial"),
    ("operator", "attrgetter"),
    ("webbrowser", "open"),
    ("codecs", "open"),
    ("_codecs", "decode"),
    ("twohand500k.pickles", "_ALLOWED"),
]


@pytest.mark.parametrize("module,name", HOSTILE_NAMES)
@pytest.mark.parametrize("nested", [False, True])
def test_hostile_names_are_refused(
    tmp_path: Path, pair: HandPair, module: str, name: str, nested: bool
) -> None:
    bomb = Call(Ref(module, name), (f"touch {tmp_path / 'ran'}",))
    if nested:
        deep = Instance(Ref("chumpy.ch", "Ch"), {"x": [{"y": (bomb,)}]})
        path = write_right(tmp_path, pair, shapedirs=deep)
    else:
        path = tmp_path / "MANO_RIGHT.pkl"
        path.write_bytes(fixture.python2_pickle(bomb))
    with pytest.raises(DataError) as error:
        load_model(path, "right")
    one_line(error, f"{module}.{name}", str(path), "refused")
    assert not (tmp_path / "ran").exists()


def test_python_reduce_bomb_is_refused(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    path = tmp_path / "MANO_RIGHT.pkl"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps({"v_template": Bomb()}, protocol))
        with pytest.raises(DataError) as error:
            load_model(path, "right")
        one_line(error, "exec", "refused")
    assert not (tmp_path / "ran").exists()


CH, SELECT = Ref("chumpy.ch", "Ch"), Ref("chumpy.reordering", "Select")
F8 = Call(Ref("numpy", "dtype"), ("f8", 0, 1), (3, "<", None, None, None, -1, -1, 0))
OBJECTS = Call(Ref("numpy", "dtype"), ("O8", 0, 1), (3, "|", None, None, None, -1, -1, 63))
FIELDS = Call(Ref("numpy", "dtype"), ("V8", 0, 1), (3, "|", None, ("a",), {"a": (F8, 0)}, 8, 1, 16))


def array_of(dtype: Call, shape: tuple[int, ...], raw: bytes) -> Call:
    return Call(
        Ref("numpy.core.multiarray", "_reconstruct"),
        (Ref("numpy", "ndarray"), (0,), "b"),
        (1, shape, dtype, False, raw),
    )


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(array_of(OBJECTS, (1,), b"\0" * 8), id="object pointers from bytes"),
        pytest.param(array_of(FIELDS, (1,), b"\0" * 8), id="structured"),
        pytest.param(array_of(F8, (778, 3, 10), b"\0" * 8), id="fewer bytes than the shape"),
        pytest.param(array_of(F8, (-1,), b"\0" * 8), id="negative shape"),
        pytest.param(array_of(F8, (2**30, 2**30), b""), id="huge shape"),
        pytest.param(Instance(CH, {}), id="Ch without x"),
        pytest.param(Instance(CH, None), id="Ch without state"),
        pytest.param(Instance(SELECT, {"a": np.zeros(3), "idxs": np.array([9])}), id="index out"),
        pytest.param(Ref("numpy", "ndarray"), id="a bare class"),
        pytest.param({"x": 1}, id="a dictionary"),
        pytest.param(
            Instance(
                Ref("scipy.sparse.csc", "csc_matrix"),
                {
                    "_shape": (2, 2),
                    "data": np.ones(2),
                    "indices": np.array([0, 9]),
                    "indptr": np.array([0, 1, 2]),
                },
            ),
            id="sparse index out",
        ),
    ],
)
def test_malformed_arrays_are_refused(tmp_path: Path, pair: HandPair, value: object) -> None:
    path = write_right(tmp_path, pair, shapedirs=value)
    with pytest.raises(DataError) as error:
        load_model(path, "right")
    one_line(error, "shapedirs", str(path))


def test_the_allowed_classes_cannot_be_changed(tmp_path: Path, pair: HandPair) -> None:
    """BUILD with a slot state would set attributes on the class itself."""
    change = b"(" + fixture._opcodes(CH) + fixture._opcodes((None, {"__setstate__": CH})) + b"bt."
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(b"\x80\x02" + change)
    with pytest.raises(DataError) as error:
        load_model(path, "right")
    one_line(error)
    good = write_right(tmp_path, pair)
    assert_same_arrays(load_model(good, "right"), pair.right)


def test_odd_opcodes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "MANO_RIGHT.pkl"
    for odd in (
        b"\x80\x02Q.",  # persistent id from an empty stack
        b"\x80\x02U\x01aQ.",
        b"\x80\x02\x82\x01.",  # extension registry
        b"\x80\x02}r\xff\xff\xff\x7f.",  # memo index of 2^31
        b"(i__main__\nx\n.",
        b"",
        b"version https://git-lfs.github.com/spec/v1\n",
        b"\x80\x02K\x01.",
    ):
        path.write_bytes(odd)
        with pytest.raises(DataError) as error:
            load_model(path, "right")
        one_line(error, str(path))


def test_truncated_files(tmp_path: Path, pair: HandPair) -> None:
    whole = write_right(tmp_path, pair).read_bytes()
    path = tmp_path / "MANO_RIGHT.pkl"
    for cut in (1, 2, 50, len(whole) // 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError) as error:
            load_model(path, "right")
        one_line(error, str(path), "not a whole pickle")
    pair.right.save(tmp_path / "MANO_RIGHT.npz")
    npz = tmp_path / "MANO_RIGHT.npz"
    whole = npz.read_bytes()
    for cut in (0, 1, len(whole) // 2, len(whole) - 1):
        npz.write_bytes(whole[:cut])
        with pytest.raises(DataError) as error:
            load_model(npz, "right")
        one_line(error, str(npz))
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    npz.write_bytes(bytes(flipped))
    with pytest.raises(DataError) as error:
        load_model(npz, "right")
    one_line(error, str(npz))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scrambled_bytes_never_do_more_than_fail(tmp_path: Path) -> None:
    """Mutations of a small pickle that has every kind of record: a DataError or a plain value."""
    small = {
        "a": np.arange(6.0).reshape(2, 3),
        "s": fixture.chumpy_select(np.ones((2, 3, 1))),
        "j": fixture.sparse_columns(np.eye(3)),
        "t": "lbs",
    }
    whole = fixture.python2_pickle(small)
    rng = np.random.default_rng(0)
    path = tmp_path / "MANO_RIGHT.pkl"
    read = refused = 0
    for _ in range(1500):
        scrambled = bytearray(whole)
        for at in rng.integers(0, len(whole), size=rng.integers(1, 4)):
            scrambled[at] = rng.integers(0, 256)
        path.write_bytes(bytes(scrambled))
        try:
            for value in read_pickle(path).values():
                assert isinstance(value(), np.ndarray | str | bytes | int | float)
            read += 1
        except DataError as error:
            assert "\n" not in str(error)
            refused += 1
    assert read > 50 and refused > 50


def test_npz_with_pickled_objects_is_refused(tmp_path: Path, pair: HandPair) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    path = tmp_path / "MANO_RIGHT.npz"
    np.savez(path, **(pair.right.mano_arrays() | {"weights": np.array([Bomb()], dtype=object)}))
    with pytest.raises(DataError) as error:
        load_model(path, "right")
    one_line(error, str(path))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "changes,word",
    [
        ({"v_template": np.zeros((6890, 3))}, "(6890, 3)"),
        ({"v_template": np.full((778, 3), np.nan)}, "NaN"),
        ({"weights": np.full((778, 16), 0.5)}, "sums to 8"),
        ({"kintree_table": np.zeros((2, 16), dtype=np.uint32)}, "kintree_table"),
        ({"f": np.zeros((1538, 3), dtype=np.uint32)}, "'f'"),
        ({"f": np.full((1538, 3), 900, dtype=np.uint32)}, "'f'"),
        ({"hands_mean": "zero"}, "hands_mean"),
    ],
)
def test_wrong_models_name_the_array(
    tmp_path: Path, pair: HandPair, changes: dict, word: str
) -> None:
    path = write_right(tmp_path, pair, **changes)
    with pytest.raises(DataError) as error:
        load_model(path, "right")
    one_line(error, str(path), word)


def test_inward_faces_are_turned_over_and_said(tmp_path: Path, pair: HandPair) -> None:
    path = write_right(tmp_path, pair, f=pair.right.faces[:, ::-1].copy().astype(np.uint32))
    model = load_model(path, "right")
    assert_same_arrays(model, pair.right)
    assert any("turned over" in note for note in model.notes)


def test_wrong_units_sides_and_places(tmp_path: Path, pair: HandPair) -> None:
    path = write_right(tmp_path, pair, v_template=pair.right.v_template * 1000)
    with pytest.raises(DataError) as error:
        load_model(path, "right")
    one_line(error, "metres")
    fixture.write_mano_folder(tmp_path, HandPair(pair.left, pair.right))
    with pytest.raises(DataError) as error:
        load_hands(tmp_path)
    one_line(error, "swapped")
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(fixture.python2_pickle({"v_template": np.zeros((778, 3))}))
    with pytest.raises(DataError) as error:
        load_model(path, "right")
    one_line(error, "lacks", "posedirs")
    (tmp_path / "MANO_LEFT.pkl").unlink()
    write_right(tmp_path, pair)
    with pytest.raises(DataError) as error:
        load_hands(tmp_path)
    one_line(error, "MANO_LEFT")
    with pytest.raises(DataError) as error:
        load_hands(tmp_path / "nowhere")
    one_line(error, "nowhere", "open")
