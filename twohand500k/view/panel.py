"""What is told about a sample beside its picture, and about those refused: small HTML tables.

In: a sample, what the catalog knows. Out: HTML. NaN reads "not judged" or "not known", never 0.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from twohand500k.conventions import SIDES
from twohand500k.shards import Reject, Samples
from twohand500k.view.figure import Mark

_LISTED = 200
Rows = Sequence[tuple[str, str]]


def number(value: float, unit: str, scale: float = 1.0, unknown: str = "not judged") -> str:
    """A number with its unit, three digits; what is not known in words."""
    return f"{float(value) * scale:.3g} {unit}" if np.isfinite(value) else unknown


def facts(samples: Samples, folder: str, row: int, total: int) -> dict[str, Rows]:
    """All that is known of a sample (N = 1): tables by heading, in reading order.

    folder: its dataset's name; row, total: its position there.
    """
    s = samples
    here = [(side, word) for side, word in enumerate(SIDES) if s.present[0, side]]
    tables: dict[str, Rows] = {
        "Sample": [
            ("id", str(s.sample_id[0])),
            ("dataset", f"{folder}, {row + 1:,} of {total:,}"),
            ("hands", " and ".join(word for _, word in here)),
            *_provenance(s),
        ],
        "Overlap": [
            ("volume", number(s.penetration_volume[0], "cm³", 1e6)),
            ("depth", number(s.penetration_depth[0], "mm", 1e3)),
            ("skins apart", number(s.contact_distance[0], "mm", 1e3)),
            *(
                (f"{word} in itself", number(s.self_penetration_volume[0, side], "cm³", 1e6))
                for side, word in here
            ),
            ("nearest", _regions(s.contact_realised[0], "not judged")),
            ("contact drawn", _regions(s.contact_intended[0], "none")),
        ],
    }
    if s.volume_before is not None:
        assert s.depth_before is not None and s.displacement is not None
        assert s.repair_verdict is not None and s.evaluations is not None
        evaluations = int(s.evaluations[0])
        tables["Repair"] = [
            ("verdict", str(s.repair_verdict[0]) or "not known"),
            ("volume before", number(s.volume_before[0], "cm³", 1e6)),
            ("depth before", number(s.depth_before[0], "mm", 1e3)),
            ("joints moved", number(s.displacement[0], "mm", 1e3, "not known")),
            ("evaluations", f"{evaluations:,}" if evaluations >= 0 else "not counted"),
        ]
    tables["Pose"] = [
        *(
            (f"{word} fit error", number(s.fit_error[0, side], "mm", 1e3, "nothing was fitted"))
            for side, word in here
        ),
        *(
            (
                f"{word} over limits",
                number(s.limit_violation[0, side], "°", 180 / np.pi, "not measured"),
            )
            for side, word in here
        ),
    ]
    return tables


def table_html(tables: dict[str, Rows], marks: Iterable[Mark] = ()) -> str:
    """The tables as HTML, and what joints are past their limits."""
    parts = [_STYLE]
    for heading, rows in tables.items():
        parts.append(f"<h4>{escape(heading)}</h4><table>")
        parts += [f"<tr><td>{escape(a)}</td><td>{escape(b)}</td></tr>" for a, b in rows]
        parts.append("</table>")
    if said := [escape(mark.text) for mark in marks]:
        parts.append(f"<p class='past'>past a limit: {'<br>'.join(said)}</p>")
    return f"<div class='twohand'>{''.join(parts)}</div>"


def rejects_html(reasons: Counter[str], listed: Sequence[Reject], reason: str = "") -> str:
    """How many were refused and why, and the first of them (of one reason). There is no pose of
    them to show: a refused sample is not kept."""
    if not reasons:
        return f"<div class='twohand'>{_STYLE}<p>No sample was refused.</p></div>"
    rows = [(name, f"{n:,}") for name, n in reasons.most_common()]
    shown = [r for r in listed if reason in ("", r.reason)][:_LISTED]
    named = [(r.sample_id, f"{r.reason}: {r.detail}" if r.detail else r.reason) for r in shown]
    return table_html({"Refused": rows, f"The first {len(named)}": named})


def message_html(text: str) -> str:
    """One sentence in the panel."""
    return f"<div class='twohand'>{_STYLE}<p class='past'>{escape(text)}</p></div>"


def _provenance(s: Samples) -> Rows:
    frame, time = int(s.frame[0]), float(s.timestamp[0])
    mirrored = " and ".join(w for k, w in enumerate(SIDES) if s.mirrored[0, k])
    rows = [
        ("source", str(s.source[0])),
        ("take", str(s.take[0])),
        ("subject", str(s.subject[0]) or "not known"),
        ("split", str(s.split[0]) or "none"),
        ("frame", f"{frame:,}" if frame >= 0 else "none"),
    ]
    if np.isfinite(time):
        rows.append(("time", f"{time:.3f} s"))
    if mirrored:
        rows.append(("mirrored", mirrored))
    if s.bank_id is not None and s.placement is not None:
        rows += [(f"{w} from", str(s.bank_id[0, k])) for k, w in enumerate(SIDES)]
        rows.append(("placement", str(s.placement[0])))
    return rows


def _regions(pair: np.ndarray, unknown: str) -> str:
    return f"{pair[0]} – {pair[1]}" if pair[0] and pair[1] else unknown


_STYLE = (
    "<style>.twohand{font-size:12px;line-height:1.35;padding:0 12px 8px}"
    ".twohand h4{margin:8px 0 2px;font-size:12px;opacity:.65;font-weight:600}"
    ".twohand table{border-collapse:collapse;width:100%}"
    ".twohand td{padding:1px 6px 1px 0;vertical-align:top;overflow-wrap:anywhere}"
    ".twohand td:first-child{white-space:nowrap;opacity:.7;width:1%}"
    ".twohand .past{color:#c0392b;margin:8px 0 0}</style>"
)
