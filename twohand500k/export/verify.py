"""`verify_export(DIR)`: is an export what `export.json` says, and what its dataset holds?

Every file is hashed; every format is read back, and the arrays that come out are held against the
hash of the arrays that went in. With the dataset at hand, they are computed from it once more.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from twohand500k.errors import DataError
from twohand500k.export.content import Source, digest_of
from twohand500k.export.run import EXPORT, FORMATS, ROUNDING
from twohand500k.hand import HandPair
from twohand500k.shards import Dataset
from twohand500k.shards.files import INDEX, read_json, sha256_of_file, temporaries
from twohand500k.shards.verify import FAULTS_LISTED, Fault, Finding


def is_export(folder: Path) -> bool:
    """Whether a folder is a finished export."""
    return (folder / EXPORT).is_file()


def verify_export(
    folder: Path,
    against: Path | None = None,
    hands: HandPair | None = None,
    rows_of: Callable[[Dataset, str], np.ndarray] | None = None,
) -> list[Finding]:
    """Check an export; with `against` and `hands`, against the dataset it was made from too.

    rows_of: which rows of a dataset meet the condition the export was made with.
    Raises DataError if there is none, or its record is damaged.
    """
    told = read_json(folder / EXPORT)
    try:
        findings = [_files(folder, told), _strangers(folder, told)]
        for kind in told["formats"]:
            findings.append(_round_trip(folder, kind, told))
        if against is not None and hands is not None:
            findings += _against(told, Dataset(against), hands, rows_of)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{folder / EXPORT} is damaged: {error!r}") from error
    return findings


def _files(folder: Path, told: Mapping[str, Any]) -> Finding:
    faults = []
    for file in told["files"]:
        path = folder / file["path"]
        if not path.is_file():
            faults.append(Fault("missing: export.json lists it", file["path"]))
        elif (found := sha256_of_file(path)) != file["sha256"]:
            what = f"sha256 {found[:12]}…, export.json has {file['sha256'][:12]}…"
            faults.append(Fault(f"changed after it was written: {what}", file["path"]))
    return _finding("files", f"{len(told['files']):,} files, sha256 of each", faults)


def _strangers(folder: Path, told: Mapping[str, Any]) -> Finding:
    listed = {file["path"] for file in told["files"]} | {EXPORT}
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    faults = [Fault("is not in export.json", name) for name in sorted(found - listed)]
    faults += [Fault("left by a writer that was killed", p.name) for p in temporaries(folder)]
    return _finding("listed", "nothing in the folder that export.json does not list", faults)


def _round_trip(folder: Path, kind: str, told: Mapping[str, Any]) -> Finding:
    expected = told["content"][kind]
    # Files of meshes are listed in the order of their samples.
    listed = [file["path"] for file in told["files"]]
    names = [path.removeprefix(f"{kind}/") for path in listed if path.startswith(f"{kind}/")]
    faults = []
    try:
        digest = digest_of(FORMATS[kind].read(folder / kind, names))
    except DataError as error:
        return _finding(kind, "read back", [Fault(str(error), kind)])
    if digest.rows != expected["samples"]:
        what = f"{digest.rows:,} samples read back, {expected['samples']:,} were written"
        faults.append(Fault(what, kind))
    found = digest.told()
    for field in sorted({*found, *expected["fields"]}):
        if found.get(field) != expected["fields"].get(field):
            faults.append(Fault("is not what was written", kind, field))
    summary = f"{digest.rows:,} samples read back, {len(found)} fields equal, rounding: "
    return _finding(kind, summary + ROUNDING[kind], faults)


def _against(
    told: Mapping[str, Any],
    dataset: Dataset,
    hands: HandPair,
    rows_of: Callable[[Dataset, str], np.ndarray] | None,
) -> list[Finding]:
    """The content computed from the dataset again."""
    if sha256_of_file(dataset.path / INDEX) != told["dataset"]["index_sha256"]:
        what = f"is not the dataset {told['dataset']['name']!r} this export was made from"
        return [_finding("dataset", str(dataset.path), [Fault(what, INDEX)])]
    where = told["where"]
    if where and rows_of is None:
        raise ValueError("the export has a condition: rows_of is needed")
    rows = rows_of(dataset, where) if where and rows_of else np.arange(len(dataset))
    source = Source(dataset, hands, rows[: told["samples"]], told["closed"])
    findings = []
    for kind in told["formats"]:
        form = FORMATS[kind]
        digest = digest_of(form.arrays(source, chunk) for chunk in form.order(source))
        expected = told["content"][kind]["fields"]
        faults = [
            Fault("differs from the dataset", kind, field)
            for field, sha256 in digest.told().items()
            if expected.get(field) != sha256
        ]
        summary = f"{digest.rows:,} samples computed from {dataset.path} again"
        findings.append(_finding(f"{kind} = data", summary, faults))
    return findings


def _finding(check: str, summary: str, faults: list[Fault]) -> Finding:
    n = len(faults)
    told = summary + (f"; {n:,} faults" if n else "")
    return Finding(check, not n, told, tuple(faults[:FAULTS_LISTED]), n)
