"""The repair against its alternatives, every row of the table in one run.

    python benchmarks/physics_sets.py --out SETS                   # once: the pairs
    python benchmarks/physics_fix.py SETS --out OUT [--quick] [--parts …] [--sets …] [--methods …]

parts:  table      every method on every set
        ablation   what each part of the repair buys, on the deep pairs
        curve      displacement against overlap left, over each method's own knob
        memory     resident memory of one process over 20,000 samples, no two of one shape
        same       the same bytes in any order, with a fresh or used client, 1, 2 or 4 workers,
                   after kills

OUT gets results/SET--METHOD.npz (a row a pair), results.json (every figure, versions, revision),
table.md, curve.png and memory.png. What the same code of the toolkit has computed into OUT is not
computed again, so a run can be cut into pieces (--again does; --keep-baselines takes rigid
separation and descent from other code too, while the repair is being worked on). Method by method
two processes repair pairs; what pairs/s counts is the repair with the judge before and after, not
the measuring of it. Needs torch and smplx for the descent, the other methods do not.
"""

import argparse
import contextlib
import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
from physics_baselines import Descent, descend, separation
from physics_measure import FIELDS, Before, Tools, measured, summary, table
from physics_sets import SETS

from twohand500k.hand import load_hands
from twohand500k.physics.guided import Effort
from twohand500k.physics.repair import PairInput, Repairer, RepairOptions
from twohand500k.physics.stage import pair_input
from twohand500k.pipeline import rng_for
from twohand500k.pipeline.provenance import git_revision, versions
from twohand500k.shards import Dataset, Samples

Array = np.ndarray

PARTS = ("table", "ablation", "curve", "memory", "same")
PHYSICS = "twohand500k.physics."


@dataclass(frozen=True)
class Method:
    """One way to repair a pair.

    settings: constants of the physics package that are other than shipped, as (module.NAME, value).
    share: how much of the way rigid separation goes; plain: along the line of the hands' middles.
    """

    name: str
    kind: Literal["repair", "rigid", "descent"]
    options: RepairOptions | None = None
    descent: Descent | None = None
    share: float = 1.0
    plain: bool = False
    settings: tuple[tuple[str, Any], ...] = ()


BEST = Method("guided best", "repair")
FAST = Method("guided fast", "repair", RepairOptions(effort="fast"))
SAMPLING = Method("sampling", "repair", RepairOptions(method="sampling"))
RIGID = Method("rigid", "rigid")
PLAIN = Method("plain rigid", "rigid", plain=True)
DESCENT = Method("descent", "descent", descent=Descent())
METHODS = (PLAIN, RIGID, SAMPLING, DESCENT, FAST, BEST)


def other(base: Method, name: str, **settings: Any) -> Method:
    """`base` with other constants: module__NAME=value."""
    named = tuple((key.replace("__", ".", 1), value) for key, value in settings.items())
    return replace(base, name=name, settings=named)


def effort(link_steps: int, skin_steps: int) -> dict[str, Effort]:
    both = Effort(link_steps=link_steps, skin_steps=skin_steps)
    return {"fast": both, "best": both}


@dataclass(frozen=True)
class KeepNothing:
    """Stands for `contacts_to_keep`: no contact is kept."""

    def __call__(self, *given: Any) -> tuple[tuple[int, int], ...]:
        return ()


ALONE = {"repair___RESTARTS": 0, "repair___POLISH_CLEARANCES": ()}
# The first is the whole repair. A constant that is gone ends the benchmark: mend it here.
ABLATIONS = (
    BEST,
    other(BEST, "no restarts", repair___RESTARTS=0),
    other(BEST, "no polish", repair___POLISH_CLEARANCES=()),
    other(BEST, "neither", **ALONE),
    other(BEST, "neither, no skin steps", repair___EFFORT=effort(16, 0), **ALONE),
    other(BEST, "neither, no Bullet steps", repair___EFFORT=effort(0, 16), **ALONE),
    other(BEST, "no contact kept", guided__contacts_to_keep=KeepNothing()),
    other(BEST, "least squares, not reweighted", guided___LEAST_DISTANCE=0.05),
)
CURVES = {
    "rigid": [
        *(replace(RIGID, name=f"{k:g} of the way", share=k) for k in (0.5, 0.75, 0.9)),
        RIGID,
    ],
    "sampling": [
        other(SAMPLING, f"overlap costs {k:g}", sampling___OVERLAP_COST=k)
        for k in (0.3, 1.0, 3.0, 10.0, 30.0)
    ],
    "descent": [
        replace(DESCENT, name=f"overlap weighs {k:g}", descent=replace(Descent(), overlap=k))
        for k in (0.03, 0.1, 0.3, 1.0, 3.0)
    ],
    "guided, clearance": [
        other(BEST, f"clearance {1e3 * k:g} mm", guided___CLEARANCE=k, **ALONE)
        for k in (-0.002, -0.001, -0.0005, 0.0, 0.0005)
    ],
    "guided, steps": [
        other(BEST, f"{a} + {b} steps", repair___EFFORT=effort(a, b), **ALONE)
        for a, b in ((1, 0), (2, 0), (4, 0), (8, 0), (8, 1), (8, 3), (8, 8))
    ],
    "guided, as shipped": [FAST, BEST],
}  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """One run: where from, where to, how much, how many processes."""

    sets: Path
    out: Path
    limit: int | None
    few: int
    workers: int
    seed: int
    again: bool
    keep_baselines: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="what physics_sets.py made")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    names = [method.name for method in METHODS]
    parser.add_argument("--methods", nargs="+", choices=names, default=names)
    parser.add_argument("--limit", type=int, help="so many pairs of each set, evenly chosen")
    parser.add_argument("--few", type=int, default=200, help="pairs of each ablation and curve")
    parser.add_argument("--memory-samples", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a look: 40 pairs, 16 where few")
    parser.add_argument("--again", action="store_true", help="compute what is there already")
    parser.add_argument("--keep-baselines", action="store_true", help="of other code too")
    given = parser.parse_args()
    if given.quick:
        given.limit, given.few = given.limit or 40, 16
        given.memory_samples, given.kills = min(given.memory_samples, 400), 2
    bench = Bench(
        given.folder, given.out, given.limit, given.few, given.workers, given.seed, given.again,
        given.keep_baselines,
    )  # fmt: skip
    bench.out.mkdir(parents=True, exist_ok=True)
    chosen = [method for method in METHODS if method.name in given.methods]
    if "table" in given.parts:
        for name in given.sets:
            tell_set(bench, name, chosen)
    if "ablation" in given.parts:
        tell_ablation(bench)
    if "curve" in given.parts:
        tell_curves(bench)
    if "memory" in given.parts:
        tell_memory(bench, given.memory_samples)
    if "same" in given.parts:
        tell_same(bench, given.kills)
    write_markdown(bench)


# The parts


def tell_set(bench: Bench, name: str, methods: Sequence[Method]) -> None:
    """Every method on one set."""
    rows = chosen_rows(len(Dataset(bench.sets / name)), bench.limit)
    results = {m.name: results_of(bench, name, m, rows) for m in methods}
    # What everything is a ratio against, if it is chosen, or was in an earlier run.
    rigid, plain = (results.get(m.name) or stored(bench, name, m, rows) for m in (RIGID, PLAIN))
    figures = {
        method: summary(found, rigid, bench.workers, plain) for method, found in results.items()
    }
    record(bench, "table", name, figures)
    print(f"\n{name}\n\n{table(figures)}\n", flush=True)


def tell_ablation(bench: Bench) -> None:
    rows = np.arange(min(bench.few, len(Dataset(bench.sets / "deep"))))
    rigid = results_of(bench, "deep", RIGID, rows)
    figures = {
        m.name: summary(results_of(bench, "deep", m, rows), rigid, bench.workers) for m in ABLATIONS
    }
    record(bench, "ablation", "deep", figures)
    print(f"\nablation, {len(rows)} deep pairs\n\n{table(figures)}\n", flush=True)


def tell_curves(bench: Bench) -> None:
    """Displacement against overlap left: one figure and one table, deep pairs."""
    rows = np.arange(min(bench.few, len(Dataset(bench.sets / "deep"))))
    rigid = results_of(bench, "deep", RIGID, rows)
    curves: dict[str, dict[str, dict[str, float]]] = {}
    for name, methods in CURVES.items():
        curves[name] = {}
        for method in methods:
            found = results_of(bench, "deep", method, rows)
            figures = summary(found, rigid, bench.workers)
            over = found["volume_before"] > 0
            figures["volume_mean_cm3"] = 1e6 * float(np.nanmean(found["volume"][over]))
            curves[name][method.name] = figures
    record(bench, "curve", "deep", curves)
    print(f"\ntrade-off, {len(rows)} deep pairs\n\n{curve_table(curves)}\n", flush=True)
    draw_curves(curves, bench.out / "curve.png")


def curve_table(curves: dict[str, dict[str, dict[str, float]]]) -> str:
    lines = [
        "| method | knob | displacement, mm | against rigid | volume, mean; 99 %, cm3 | kept |",
        "|---|---|---|---|---|---|",
    ]
    for name, points in curves.items():
        for knob, f in points.items():
            lines.append(
                f"| {name} | {knob} | {f['displacement_mm']:.2f} | {f['ratio']:.3f} "
                f"| {f['volume_mean_cm3']:.4f}; {f['volume_p99_all_cm3']:.3f} | {f['kept']:.1%} |"
            )
    return "\n".join(lines)


def draw_curves(curves: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.5, 5))
    for name, points in curves.items():
        moved = [f["displacement_mm"] for f in points.values()]
        left = [f["volume_mean_cm3"] for f in points.values()]
        axes.plot(moved, left, marker="o", markersize=4, label=name)
    axes.set_yscale("symlog", linthresh=1e-3)
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.set_xlabel("mean displacement of 42 joints, common motion removed (mm)")
    axes.set_ylabel("volume inside both hands, mean (cm³)")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def tell_memory(bench: Bench, samples: int) -> None:
    if there(bench, "memory best") and not bench.again:
        return
    with pool(1) as one:
        curve = one.submit(memory_of, bench.sets / "deep", samples, bench.seed).result()
    n, mb = np.array(curve["samples"]), np.array(curve["mb"])
    # After the first tenth everything is loaded and compiled: what it grows from there on.
    late = n >= 0.1 * n[-1]
    slope = float(np.polyfit(n[late], mb[late], 1)[0] * 1000) if late.sum() > 2 else np.nan
    figures = {
        "samples": samples, "at_a_tenth_mb": float(mb[late][0]), "at_the_end_mb": float(mb[-1]),
        "largest_mb": float(mb.max()), "mb_per_1000_samples": slope, "curve": curve,
    }  # fmt: skip
    record(bench, "memory", "best", figures)
    print(
        f"memory of one process over {samples:,} samples: {figures['at_a_tenth_mb']:.0f} MB at a "
        f"tenth, {figures['at_the_end_mb']:.0f} MB at the end, {slope:+.3f} MB per 1,000 samples",
        flush=True,
    )
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.5))
    axes.plot(n, mb)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("samples repaired by one process")
    axes.set_ylabel("resident memory (MB)")
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(bench.out / "memory.png", dpi=130)
    pyplot.close(figure)


def tell_same(bench: Bench, kills: int) -> None:
    """The same bytes: in one process, and by the command itself."""
    if there(bench, "same best") and not bench.again:
        return
    figures: dict[str, Any] = {}
    rows = np.arange(min(bench.few, len(Dataset(bench.sets / "deep")))).tolist()
    shuffled = np.random.default_rng(bench.seed).permutation(rows).tolist()
    few = rows[:: max(1, len(rows) // 40)]
    with pool(1) as one:
        folder = bench.sets / "deep"
        in_order = one.submit(bytes_of, folder, rows, bench.seed, False).result()
        for name, order, fresh in (
            ("reversed order", rows[::-1], False),
            ("shuffled order", shuffled, False),
            ("a fresh client for every pair", few, True),
        ):
            found = one.submit(bytes_of, folder, order, bench.seed, fresh).result()
            differ = [k for k in order if found[k] != in_order[k]]
            figures[name] = {"pairs": len(order), "differ": len(differ)}
            print(f"same bytes, {name}: {len(order) - len(differ)} of {len(order)}", flush=True)
    figures |= same_by_command(bench, kills)
    record(bench, "same", "best", figures)


def same_by_command(bench: Bench, kills: int) -> dict[str, Any]:
    """`twohand physics-fix` with 1, 2, 4 workers, and killed at random moments and resumed."""
    from crash_resume import PROGRAM, build, contents, kill_and_resume

    root = bench.out / "same"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    limit = min(4 * bench.few, len(Dataset(bench.sets / "deep")))

    def command(out: Path, workers: int) -> list[str]:
        return [
            *PROGRAM, "physics-fix", "--input", str(bench.sets / "deep"), "--out", str(out),
            "--limit", str(limit), "--shard-size", str(max(8, limit // 25)), "--seed",
            str(bench.seed), "--workers", str(workers), "-q",
        ]  # fmt: skip

    figures: dict[str, Any] = {}
    reference: dict[str, bytes] = {}
    writing = {}
    for workers in (1, 2, 4):
        out = root / f"workers{workers}"
        began, seconds = build(command(out, workers), out)
        writing[workers] = seconds - began
        reference = reference or contents(out)
        same = contents(out) == reference
        figures[f"{workers} workers"] = {
            "same": same, "seconds": seconds, "pairs_per_s": limit / writing[workers]
        }  # fmt: skip
        print(
            f"same bytes, {workers} workers: {'yes' if same else 'NO'} "
            f"({limit / writing[workers]:.1f} pairs/s by the command, start-up left out)",
            flush=True,
        )
    rng = np.random.default_rng(bench.seed)
    midway = same_kills = 0
    for k in range(kills):
        workers, out = (1, 2, 4)[k % 3], root / f"kill{k}"
        after = float(rng.uniform(0.1, 0.9)) * writing[workers]
        kill = kill_and_resume(command(out, workers), out, workers, after, reference)
        same_kills += kill.same
        midway += not kill.was_finished and kill.units_done > 0
        shutil.rmtree(out)
    print(f"same bytes, killed and resumed: {same_kills} of {kills} ({midway} midway)", flush=True)
    figures["kills"] = {"kills": kills, "same": same_kills, "midway": midway}
    verified = subprocess.run(
        [*PROGRAM, "verify", str(root / "workers2")], capture_output=True, text=True, check=False
    )
    figures["verify"] = verified.returncode == 0
    print(f"verify: {'passed' if figures['verify'] else verified.stderr}", flush=True)
    return figures


# Results, a row a pair


def results_of(bench: Bench, name: str, method: Method, rows: Array) -> dict[str, Array]:
    """What `method` makes of `rows` of a set: `FIELDS`, pose and transl.

    From the disk if the same code with the same settings left these rows there, among others.
    """
    found_there = stored(bench, name, method, rows)
    if found_there is not None and not bench.again:
        return found_there
    path = results_path(bench, name, method)
    path.parent.mkdir(exist_ok=True)
    size = 16 if method.kind == "descent" else 8
    tasks = [rows[k : k + size].tolist() for k in range(0, len(rows), size)]
    found: list[dict[str, Array]] = []
    started = time.perf_counter()
    with pool(bench.workers) as processes:
        # Imports and compilation are no part of the speed.
        warm = [
            processes.submit(do_rows, bench.sets / name, method, tasks[0][:2], bench.seed)
            for _ in range(2 * bench.workers)
        ]
        for task in warm:
            task.result()
        futures = [
            processes.submit(do_rows, bench.sets / name, method, task, bench.seed) for task in tasks
        ]
        for k, future in enumerate(futures):
            found.append(future.result())
            if sys.stderr.isatty():
                print(f"\r{name}, {method.name}: {k + 1}/{len(tasks)} ", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    seconds = time.perf_counter() - started
    print(f"{name}, {method.name}: {len(rows)} pairs in {seconds:.0f} s", file=sys.stderr)
    result = {key: np.concatenate([part[key] for part in found]) for key in found[0]}
    told, code = np.array(repr(method)), np.array(versions()["code"])
    np.savez_compressed(path, rows=rows, method=told, code=code, **result)
    return result


def stored(bench: Bench, name: str, method: Method, rows: Array) -> dict[str, Array] | None:
    """What is on the disk of these rows, computed by the same code with the same settings."""
    path = results_path(bench, name, method)
    if not path.exists():
        return None
    any_code = bench.keep_baselines and method.kind != "repair"
    with np.load(path) as file:
        same = str(file["method"]) == repr(method) and np.isin(rows, file["rows"]).all()
        made_by = str(file["code"]) if "code" in file else ""
        if not same or not (any_code or made_by == versions()["code"]):
            return None
        at = np.searchsorted(file["rows"], rows)
        found = {key: file[key][at] for key in (*FIELDS, "pose", "transl") if key in file}
        # A figure that an older baseline was not measured for is not known.
        return {key: np.full(len(at), np.nan) for key in FIELDS if key not in found} | found


def results_path(bench: Bench, name: str, method: Method) -> Path:
    return bench.out / "results" / f"{name}--{method.name.replace(' ', '-')}.npz"


def chosen_rows(count: int, limit: int | None) -> Array:
    """All rows, or `limit` of them: evenly over the set, in ascending order."""
    if limit is None or limit >= count:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, limit).round().astype(np.int64))


# In the worker processes


def pool(workers: int) -> ProcessPoolExecutor:
    # Fresh processes: what one method compiled or patched is not there for the next.
    return ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=single_threaded
    )


def single_threaded() -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)


@cache
def tools() -> Tools:
    return Tools.of(load_hands("open"))


@cache
def samples_of(folder: Path) -> Samples:
    return Dataset(folder).samples()


_REPAIRERS: dict[str, Repairer] = {}


def repairer(method: Method) -> Repairer:
    """The one of this process, which knows one method; its settings hold as long as it lives."""
    if repr(method) in _REPAIRERS:
        return _REPAIRERS[repr(method)]
    if _REPAIRERS:
        raise ValueError("a process repairs by one method: settings of the last would remain")
    for name, value in method.settings:
        module_name, constant = name.split(".")
        module = import_module(PHYSICS + module_name)
        if not hasattr(module, constant):
            # Settings of constants that nobody reads would measure nothing.
            raise SystemExit(f"{PHYSICS}{name} is gone: mend ABLATIONS and CURVES")
        setattr(module, constant, value)
    return _REPAIRERS.setdefault(repr(method), Repairer(tools().hands, method.options))


def do_rows(folder: Path, method: Method, rows: list[int], seed: int) -> dict[str, Array]:
    """Repair and measure rows of a set: `FIELDS` (n,), pose (n, 2, 16, 3), transl (n, 2, 3)."""
    samples = samples_of(folder)
    pairs = [pair_input(samples, k) for k in rows]
    ids = [str(samples.sample_id[k]) for k in rows]
    moved = list(do_pairs(method, pairs, ids, seed))
    lines = [
        measured(tools(), Before.of(tools(), pair), pose, transl, evaluations, seconds)
        for pair, (pose, transl, evaluations, seconds) in zip(pairs, moved, strict=True)
    ]
    found = {key: np.array([line[key] for line in lines], dtype=np.float64) for key in FIELDS}
    found["pose"] = np.stack([m[0] for m in moved]).astype(np.float32)
    found["transl"] = np.stack([m[1] for m in moved]).astype(np.float32)
    return found


def do_pairs(
    method: Method, pairs: list[PairInput], ids: list[str], seed: int
) -> Iterator[tuple[Array, Array, int, float]]:
    """Pose, transl, Bullet passes and seconds of each pair, the judge before and after included."""
    if method.kind == "repair":
        worker = repairer(method)
        for pair, sample_id in zip(pairs, ids, strict=True):
            started = time.perf_counter()
            result = worker.repair(pair, rng_for(seed, sample_id))
            seconds = time.perf_counter() - started
            yield result.pose, result.transl, result.evaluations, seconds
        return
    started = time.perf_counter()
    if method.kind == "descent":
        pose, transl = descend(tools().hands, pairs, method.descent or Descent())
        moved = list(zip(pose, transl, strict=True))
    else:
        moved = [
            separated(pair, rng_for(seed, sample_id), method)
            for pair, sample_id in zip(pairs, ids, strict=True)
        ]
    for pair, (one_pose, one_transl) in zip(pairs, moved, strict=True):
        tools().judge.pair(*tools().skins(pair))
        tools().judge.pair(*tools().skins(replace(pair, pose=one_pose, transl=one_transl)))
    seconds = (time.perf_counter() - started) / len(pairs)
    for one_pose, one_transl in moved:
        yield one_pose, one_transl, 0, seconds


def separated(pair: PairInput, rng: np.random.Generator, method: Method) -> tuple[Array, Array]:
    """Rigid separation, half of the way to each hand."""
    found = separation(tools().hands, tools().judge, pair, rng, method.plain)
    way = method.share * found.way
    return pair.pose, pair.transl + 0.5 * np.stack([-way, way])


def memory_of(folder: Path, count: int, seed: int) -> dict[str, list[float]]:
    """Resident memory (MB) of one process that repairs `count` samples, a shape of its own each."""
    samples = samples_of(folder)
    rng = np.random.default_rng(seed)
    page = os.sysconf("SC_PAGE_SIZE")
    curve: dict[str, list[float]] = {"samples": [], "mb": []}
    worker = repairer(BEST)
    for k in range(count + 1):
        if k % max(1, count // 100) == 0:
            resident = int(Path("/proc/self/statm").read_text().split()[1])
            curve["samples"].append(k)
            curve["mb"].append(resident * page / 2**20)
        pair = pair_input(samples, k % len(samples))
        pair = replace(pair, betas=pair.betas + 0.05 * rng.standard_normal((2, 10)))
        worker.repair(pair, rng_for(seed, str(k)))
    return curve


def bytes_of(folder: Path, rows: list[int], seed: int, fresh: bool) -> dict[int, str]:
    """Hash of each row's result, repaired in this order; fresh: by a repairer of its own."""
    samples = samples_of(folder)
    found = {}
    for k in rows:
        pair, rng = pair_input(samples, k), rng_for(seed, str(samples.sample_id[k]))
        if fresh:
            with Repairer(tools().hands) as worker:
                result = worker.repair(pair, rng)
        else:
            result = repairer(BEST).repair(pair, rng)
        told = hashlib.sha256(result.pose.tobytes() + result.transl.tobytes())
        told.update(f"{result.verdict} {result.evaluations} {result.displacement!r}".encode())
        told.update(f"{result.after.volume!r} {result.after.depth!r}".encode())
        found[k] = told.hexdigest()
    return found


# results.json and table.md


def there(bench: Bench, what: str) -> bool:
    """Whether the same code has computed it."""
    made = read_results(bench).get("made", {}).get(what, {})
    return bool(made) and made["versions"]["code"] == versions()["code"]


def read_results(bench: Bench) -> dict[str, Any]:
    path = bench.out / "results.json"
    with contextlib.suppress(FileNotFoundError):
        return dict(json.loads(path.read_text()))
    return {}


def record(bench: Bench, part: str, name: str, figures: Any) -> None:
    """Add figures to results.json, with what computed them."""
    results = read_results(bench)
    known = results.setdefault(part, {})
    known[name] = known.get(name, {}) | figures
    results.setdefault("made", {})[f"{part} {name}"] = {
        "revision": git_revision(), "versions": versions(), "workers": bench.workers,
        "seed": bench.seed, "load": os.getloadavg()[0],
    }  # fmt: skip
    text = json.dumps(without_nan(results), indent=1)
    (bench.out / "results.json").write_text(text + "\n")


def without_nan(value: Any) -> Any:
    """NaN is null in JSON."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def with_nan(figures: dict[str, Any]) -> dict[str, Any]:
    return {key: np.nan if item is None else item for key, item in figures.items()}


def write_markdown(bench: Bench) -> None:
    """Everything in results.json as tables: OUT/table.md."""
    results = read_results(bench)
    lines: list[str] = []
    for name, methods in results.get("table", {}).items():
        lines += [f"**{name}**", "", table({m: with_nan(f) for m, f in methods.items()}), ""]
    for name, methods in results.get("ablation", {}).items():
        lines += [
            f"**What each part buys** ({name})",
            "",
            table({m: with_nan(f) for m, f in methods.items()}),
            "",
        ]
    for curves in results.get("curve", {}).values():
        told = {c: {k: with_nan(f) for k, f in points.items()} for c, points in curves.items()}
        lines += ["**Trade-off**", "", curve_table(told), ""]
    (bench.out / "table.md").write_text("\n".join(lines))
    print(f"tables: {bench.out / 'table.md'}; figures: {bench.out / 'results.json'}")


if __name__ == "__main__":
    main()
