"""The map: features of hundreds of thousands of pairs laid out in the plane by t-SNE.

Comes in: features (n, 126) of all datasets together. Goes out: a `Map`, which knows where each
lies, can place features it has never seen, be saved, and say how far it can be trusted. Fig. 5a of
the paper is such a map.

Features are first turned into their 50 strongest principal directions (99.97 % of the variance of
hands), the first two of which, shrunk, are also where the map begins: t-SNE keeps the large shape
of what it begins with (Kobak and Berens, 2019). Then, by size:

- up to 3,000: scikit-learn's t-SNE (Barnes-Hut), perplexity 30.
- up to 50,000: openTSNE, perplexity 30, exact neighbours; repulsion interpolated on a grid
  (FIt-SNE, Linderman et al., 2019), whose cost does not grow with the square of n.
- more: the same with the 15 nearest neighbours, all alike, in the place of perplexity: nearly the
  same map for a sixth of the memory. Neighbours come from Annoy's trees, about 98 % of them right.

A new feature is placed at the median of where its 9 nearest neighbours on the map lie (openTSNE's
way), so it always lies among what is there, however strange it is: `Map.distance_mm` says how
strange. Distances between clusters and the density of points mean little in any t-SNE.

The same features and seed give the same map on one machine, whatever n_jobs. Another processor or
library version rounds differently, and t-SNE turns a last bit into another, equally good map.
"""

import json
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from sklearn.manifold import TSNE, trustworthiness
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from twohand500k.cores import available_cores
from twohand500k.errors import DataError
from twohand500k.report.feature import DIMENSIONS, distance_mm

SMALL: Final = 3_000
MEDIUM: Final = 50_000
FEWEST: Final = 10
PERPLEXITY: Final = 30
UNIFORM_NEIGHBOURS: Final = 15
DIRECTIONS: Final = 50

# openTSNE's schedule. Grid cells two units wide: a seventh of the time of one unit at 20,000, and
# the neighbours kept fall from 0.43 to 0.42.
_EXAGGERATED: Final = (250, 12.0)
_PLAIN: Final = (500, 1.0)
_CELLS_PER_UNIT: Final = 2
_TREES: Final = 50
_REPORT_EVERY: Final = 50
# Fewer are quicker with one thread: the others would wait for it more than help, the more so on a
# machine that does something else besides.
_THREADS_FROM: Final = 10_000
_PLACED_BY: Final = 9
# Placing compares all with all up to so many distances (about a minute of two cores).
_EXACT_DISTANCES: Final = 10_000_000_000
# Quality is measured on so many, drawn by the seed.
_ASKED: Final = 1_000
_TRUST_SAMPLE: Final = 2_000
_QUALITY_NEIGHBOURS: Final = 15
_FORMAT: Final = 1

Log = Callable[[str], None]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Map:
    """A finished map.

    xy (n, 2) float32: where each fitted feature lies. mean (126,), directions (126, d) float32: the
    principal directions. anchors (n, d) float16: the fitted features in them (a tenth of a
    millimetre of rounding, for half the file). about: what `describe` says.
    """

    xy: np.ndarray
    mean: np.ndarray
    directions: np.ndarray
    anchors: np.ndarray
    about: dict[str, Any]

    def place(self, features: np.ndarray, *, n_jobs: int | None = None) -> np.ndarray:
        """Where features (m, 126), not fitted, lie on the map: (m, 2) float32."""
        near = self._nearest(features, min(_PLACED_BY, len(self.xy)), n_jobs)[1]
        placed: np.ndarray = np.median(self.xy[near], axis=1).astype(np.float32)
        return placed

    def distance_mm(self, features: np.ndarray, *, n_jobs: int | None = None) -> np.ndarray:
        """How far (m,) features are from the nearest one the map was fitted to, mm a joint.

        Large against the map's own `spacing_mm`: the map has no place for such a pair, and where
        `place` puts it says little.
        """
        return distance_mm(self._nearest(features, 1, n_jobs)[0][:, 0])

    def with_placed(self, n: int) -> "Map":
        """The same map, saying that n features were placed on it."""
        return replace(self, about=self.about | {"n_placed": n})

    def describe(self) -> dict[str, Any]:
        """The entry "map" of `numbers.json`."""
        return dict(self.about)

    def save(self, path: Path) -> None:
        """Write the map as an .npz that `load` reads; plain arrays, nothing pickled."""
        with path.open("wb") as file:
            np.savez_compressed(
                file,
                format=np.array(_FORMAT),
                xy=self.xy,
                mean=self.mean,
                directions=self.directions,
                anchors=self.anchors,
                about=np.array(json.dumps(self.about)),
            )

    @staticmethod
    def load(path: Path) -> "Map":
        """Read a map. Raises DataError if the file is missing, damaged, or no map of ours."""
        try:
            with np.load(path, allow_pickle=False) as file:
                if "format" not in file or int(file["format"]) != _FORMAT:
                    raise DataError(
                        f"{path} is not a map of format {_FORMAT}: give the map.npz of a report"
                    )
                found = Map(
                    xy=file["xy"],
                    mean=file["mean"],
                    directions=file["directions"],
                    anchors=file["anchors"],
                    about=json.loads(str(file["about"])),
                )
        except FileNotFoundError as error:
            raise DataError(f"{path} is not there: give the map.npz of a report") from error
        except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} is no map, or damaged: {error}") from error
        n, d = found.anchors.shape if found.anchors.ndim == 2 else (-1, -1)
        shapes = (found.xy.shape, found.mean.shape, found.directions.shape)
        if shapes != ((n, 2), (DIMENSIONS,), (DIMENSIONS, d)):
            raise DataError(f"{path} is damaged: its arrays do not fit together")
        return found

    def _nearest(
        self, features: np.ndarray, k: int, n_jobs: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        projected = (_checked(features) - self.mean) @ self.directions
        anchors = self.anchors.astype(np.float32)
        if len(anchors) * len(projected) > _EXACT_DISTANCES:
            return _annoy_neighbours(anchors, k, 0, _jobs(n_jobs), projected)
        return _exact_neighbours(anchors, k, _jobs(n_jobs), projected)


def fit_map(
    features: np.ndarray,
    *,
    seed: int = 0,
    n_jobs: int | None = None,
    log: Log | None = None,
    progress: Progress | None = None,
) -> Map:
    """The map of features (n, 126) float32.

    n_jobs: threads, None for all cores of this process; the map does not depend on it. log gets a
    line a step, progress (iterations done, of how many).

    Raises DataError for fewer than `FEWEST` features, ValueError for other shapes or NaN.
    """
    features = _checked(features)
    n = len(features)
    jobs = _jobs(n_jobs) if n >= _THREADS_FROM else 1
    if n < FEWEST:
        raise DataError(
            f"a map needs {FEWEST} pairs of hands or more, there are {n}: give datasets with pairs"
        )
    say: Log = log or (lambda _: None)
    step: Progress = progress or (lambda _done, _of: None)
    began = time.perf_counter()
    mean, directions, projected = _principal(features)
    # The sign and order of the first two directions are what the map's orientation comes from.
    start = projected[:, :2].astype(np.float64)
    start *= 1e-4 / max(float(start[:, 0].std()), 1e-12)
    perplexity: float | None = float(min(PERPLEXITY, (n - 1) / 3))
    if n <= SMALL:
        method = "scikit-learn t-SNE (Barnes-Hut)"
        say(f"map of {n:,} pairs: {method}")
        xy = _small(projected, start, float(min(PERPLEXITY, (n - 1) / 3)), seed)
        step(1, 1)
    else:
        k = 3 * PERPLEXITY if n <= MEDIUM else UNIFORM_NEIGHBOURS
        exact = n <= MEDIUM
        method = "openTSNE (interpolated repulsion)"
        method += ", exact neighbours" if exact else ", Annoy neighbours"
        if not exact:
            perplexity = None
        say(f"map of {n:,} pairs: {k} nearest neighbours ({'exact' if exact else 'Annoy'})")
        if exact:
            distance, near = _exact_neighbours(projected, k, jobs)
        else:
            distance, near = _annoy_neighbours(projected, k, seed, jobs)
        say(f"map of {n:,} pairs: neighbours after {time.perf_counter() - began:.0f} s")
        xy = _interpolated(start, distance, near, perplexity, seed, jobs, say, step)
    seconds = time.perf_counter() - began
    quality = _quality(features, xy, np.random.default_rng([seed, 2]))
    about = {
        "method": method,
        "perplexity": perplexity,
        "neighbours": None if perplexity is not None else UNIFORM_NEIGHBOURS,
        "seed": seed,
        "directions": projected.shape[1],
        "n_fitted": n,
        "n_placed": 0,
        "seconds": round(seconds, 1),
    } | quality
    say(
        f"map of {n:,} pairs: {seconds:.0f} s; trustworthiness {about['trustworthiness']:.3f}, "
        f"{about['neighbours_kept']:.0%} of the {_QUALITY_NEIGHBOURS} nearest kept"
    )
    return Map(xy, mean, directions, projected.astype(np.float16), about)


def _principal(features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (126,), strongest directions (126, d), features in them (n, d); all float32.

    A direction points to where its largest entry is positive: eigenvectors know no sign.
    """
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    products = np.zeros((DIMENSIONS, DIMENSIONS))
    for rows in _slices(len(features)):
        centred = (features[rows] - mean).astype(np.float64)
        products += centred.T @ centred
    directions = np.linalg.eigh(products)[1][:, ::-1][:, : min(DIRECTIONS, len(features))]
    largest = np.abs(directions).argmax(axis=0)
    directions = directions * np.sign(directions[largest, np.arange(directions.shape[1])])
    directions = directions.astype(np.float32)
    projected = np.concatenate([(features[r] - mean) @ directions for r in _slices(len(features))])
    return mean, directions, projected


def _small(projected: np.ndarray, start: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    """t-SNE (n, 2) by scikit-learn, in one thread: it takes no n_jobs for the part that counts."""
    tsne = TSNE(perplexity=perplexity, init=start.astype(np.float32), random_state=seed, n_jobs=1)
    with threadpool_limits(1):
        found: np.ndarray = tsne.fit_transform(projected).astype(np.float32)
    return found


def _interpolated(
    start: np.ndarray,
    distance: np.ndarray,
    near: np.ndarray,
    perplexity: float | None,
    seed: int,
    jobs: int,
    say: Log,
    step: Progress,
) -> np.ndarray:
    """t-SNE (n, 2) by openTSNE from neighbours (n, k); perplexity None: all of them alike."""
    from openTSNE import TSNEEmbedding, affinity, nearest_neighbors

    index = nearest_neighbors.PrecomputedNeighbors(near, distance)
    if perplexity is None:
        affinities = affinity.Uniform(knn_index=index, n_jobs=jobs)
    else:
        affinities = affinity.PerplexityBasedNN(
            knn_index=index, perplexity=perplexity, n_jobs=jobs
        )  # fmt: skip
    embedding = TSNEEmbedding(
        start,
        affinities,
        negative_gradient_method="fft",
        ints_in_interval=_CELLS_PER_UNIT,
        n_jobs=jobs,
        random_state=seed,
    )
    total, before, began = _EXAGGERATED[0] + _PLAIN[0], 0, time.perf_counter()
    for iterations, exaggeration in (_EXAGGERATED, _PLAIN):

        def told(done: int, _error: float, _xy: np.ndarray, before: int = before) -> None:
            step(before + done, total)
            if (before + done) % 250 == 0:
                spent = time.perf_counter() - began
                say(f"map: iteration {before + done} of {total}, {spent:.0f} s")

        embedding.optimize(
            iterations,
            exaggeration=exaggeration,
            inplace=True,
            callbacks=told,
            callbacks_every_iters=_REPORT_EVERY,
        )
        before += iterations
    return np.asarray(embedding, dtype=np.float32)


def _exact_neighbours(
    anchors: np.ndarray, k: int, jobs: int, asked: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Distances and positions (m, k) of the k nearest anchors; of the anchors themselves for None.

    An anchor is not its own neighbour.
    """
    index = NearestNeighbors(n_neighbors=k, algorithm="brute", n_jobs=jobs).fit(anchors)
    distance, near = index.kneighbors(asked)
    return distance, near


def _annoy_neighbours(
    anchors: np.ndarray, k: int, seed: int, jobs: int, asked: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """As `_exact_neighbours`, nearly: by openTSNE's own copy of Annoy.

    One thread plants the trees, for Annoy plants others with more; all of them ask.
    """
    from joblib import Parallel, delayed
    from openTSNE.dependencies.annoy import AnnoyIndex

    index = AnnoyIndex(anchors.shape[1], "euclidean")
    index.set_seed(seed % 2**31)
    for row, point in enumerate(anchors):
        index.add_item(row, point)
    index.build(_TREES, n_jobs=1)
    n = len(anchors) if asked is None else len(asked)
    distance = np.empty((n, k))
    near = np.empty((n, k), dtype=np.int64)

    def ask(rows: slice) -> None:
        for row in range(rows.start, rows.stop):
            if asked is not None:
                near[row], distance[row] = index.get_nns_by_vector(
                    asked[row], k, include_distances=True
                )
                continue
            found, far = index.get_nns_by_item(row, k + 1, include_distances=True)
            # Among exact copies the item itself need not come first.
            others = [place for place, item in enumerate(found) if item != row][:k]
            near[row] = [found[place] for place in others]
            distance[row] = [far[place] for place in others]

    Parallel(n_jobs=jobs, require="sharedmem")(delayed(ask)(rows) for rows in _slices(n, 2_000))
    return distance, near


def _quality(
    features: np.ndarray, xy: np.ndarray, rng: np.random.Generator
) -> dict[str, float | int | None]:
    """How far the map can be trusted.

    neighbours_kept: share of the 15 nearest of all n in the features that are among the 15 nearest
    on the map, of 1,000 drawn. trustworthiness (Venna and Kaski, 2001) within 2,000 drawn: 1 if
    none is a neighbour on the map that is not one in truth, 0.5 by chance. spacing_mm: median
    distance from a feature to the nearest other.
    """
    n = len(features)
    k = min(_QUALITY_NEIGHBOURS, (n - 1) // 2 - 1)
    asked = np.sort(rng.permutation(n)[:_ASKED])
    spacing, near = _others(features, asked, k)
    near_on_map = _others(xy, asked, k)[1]
    kept = [len(np.intersect1d(a, b)) / k for a, b in zip(near, near_on_map, strict=True)]
    drawn = np.sort(rng.permutation(n)[:_TRUST_SAMPLE])
    return {
        "neighbours_kept": round(float(np.mean(kept)), 4),
        "quality_neighbours": k,
        "trustworthiness": round(
            float(trustworthiness(features[drawn], xy[drawn], n_neighbors=k)), 4
        ),
        "trustworthiness_sample": len(drawn),
        "spacing_mm": round(float(np.median(distance_mm(spacing))), 3),
    }


def _others(points: np.ndarray, asked: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Distance (m,) to the nearest other point, positions (m, k) of the k nearest others."""
    distance, near = _exact_neighbours(points, k + 1, _jobs(None), points[asked])
    # Among exact copies the point itself need not be found at all: then the furthest goes.
    own = near == asked[:, None]
    own[~own.any(axis=1), -1] = True
    rest = ~own
    return distance[rest].reshape(len(asked), k)[:, 0], near[rest].reshape(len(asked), k)


def _checked(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, dtype=np.float32)
    if features.ndim != 2 or features.shape[1] != DIMENSIONS:
        raise ValueError(f"features must be (n, {DIMENSIONS}), got {features.shape}")
    if not np.isfinite(features).all():
        raise ValueError("features must be finite")
    return features


def _slices(n: int, step: int = 65_536) -> list[slice]:
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def _jobs(n_jobs: int | None) -> int:
    return available_cores() if n_jobs is None else n_jobs
