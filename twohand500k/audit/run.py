"""`audit`: anybody's two-hand data in, what is wrong with it out. What `twohand audit` calls.

Nothing of the input is altered. OUT gets audit.json, the page, and for data that is fitted
OUT/dataset with the good frames and the reasons of the others.
"""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from twohand500k import __version__
from twohand500k.audit.arrays import read_joints, read_vertices
from twohand500k.audit.dataset import audit_dataset
from twohand500k.audit.detect import understand
from twohand500k.audit.facts import Facts
from twohand500k.audit.findings import (
    Finding,
    findings_of,
    summary_of,
    verdict_of,
    wrong_share,
)
from twohand500k.audit.meshes import Skins, facts_of_meshes, gate, take_of
from twohand500k.audit.points import (
    ReadTake,
    audit_takes,
    read_takes_for_audit,
    remarks_on,
)
from twohand500k.errors import DataError
from twohand500k.hand import HandPair
from twohand500k.ik.build import BuildOptions
from twohand500k.ik.keep import keeps
from twohand500k.pipeline.progress import Shown
from twohand500k.shards.files import write_whole
from twohand500k.sources.datasets import Choice
from twohand500k.sources.reading import DECLARATIONS, Reading
from twohand500k.sources.take import Take

Log = Callable[[str], None]

AUDIT: Final = "audit.json"
DATASET_FOLDER: Final = "dataset"
FORMAT: Final = 1
_THICKNESS: Final = (
    "joints say how long a hand is and not how thick: overlap is that of the skins fitted to them"
)


@dataclass(frozen=True)
class AuditOptions:
    """every, limit: which frames of each take, as a build has them. judge: measure overlap.
    anew: stored judgements of our own datasets that are made again. worst: ids listed a finding.
    tolerate: share of hands, or of pairs, that may have a finding before `AuditReport.failed`.
    """

    every: int = 1
    limit: int | None = None
    judge: bool = True
    anew: int = 200
    worst: int = 20
    tolerate: float = 0.0


@dataclass(frozen=True, eq=False)
class Evidence:
    """What there is to draw: the takes as they were read, the dataset of fits or the audited one,
    the meshes. Of each what the kind of input has."""

    takes: Mapping[str, Take] = field(default_factory=dict)
    dataset: Path | None = None
    skins: Skins | None = None


@dataclass(frozen=True, eq=False)
class AuditReport:
    """understood: how the input was read. verdict: the sentence. data: audit.json. failed: more
    than the tolerated share is wrong, or a dataset's own checks fail."""

    understood: str
    verdict: str
    facts: Facts
    findings: tuple[Finding, ...]
    data: Mapping[str, Any]
    evidence: Evidence
    failed: bool


def audit(
    path: Path,
    out: Path,
    hands: HandPair,
    *,
    source: str | None = None,
    choice: Choice | None = None,
    declared: Mapping[str, Any] | None = None,
    options: AuditOptions | None = None,
    seed: int = 0,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Shown = True,
    log: Log = lambda line: None,
) -> AuditReport:
    """Audit what `path` holds, write OUT/audit.json.

    source: as declared, None to find out. choice, declared: as `Reading` takes them. Raises
    DataError where the input cannot be read as hands at all, is not known by its looks, or the disk
    refuses; hands that fail are findings.
    """
    options, declared = options or AuditOptions(), dict(declared or {})
    known = understand(path, source)
    log(f"{path}: {known.line}")
    _refuse_stray(known.source or known.kind, declared, choice)
    doing = _Doing(path, out, hands, options, declared, seed, workers, executor, progress, log)
    if known.kind == "dataset":
        facts, extra, evidence = _dataset(doing)
    elif known.kind == "vertices":
        facts, extra, evidence = _vertices(doing)
    elif known.kind == "joints":
        log("joints of one file, nothing cleaned")
        take = read_joints(path, hands.right, declared)
        facts, extra, evidence = _takes(doing, [take], {"source": "joints", **declared})
    else:
        reading = Reading(known.source, (path,), choice or Choice(), declared)
        takes = reading.takes(hands, seed)
        facts, extra, evidence = _takes(doing, takes, reading.record())
    findings = tuple(findings_of(facts))
    failing = [check["check"] for check in extra.get("checks", ()) if not check["passed"]]
    differ = (extra.get("rejudged") or {}).get("differ", 0)
    verdict = verdict_of(facts, findings, fitted=known.kind in ("joints", "source"))
    verdict = " ".join([verdict, *extra.get("remarks", ())])
    if failing:
        verdict = f"The dataset fails its own checks ({', '.join(failing)}). {verdict}"
    if differ:
        verdict += f" {differ} stored judgements are not what the judge finds."
    failed = wrong_share(findings) > options.tolerate or bool(failing) or bool(differ)
    data = {
        "format": FORMAT,
        "path": path.name,
        "understood": known.line,
        "kind": known.kind,
        "source": known.source or None,
        "hand_model": hands.right.name,
        "verdict": verdict,
        "failed": failed,
        "tolerate": options.tolerate,
        **summary_of(facts, findings, options.worst),
        **extra,
        "made": {"version": __version__, "seed": seed},
    }
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / AUDIT, json.dumps(data, indent=1, allow_nan=False).encode())
    return AuditReport(known.line, verdict, facts, findings, data, evidence, failed)


@dataclass(frozen=True, eq=False)
class _Doing:
    path: Path
    out: Path
    hands: HandPair
    options: AuditOptions
    declared: Mapping[str, Any]
    seed: int
    workers: int
    executor: Executor | None
    progress: Shown
    log: Log


_Found = tuple[Facts, dict[str, Any], Evidence]


def _refuse_stray(source: str, declared: Mapping[str, Any], choice: Choice | None) -> None:
    """A declaration that this kind of input has no use for would be dropped in silence."""
    takes = {"dataset": (), "vertices": ("unit", "side")}.get(source, DECLARATIONS.get(source, ()))
    for name in declared:
        if name not in takes:
            raise DataError(f"--{name} means nothing for {source}; leave it out or say --source")
    if source in ("dataset", "vertices", "mocap") and choice and (choice.splits or choice.subset):
        raise DataError(f"--split and --subset go with public datasets, not with {source}")


def _dataset(doing: _Doing) -> _Found:
    o = doing.options
    if o.every != 1:
        raise DataError("--every goes with recordings and arrays; of a dataset use --limit")
    audited = audit_dataset(
        doing.path, doing.hands, limit=o.limit, judge=o.judge, anew=o.anew, seed=doing.seed,
        workers=doing.workers, log=doing.log,
    )  # fmt: skip
    checks = [
        {
            "check": check.check,
            "passed": check.passed,
            "summary": check.summary,
            "faults": [str(fault) for fault in check.faults],
            "n_faults": check.n_faults,
        }
        for check in audited.checks
    ]
    extra: dict[str, Any] = {"checks": checks, "notes": [], "rejudged": None}
    if (anew := audited.rejudged) is not None:
        extra["rejudged"] = {
            "pairs": anew.n, "stored": anew.stored, "differ": anew.differ, "line": anew.line,
        }  # fmt: skip
        extra["notes"] = [anew.line]
    return audited.facts, extra, Evidence(dataset=doing.path)


def _takes(doing: _Doing, takes: list[Take], record: Mapping[str, Any]) -> _Found:
    o = doing.options
    reads = read_takes_for_audit(
        takes, doing.hands, BuildOptions(every=o.every, limit=o.limit), doing.log
    )
    notes = [f"{t.name}: {n}" for t in takes for n in t.notes]
    if not all(keeps(read.take, doing.hands) for read in reads):
        notes.append(_THICKNESS)
    return _audit_reads(doing, reads, record, notes)


def _audit_reads(
    doing: _Doing, reads: list[ReadTake], record: Mapping[str, Any], notes: list[str],
    judge: bool | None = None,
) -> _Found:  # fmt: skip
    o = doing.options
    if not reads:
        raise DataError(f"{doing.path}: holds no frame")
    audited = audit_takes(
        reads, doing.hands, doing.out / DATASET_FOLDER, declared=record,
        options=BuildOptions(every=o.every, limit=o.limit),
        judge=o.judge if judge is None else judge,
        seed=doing.seed, workers=doing.workers, executor=doing.executor, progress=doing.progress,
    )  # fmt: skip
    summary = audited.summary
    extra: dict[str, Any] = {
        "notes": [*notes, *audited.notes],
        "dataset": None if audited.folder is None else DATASET_FOLDER,
        "dataset_kept": 0 if summary is None else summary.n_kept,
        "remarks": remarks_on(reads),
    }
    evidence = Evidence(
        takes={read.take.name: read.take for read in reads},
        dataset=audited.folder if summary is not None and summary.n_kept else None,
    )
    return audited.facts, extra, evidence


def _vertices(doing: _Doing) -> _Found:
    o = doing.options
    meshes = read_vertices(doing.path, doing.declared.get("side"))
    stop = None if o.limit is None else o.limit * o.every
    meshes = meshes.rows(slice(0, stop, o.every))
    skins = gate(meshes, doing.hands, doing.declared.get("unit"))
    notes = [*skins.notes, f"numbers taken as {skins.unit.name} ({skins.unit.how})"]
    fitted, extra = None, {"notes": [], "dataset": None, "dataset_kept": 0}  # type: Facts | None, dict[str, Any]
    take = take_of(meshes, skins, doing.hands)
    if take is not None:
        record = {"source": "vertices", **doing.declared}
        reads = read_takes_for_audit([take], doing.hands, BuildOptions(), doing.log)
        fitted, extra, _ = _audit_reads(doing, reads, record, [], judge=False)
    facts = facts_of_meshes(
        meshes, skins, doing.hands, fitted, judge=o.judge, workers=doing.workers, log=doing.log
    )
    extra["notes"] = [*notes, *extra["notes"]]
    extra["remarks"] = []
    if skins.unit.how == "inferred" and skins.unit.name != "m":
        unit = f"The numbers are {skins.unit.name}, not metres, by the size of the hands."
        extra["remarks"] = [unit]
    return facts, extra, Evidence(skins=skins)
