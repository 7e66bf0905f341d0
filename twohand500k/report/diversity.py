"""How varied a set of pairs is, and how alike two sets are, measured on the open feature.

Comes in: features (N, 126) of one or two sets. Goes out: plain numbers.

- nearest neighbours: how far the next pair is, within a set or from one set to another.
- Frechet distance of the Gaussians through two sets, |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^1/2)
  (Dowson and Landau, 1982). Given as its square root in mm a joint: how far the joints would have
  to move. It is NOT the paper's FHID, which needs the paper's unpublished network.
- precision and recall (Kynkaanniemi et al., 2019): the share of set a that lies inside a ball about
  some pair of the reference reaching to its k-th neighbour, and the same the other way round.
- density and coverage (Naeem et al., 2020): how many such balls of the reference hold a pair of a,
  over k; the share of the reference's balls that hold any pair of a.

All of them depend on the number of pairs, so both sets are brought to the same number, and every
comparison comes with its floor: the same numbers between two disjoint halves of the reference, of
that same size. Only what is clearly beyond the floor is a difference. Halves are drawn at random:
pairs of one take stand in both: the floor is that of a dataset recorded alike, not of new people.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.linalg import eigh

from twohand500k.report.feature import distance_mm, hand_features

NEIGHBOURS: Final = 5
MOST_USED: Final = 5_000
FEWEST: Final = 50
NEAR_DUPLICATE_MM: Final = 2.0
_QUERIES: Final = 2_000
_PAIRS_PER_DIRECTION: Final = 10
_CELLS: Final = 2**25  # distances held at a time, 128 MiB


@dataclass(frozen=True)
class Likeness:
    """How alike a set is to a reference of as many pairs.

    frechet_mm and the directions it was computed in; precision, recall, density, coverage;
    nearest_mm: quantiles (5, 50, 95 %) of the distance from each of the set to the reference.
    """

    frechet_mm: float
    frechet_dimensions: int
    precision: float
    recall: float
    density: float
    coverage: float
    nearest_mm: tuple[float, float, float]

    def to_json(self) -> dict[str, Any]:
        """As in `numbers.json`."""
        return {
            "frechet": self.frechet_mm,
            "frechet_dimensions": self.frechet_dimensions,
            "precision": self.precision,
            "recall": self.recall,
            "density": self.density,
            "coverage": self.coverage,
            "nearest_mm": quantiles_json(self.nearest_mm),
        }


def likeness(features: np.ndarray, reference: np.ndarray, k: int = NEIGHBOURS) -> Likeness:
    """Likeness of features (n, 126) of pairs, or (n, 63) of hands, to a reference of as many.

    Raises ValueError unless both have the same number of pairs, at least `FEWEST` and more than k.
    """
    n = len(features)
    if len(reference) != n or n < max(FEWEST, k + 1):
        raise ValueError(f"two sets of the same {FEWEST} or more pairs, not {n}, {len(reference)}")
    radius_reference = kth_nearest(reference, k)
    radius_features = kth_nearest(features, k)
    precise = np.zeros(n, dtype=np.bool_)
    recalled = np.zeros(n, dtype=np.bool_)
    covering = np.zeros(n, dtype=np.int64)
    nearest = np.empty(n)
    covered = np.zeros(n, dtype=np.bool_)
    for rows, distance in _distances(features, reference):
        inside = distance < radius_reference
        precise[rows] = inside.any(axis=1)
        covering[rows] = inside.sum(axis=1)
        covered |= inside.any(axis=0)
        recalled |= (distance < radius_features[rows, None]).any(axis=0)
        nearest[rows] = distance.min(axis=1)
    frechet, dimensions = frechet_mm(features, reference)
    return Likeness(
        frechet_mm=frechet,
        frechet_dimensions=dimensions,
        precision=float(precise.mean()),
        recall=float(recalled.mean()),
        density=float(covering.mean() / k),
        coverage=float(covered.mean()),
        nearest_mm=_quantiles(distance_mm(nearest, features.shape[1] // 3)),
    )


def frechet_mm(a: np.ndarray, b: np.ndarray) -> tuple[float, int]:
    """Frechet distance of two sets (n, d), (m, d), mm a joint, and the directions used.

    A covariance needs several pairs a direction: with few pairs only the strongest principal
    directions of both sets together are compared, one for every ten pairs of the smaller.
    """
    both = np.concatenate([a, b]).astype(np.float64)
    both -= both.mean(axis=0)
    spread, directions = np.linalg.eigh(both.T @ both / len(both))
    used = min(int((spread > 1e-12).sum()), min(len(a), len(b)) // _PAIRS_PER_DIRECTION)
    projected = both @ directions[:, len(spread) - used :]
    x, y = projected[: len(a)], projected[len(a) :]
    gap = x.mean(axis=0) - y.mean(axis=0)
    Cx, Cy = np.atleast_2d(np.cov(x.T)), np.atleast_2d(np.cov(y.T))
    # tr (Cx Cy)^1/2 through the symmetric Cx^1/2 Cy Cx^1/2, whose eigenvalues cannot be complex.
    root = _symmetric_root(Cx)
    cross = np.sqrt(np.maximum(eigh(root @ Cy @ root, eigvals_only=True), 0.0)).sum()
    squared = gap @ gap + np.trace(Cx) + np.trace(Cy) - 2.0 * cross
    return float(distance_mm(np.sqrt(max(float(squared), 0.0)), a.shape[1] // 3)), used


def kth_nearest(features: np.ndarray, k: int) -> np.ndarray:
    """Distance (n,) from each to its k-th nearest other, in the feature's metres. n > k."""
    out = np.empty(len(features))
    for rows, distance in _distances(features, features):
        distance[np.arange(len(rows)), rows] = np.inf
        out[rows] = np.partition(distance, k - 1, axis=1)[:, k - 1]
    return out


def diversity(features: np.ndarray, rng: np.random.Generator) -> dict[str, Any] | None:
    """What one set of features (N, 126) says about itself; None if it has too few pairs.

    Distances are of at most `MOST_USED` pairs drawn at random (n_used), near-duplicates of at most
    2,000 drawn pairs against all others; halves compare two halves of the used pairs.
    """
    if len(features) < FEWEST:
        return None
    used = features[drawn(len(features), MOST_USED, rng)]
    near = distance_mm(kth_nearest(used, 1))
    pairs = rng.integers(len(used), size=(20_000, 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    apart = np.linalg.norm(used[pairs[:, 0]] - used[pairs[:, 1]], axis=1)
    half = len(used) // 2
    halves = likeness(used[:half], used[half : 2 * half]).to_json() if half >= FEWEST else None
    return {
        "n_used": len(used),
        "pair_distance_mm": float(distance_mm(apart).mean()),
        "nearest_within_mm": quantiles_json(_quantiles(near)),
        "near_duplicates": _near_duplicates(features, rng),
        "near_duplicate_mm": NEAR_DUPLICATE_MM,
        "directions": effective_dimensions(used),
        "halves": halves if halves is None else halves | {"n": half, "k": NEIGHBOURS},
    } | ({"halves_reason": _too_few(half)} if halves is None else {})


def compare(
    features: np.ndarray, reference: np.ndarray, rng: np.random.Generator
) -> dict[str, Any]:
    """A set against a reference, with the floor: the numbers of two halves of the reference.

    Both sides have n pairs, drawn at random; n is at most half the reference, so that it can be
    held against itself at the same size. "hands" holds the same numbers of single hands, one of
    each pair, in the frame of their palm: there the fingers count. Nulls and the reason where n is
    too small.
    """
    n = min(len(features), len(reference) // 2, MOST_USED)
    if n < FEWEST:
        nothing: dict[str, Any] = dict.fromkeys(
            (
                "frechet",
                "precision",
                "recall",
                "density",
                "coverage",
                "nearest_mm",
                "floor",
                "hands",
            )
        )
        return nothing | {"n": n, "k": NEIGHBOURS, "reason": _too_few(n)}
    a = features[drawn(len(features), n, rng)]
    b = reference[drawn(len(reference), 2 * n, rng)]
    found = likeness(a, b[:n]).to_json() | {"floor": likeness(b[n:], b[:n]).to_json()}
    x, y = _one_hand_each(a, rng), _one_hand_each(b, rng)
    hands = likeness(x, y[:n]).to_json() | {"floor": likeness(y[n:], y[:n]).to_json()}
    return found | {"hands": hands, "n": n, "k": NEIGHBOURS}


def _one_hand_each(features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The right or the left hand (n, 63) of each pair, at random."""
    return hand_features(features)[np.arange(len(features)), rng.integers(2, size=len(features))]


def drawn(of: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """At most `most` different positions out of `of`, in random order."""
    return rng.permutation(of)[: min(of, most)]


def effective_dimensions(features: np.ndarray) -> float:
    """In how many directions a set spreads: (sum of variances)^2 / sum of squared variances.

    1 on a line, 123 for a ball. The participation ratio of the covariance's eigenvalues.
    """
    centred = features - features.mean(axis=0)
    variances = np.linalg.eigvalsh(np.cov(centred.T.astype(np.float64)))
    total = float((variances**2).sum())
    return float(variances.sum() ** 2 / total) if total > 0.0 else 0.0


def quantiles_json(quantiles: tuple[float, float, float]) -> dict[str, float]:
    """{"p5", "median", "p95"}."""
    return dict(zip(("p5", "median", "p95"), quantiles, strict=True))


def _near_duplicates(features: np.ndarray, rng: np.random.Generator) -> float:
    """Share of pairs that have another within `NEAR_DUPLICATE_MM` among all of the set."""
    asked = drawn(len(features), _QUERIES, rng)
    nearest = np.full(len(asked), np.inf)
    step = max(_CELLS // len(asked), 1)
    for start in range(0, len(features), step):
        block = features[start : start + step]
        distance = _between(features[asked], block)
        inside = (asked >= start) & (asked < start + len(block))
        distance[np.flatnonzero(inside), asked[inside] - start] = np.inf
        nearest = np.minimum(nearest, distance.min(axis=1))
    return float((distance_mm(nearest) < NEAR_DUPLICATE_MM).mean())


def _distances(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(rows (r,), distances (r, m)) of a (n, d) against b (m, d), some rows at a time."""
    step = max(_CELLS // max(len(b), 1), 1)
    for start in range(0, len(a), step):
        rows = np.arange(start, min(start + step, len(a)))
        yield rows, _between(a[rows], b)


def _between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distances (n, m) by |a|^2 + |b|^2 - 2ab, about b's centre to keep digits."""
    centre = b.mean(axis=0)
    a, b = a - centre, b - centre
    squared = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2.0 * (a @ b.T)
    return np.sqrt(np.maximum(squared, 0.0))


def _symmetric_root(C: np.ndarray) -> np.ndarray:
    values, vectors = eigh(C)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def _quantiles(values: np.ndarray) -> tuple[float, float, float]:
    p5, median, p95 = np.quantile(values, [0.05, 0.5, 0.95])
    return float(p5), float(median), float(p95)


def _too_few(n: int) -> str:
    return f"{n} pairs a side, {FEWEST} are needed"
