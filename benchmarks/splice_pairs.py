"""Splice, measured: what `twohand splice` does with a bank, in one run.

    python benchmarks/splice_pairs.py BANK… --count 100000 --workers 2 [--contacts uniform]
    python benchmarks/splice_pairs.py BANK… --list      # which region pairs can be reached at all

Prints accepted pairs a second, the tests' refusals, how evenly contacts are spread, what overlap
remains (on a seeded subset, by manifold3d on the closed skins), duplicates, smallest skin
distances, memory, and whether 1, 2 and 4 workers give the same bytes. Needs the extra [test].

--list tries every pair of regions by itself, prints how many pairs of hands a try took, and the
pairs that were not reached, which have no place in `manifests/contacts/uniform.toml`.
"""

import argparse
import hashlib
import resource
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from twohand500k.hand import load_hands
from twohand500k.hand.contact_regions import REGIONS
from twohand500k.shards import Dataset
from twohand500k.splice import SpliceOptions, load_contacts, plan_splice, splice_pairs
from twohand500k.splice._search import COUNTERS

# A region pair counts as reached if most of its tries touched as meant, each with up to some
# hundreds of pairs of hands.
TRIES = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("banks", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--contacts", default="uniform")
    parser.add_argument("--judged", type=int, default=5000, help="pairs whose overlap is measured")
    parser.add_argument("--same", type=int, default=2000, help="pairs made with 1, 2, 4 workers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--list", action="store_true", help="which region pairs can be reached")
    given = parser.parse_args()
    if given.list:
        list_reachable(given.banks, given.seed)
        return
    with tempfile.TemporaryDirectory() as scratch:
        measure(given, Path(scratch))


def measure(given: argparse.Namespace, scratch: Path) -> None:
    hands = load_hands("open")
    options = SpliceOptions(count=given.count, contacts=given.contacts)
    warm = replace(options, count=64)
    splice_pairs(plan_splice(given.banks, hands, warm, given.seed), scratch / "warm", warm,
                 seed=given.seed, progress=False)  # fmt: skip
    started = time.perf_counter()
    plan = plan_splice(given.banks, hands, options, given.seed, print)
    planned = time.perf_counter()
    out = scratch / "pairs"
    summary = splice_pairs(
        plan, out, options, seed=given.seed, workers=given.workers, progress=False
    )
    done = time.perf_counter()
    print(f"\n{summary.n_kept:,} pairs kept of {summary.n_in:,}, {given.workers} workers")
    print(f"{'planning':42} {planned - started:10.1f} s")
    print(f"{'pairs a second, planning left out':42} {summary.n_kept / (done - planned):10.0f}")
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{'peak memory, largest worker and own':42} {children:6.0f} and {own:.0f} MB")
    for name, count in summary.stats.counts.items():
        print(f"{name:42} {count:12,} {count / summary.n_in:8.3f} a pair")
    samples = Dataset(out)
    report_pairs(samples)
    report_contacts(samples, given.contacts)
    report_overlap(samples, hands, given.judged, given.seed)
    report_same(given, hands, scratch)


def report_pairs(dataset: Dataset) -> None:
    ids, mirrored = dataset.array("bank_id"), dataset.array("mirrored")
    pairs = Counter(map(tuple, np.concatenate([ids, mirrored.astype(str)], axis=1).tolist()))
    distance = dataset.array("contact_distance")
    print(f"{'pairs of hands that occur twice':42} {sum(n - 1 for n in pairs.values()):10}")
    print(f"{'skins within 5 mm or overlapping':42} {(distance <= 0.005).mean():10.4%}")
    print(f"{'skins that overlap':42} {(distance == 0).mean():10.1%}")


def report_contacts(dataset: Dataset, contacts: str) -> None:
    weights = load_contacts(contacts)
    reachable = int((load_contacts("uniform").pair > 0).sum())
    way = dataset.array("placement")
    free = way == "contact"
    drawn = -np.sum(weights.pair[weights.pair > 0] * np.log(weights.pair[weights.pair > 0]))
    print(f"{'reachable region pairs':42} {reachable:10}   log {np.log(reachable):.3f}")
    print(f"{'entropy of the weights':42} {drawn:10.3f}   {drawn / np.log(reachable):.3f} of it")
    for name in ("contact_intended", "contact_realised"):
        entropy, kinds = entropy_of(dataset.array(name)[free])
        share = entropy / np.log(reachable)
        print(f"{'entropy of ' + name:42} {entropy:10.3f}   {share:.3f} of it, {kinds} pairs occur")
    same = (dataset.array("contact_intended") == dataset.array("contact_realised")).all(axis=1)
    print(f"{'touch most where meant':42} {same.mean():10.1%}")
    for name, count in sorted(Counter(way.tolist()).items()):
        print(f"{'placement ' + name:42} {count:10,}")


def entropy_of(pairs: np.ndarray) -> tuple[float, int]:
    """Entropy in nats of region pairs (n, 2), and how many different ones there are."""
    counts = np.array(list(Counter(map(tuple, pairs.tolist())).values()))
    share = counts / counts.sum()
    return float(-np.sum(share * np.log(share))), len(counts)


def report_overlap(dataset: Dataset, hands, judged: int, seed: int) -> None:  # type: ignore[no-untyped-def]
    """Volume inside both closed skins. manifold3d counts a self-overlapping region twice."""
    import manifold3d

    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(dataset), size=min(judged, len(dataset)), replace=False))
    samples = dataset.samples(rows)
    volume = np.full(len(samples), np.nan)
    for k in range(len(samples)):
        solids = []
        for side in range(2):
            skin = (
                hands[side]
                .with_shape(samples.betas[k, side])
                .with_pose(samples.pose[k, side], samples.transl[k, side])
                .vertices
            )
            # Centimetres: the library's tolerance is made for numbers of that size.
            mesh = manifold3d.Mesh(
                (100 * skin).astype(np.float32), hands[side].closed_faces.astype(np.uint32)
            )
            solids.append(manifold3d.Manifold(mesh))
        if all(s.status() == manifold3d.Error.NoError for s in solids):
            volume[k] = (solids[0] ^ solids[1]).volume()
    print(
        f"{'overlap measured on':42} {len(volume):10,} pairs ({np.isnan(volume).sum()} undefined)"
    )
    for share in (50, 75, 90, 95, 99, 100):
        print(f"{f'  volume, {share} %':42} {np.nanpercentile(volume, share):10.3f} cm3")
    print(f"{'  above 1 cm3':42} {np.nanmean(volume > 1):10.1%}")
    print(f"{'  above 5 cm3':42} {np.nanmean(volume > 5):10.2%}")
    locked = samples.placement == "interlocked"
    if locked.any():
        print(f"{'  interlocked, median':42} {np.nanmedian(volume[locked]):10.3f} cm3")


def report_same(given: argparse.Namespace, hands, scratch: Path) -> None:  # type: ignore[no-untyped-def]
    options = SpliceOptions(count=given.same, contacts=given.contacts, shard_size=250)
    plan = plan_splice(given.banks, hands, options, given.seed)
    found = set()
    for workers in (1, 2, 4):
        out = scratch / f"same{workers}"
        splice_pairs(plan, out, options, seed=given.seed, workers=workers, progress=False)
        names = [p for p in sorted(out.iterdir()) if p.is_file() and p.name != "run.json"]
        found.add(hashlib.sha256(b"".join(p.read_bytes() for p in names)).hexdigest())
        shutil.rmtree(out)
    print(f"{'same bytes with 1, 2, 4 workers':42} {'yes' if len(found) == 1 else 'NO':>10}")


def list_reachable(banks: list[Path], seed: int) -> None:
    hands = load_hands("open")
    base = plan_splice(banks, hands, SpliceOptions(count=TRIES, contacts="uniform"), seed).stage
    n = len(REGIONS)
    reached, missed, tried = 0, [], []
    for number in range(n * n):
        share = np.zeros(n * n)
        share[number:] = 1.0
        stage = replace(base, contact_share=share, stem=f"list/{number}")
        placed, counters = stage.place(np.arange(TRIES))
        pair = f"{REGIONS[number // n]} on {REGIONS[number % n]}"
        tried.append((counters[COUNTERS.index("pairs tried")] / TRIES, pair))
        if placed.ok.mean() > 0.5:
            reached += 1
        else:
            missed.append(pair)
    print(
        f"{reached} of {n * n} region pairs (right on left) reached; hardest, pairs of hands tried:"
    )
    for cost, pair in sorted(tried, reverse=True)[:20]:
        print(f"{cost:8.1f}  {pair}")
    print("not reached: " + (", ".join(missed) or "none"))


if __name__ == "__main__":
    main()
