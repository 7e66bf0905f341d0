"""How many samples each dataset gives: counts and weights in, exact counts out."""

from collections.abc import Callable, Mapping

from twohand500k.errors import DataError


def counts_of(
    available: Mapping[str, int],
    count: int | None,
    shares: Mapping[str, float],
    *,
    fill: bool = False,
    log: Callable[[str], None] = lambda line: None,
) -> dict[str, int]:
    """How many of each dataset, by name.

    Without shares: all of each, or `count` of them together (then what each gives is for the draw
    to say, and its availability is returned). With shares: `count` divided by largest remainder,
    or, without a count, the most that all shares can be kept with. fill: a dataset that has too few
    gives all, the others that have a share make up for it.

    Raises DataError for a weight that is none, or too few samples.
    """
    total = sum(available.values())
    if count is not None and count > total:
        raise DataError(f"{count:,} samples are wanted, only {total:,} meet the condition")
    if not shares:
        return dict(available)
    weights = {name: float(shares.get(name, 0.0)) for name in available}
    wrong = [name for name, weight in weights.items() if not 0.0 <= weight < float("inf")]
    if wrong or not sum(weights.values()):
        name = wrong[0] if wrong else next(iter(shares))
        raise DataError(f"the share of {name!r} is {weights[name]:g}: a positive number is needed")
    if count is None:
        whole = sum(weights.values())
        # A hair of slack: 3 * (1 / 3) is to be 1.
        most = min(available[n] * whole / w for n, w in weights.items() if w)
        return {n: min(int(most * w / whole + 1e-9), available[n]) for n, w in weights.items()}
    counts = largest_remainder(weights, count)
    short = {n: available[n] for n in counts if counts[n] > available[n]}
    if not short:
        return counts
    if not fill:
        name = next(iter(short))
        raise DataError(
            f"{name} has {available[name]:,} samples that meet the condition, its share of "
            f"{count:,} is {counts[name]:,}: ask for less, or let others fill up with --fill"
        )
    counts = _filled(available, weights, count)
    for name in short:
        log(f"{name} has {available[name]:,} samples, fewer than its share: all are used")
    gave = ", ".join(f"{name} {n:,}" for name, n in counts.items())
    log(f"filled up to {count:,}: {gave}")
    return counts


def largest_remainder(weights: Mapping[str, float], count: int) -> dict[str, int]:
    """`count` divided by weights into whole numbers; what is left over goes to the largest
    remainders, the first named of equal ones."""
    whole = sum(weights.values())
    exact = {name: count * weight / whole for name, weight in weights.items()}
    counts = {name: int(value) for name, value in exact.items()}
    left = count - sum(counts.values())
    order = sorted(weights, key=lambda name: counts[name] - exact[name])
    for name in order[:left]:
        counts[name] += 1
    return counts


def _filled(
    available: Mapping[str, int], weights: Mapping[str, float], count: int
) -> dict[str, int]:
    """Datasets that run out give all; the rest is divided among the others, and again."""
    full: dict[str, int] = {}
    while True:
        open_ones = {n: w for n, w in weights.items() if w and n not in full}
        left = count - sum(full.values())
        if not open_ones:
            raise DataError(
                f"the datasets that have a share hold {sum(full.values()):,} samples that meet the "
                f"condition, {count:,} are wanted"
            )
        counts = largest_remainder(open_ones, left)
        out = [n for n in counts if counts[n] > available[n]]
        if not out:
            return {n: (full | counts).get(n, 0) for n in weights}
        full |= {n: available[n] for n in out}
