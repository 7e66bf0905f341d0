"""What an audit found, as sections of a page: tables, and pictures of the worst.

In: an `AuditReport`. Out: `Section` records, which the audit's own page and `twohand report` show
alike.
"""

from typing import Any

from twohand500k.audit.findings import Finding, worst_line
from twohand500k.audit.pictures import album_of, pictures_of
from twohand500k.audit.run import AuditReport
from twohand500k.hand import HandPair
from twohand500k.report.run import Section

_TAKES = 40
_ANGLES = 15
_WORST = 10
# Findings that have a measure, and what is said of the order of those that have and have not.
_MEASURED = ("overlap", "self_overlap", "past_limit", "bent_backwards")
_ORDER = ("A few, from all over the data.", "The worst first.")


def sections_of(report: AuditReport, hands: HandPair, pictures: int) -> list[Section]:
    """The sections, in order. pictures: how many samples are drawn of each finding."""
    sections = [_overview(report)]
    if checks := report.data.get("checks"):
        sections.append(_checks(checks))
    album = album_of(report, hands)
    for finding in report.findings:
        drawn = pictures_of(album, finding, pictures) if pictures else []
        sections.append(_finding(report, finding, drawn))
    sections.append(_measured(report))
    if len(report.data["takes"]) > 1:
        sections.append(_takes(report))
    return sections


def _overview(report: AuditReport) -> Section:
    data = report.data
    rows = [
        (_words(name), found["meaning"], f"{found['count']:,}", _share(found["share"]), found["of"],
         found.get("right"), found.get("left"))
        for name, found in data["findings"].items()
    ]  # fmt: skip
    lead = (
        f"{data['frames']:,} frames, {data['hands']:,} hands, {data['pairs']:,} pairs, "
        f"{data['pairs_judged']:,} of them judged for overlap."
    )
    if not rows:
        lead += " Nothing was found."
    header = ("finding", "meaning", "count", "share", "of", "right", "left")
    return Section("What was found", lead, [(header, rows)] if rows else [])


def _checks(checks: list[dict[str, Any]]) -> Section:
    rows = [
        ("ok" if check["passed"] else "FAILED", check["check"],
         "; ".join([check["summary"], *check["faults"][:3]]))
        for check in checks
    ]  # fmt: skip
    lead = "What twohand verify recomputes from the disk."
    return Section("The dataset against itself", lead, [(("", "check", ""), rows)])


def _finding(report: AuditReport, finding: Finding, drawn: list[Any]) -> Section:
    lines = [worst_line(report.facts, finding, k) for k in range(min(_WORST, finding.count))]
    rows = [(line["take"], line["frame"] if line["frame"] >= 0 else None, line["side"],
             line["detail"], line["id"]) for line in lines]  # fmt: skip
    lead = (
        f"{finding.count:,} of {finding.among:,} {finding.of} ({_share(finding.share)}): "
        f"{finding.meaning}."
    )
    if finding.count > _WORST:
        lead += f" {_ORDER[finding.name in _MEASURED]}"
    return Section(
        _words(finding.name).capitalize(),
        lead,
        [(("take", "frame", "side", "what", "id"), rows)],
        drawn,
    )


def _measured(report: AuditReport) -> Section:
    data = report.data
    quantities = [
        (q["meaning"], f"{q['n']:,}", *(_number(q[k]) for k in ("median", "p95", "p99", "largest")))
        for q in data["quantities"].values()
    ]
    tables: list[Any] = [(("", "known of", "median", "95 %", "99 %", "most"), quantities)]
    for title, key in (
        ("angle past its limit by 5 degrees or more", "joints_past_limit"),
        ("bent backwards", "joints_bent_backwards"),
    ):
        if data[key]:
            rows = [(name, f"{n:,}") for name, n in list(data[key].items())[:_ANGLES]]
            tables.append(((title, "hands"), rows))
    lead = "Of hands that pass every gate. A dash: not known."
    return Section("Measured", lead, tables)


def _takes(report: AuditReport) -> Section:
    takes = sorted(
        report.data["takes"], key=lambda t: -sum(t["findings"].values()) / max(t["hands"], 1)
    )
    rows = [
        (take["take"], f"{take['frames']:,}", f"{take['hands']:,}",
         ", ".join(f"{_words(name)} {n:,}" for name, n in take["findings"].items()) or "nothing",
         _number(take["residual_median_mm"]), _number(take["volume_median_cm3"]))
        for take in takes[:_TAKES]
    ]  # fmt: skip
    lead = f"{len(takes):,} takes, those with the most findings a hand first."
    if len(takes) > _TAKES:
        lead += f" The first {_TAKES}; all of them are in audit.json."
    header = ("take", "frames", "hands", "found", "residual mm, median", "overlap cm³, median")
    return Section("Take by take", lead, [(header, rows)])


def _words(name: str) -> str:
    return name.replace("_", " ")


def _share(share: float) -> str:
    return f"{100 * share:.3g} %"


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.3g}"
