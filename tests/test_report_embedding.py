"""The map: seeded, saved without pickles, a place for what it has not seen, clusters kept apart."""

from pathlib import Path

import numpy as np
import pytest

from twohand500k.errors import DataError
from twohand500k.report import embedding
from twohand500k.report.embedding import Map, fit_map
from twohand500k.report.feature import DIMENSIONS


def clusters(each: int, seed: int, centres: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Features around far centres, and which centre each is of."""
    middle = np.random.default_rng(7).normal(0.0, 0.2, (centres, DIMENSIONS))
    which = np.repeat(np.arange(centres), each)
    noise = np.random.default_rng(seed).normal(0.0, 0.02, (len(which), DIMENSIONS))
    return (middle[which] + noise).astype(np.float32), which


@pytest.fixture(scope="module", params=["small", "medium", "large"])
def fitted(request: pytest.FixtureRequest) -> Map:
    """The same 360 features laid out by each of the three ways."""
    patch = pytest.MonkeyPatch()
    patch.setattr(embedding, "SMALL", 3_000 if request.param == "small" else 20)
    patch.setattr(embedding, "MEDIUM", 20 if request.param == "large" else 50_000)
    patch.setattr(embedding, "_EXAGGERATED", (100, 12.0))
    patch.setattr(embedding, "_PLAIN", (100, 1.0))
    try:
        return fit_map(clusters(120, 0)[0], seed=3, n_jobs=1)
    finally:
        patch.undo()


def test_clusters_stay_together_and_new_features_fall_among_theirs(fitted: Map) -> None:
    which = clusters(120, 0)[1]
    centres = np.stack([fitted.xy[which == c].mean(axis=0) for c in range(3)])
    nearest = np.linalg.norm(fitted.xy[:, None] - centres, axis=-1).argmin(axis=1)
    assert (nearest == which).mean() > 0.99
    new, theirs = clusters(20, 5)
    placed = fitted.place(new)
    nearest = np.linalg.norm(placed[:, None] - centres, axis=-1).argmin(axis=1)
    assert (nearest == theirs).all() and placed.dtype == np.float32
    strange = new + 1.0
    assert fitted.distance_mm(strange).min() > 10 * fitted.distance_mm(new).max()


def test_a_map_says_how_good_it_is(fitted: Map) -> None:
    about = fitted.describe()
    assert about["n_fitted"] == 360 and about["trustworthiness"] > 0.9
    assert 15 / 360 < about["neighbours_kept"] <= 1.0
    scattered = np.random.default_rng(0).normal(size=(360, 2)).astype(np.float32)
    chance = embedding._quality(clusters(120, 0)[0], scattered, np.random.default_rng(0))
    assert chance["trustworthiness"] < 0.6 and chance["neighbours_kept"] < 0.1  # type: ignore[operator]


def test_saved_and_loaded_it_places_alike(fitted: Map, tmp_path: Path) -> None:
    fitted.save(tmp_path / "map.npz")
    loaded = Map.load(tmp_path / "map.npz")
    new = clusters(20, 5)[0]
    np.testing.assert_array_equal(loaded.place(new), fitted.place(new))
    np.testing.assert_array_equal(loaded.xy, fitted.xy)
    assert loaded.describe() == fitted.describe()


def test_many_are_placed_by_annoy_nearly_as_exactly(
    fitted: Map, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = clusters(20, 5)[0]
    exact = fitted.place(new)
    monkeypatch.setattr(embedding, "_EXACT_DISTANCES", 0)
    apart = np.linalg.norm(fitted.place(new) - exact, axis=1)
    assert (apart == 0.0).mean() > 0.9


def test_same_seed_same_map_whatever_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """scikit-learn's has one thread always; openTSNE's way, with either sort of neighbours."""
    monkeypatch.setattr(embedding, "_THREADS_FROM", 0)
    monkeypatch.setattr(embedding, "_EXAGGERATED", (15, 12.0))
    monkeypatch.setattr(embedding, "_PLAIN", (15, 1.0))
    monkeypatch.setattr(embedding, "SMALL", 20)
    features = clusters(100, 0)[0]
    for medium in (50_000, 20):
        monkeypatch.setattr(embedding, "MEDIUM", medium)
        once, twice = (fit_map(features, seed=1, n_jobs=jobs).xy for jobs in (1, 2))
        np.testing.assert_array_equal(once, twice)


def test_exact_copies_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted set of one pose, repeated: Annoy may find a copy before the point itself."""
    monkeypatch.setattr(embedding, "_EXAGGERATED", (20, 12.0))
    monkeypatch.setattr(embedding, "_PLAIN", (20, 1.0))
    features = np.concatenate([clusters(40, 0)[0], np.repeat(clusters(1, 0)[0][:1], 60, axis=0)])
    for small, medium in ((3_000, 50_000), (20, 50_000), (20, 20)):
        monkeypatch.setattr(embedding, "SMALL", small)
        monkeypatch.setattr(embedding, "MEDIUM", medium)
        assert np.isfinite(fit_map(features, n_jobs=1).xy).all()


def test_faults_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs 10 pairs"):
        fit_map(clusters(3, 0)[0])
    with pytest.raises(ValueError, match="finite"):
        fit_map(np.full((20, DIMENSIONS), np.nan, dtype=np.float32))
    with pytest.raises(DataError, match="not there"):
        Map.load(tmp_path / "no.npz")
    (tmp_path / "text.npz").write_text("not a map")
    with pytest.raises(DataError, match="no map"):
        Map.load(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", xy=np.zeros(3))
    with pytest.raises(DataError, match="not a map"):
        Map.load(tmp_path / "other.npz")
    np.savez(tmp_path / "pickle.npz", format=np.array([{}], dtype=object))
    with pytest.raises(DataError):
        Map.load(tmp_path / "pickle.npz")
