"""The audit's page: one HTML file, nothing from elsewhere, the verdict first.

In: an `AuditReport`. Out: OUT/audit.html. The report of `twohand report` describes what is good in
a dataset; this one describes what is wrong with data that may hold nothing good at all, so it is a
page of its own. The same sections can stand in a report as well.
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from jinja2 import Environment, StrictUndefined
from PIL import Image

from twohand500k.audit.run import AuditReport
from twohand500k.report.run import Section
from twohand500k.shards.files import write_whole

PAGE: Final = "audit.html"

_TEMPLATE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>Audit of {{ data.path }}</title>
<style>
:root { --paper: #fbfaf7; --ink: #1d2126; --quiet: #5c636b; --rule: #dedbd3; --field: #f4f2ec;
  --accent: #0a5c8f; --bad: #c8102e; --good: #2b7a4b; color-scheme: light dark;
  --serif: ui-serif, "Iowan Old Style", Palatino, Georgia, "DejaVu Serif", serif }
@media (prefers-color-scheme: dark) { :root { --paper: #14161a; --ink: #e8e6e1; --quiet: #a3a8af;
  --rule: #32363d; --field: #1b1e24; --accent: #7cc4f0; --bad: #ff6b6b; --good: #33c79b } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 76rem; padding: 1.6rem 1.2rem 4rem; color: var(--ink);
  background: var(--paper); font: 16px/1.55 system-ui, "DejaVu Sans", sans-serif }
h1, h2 { font-family: var(--serif); font-weight: 600; line-height: 1.2 }
h1 { font-size: 1.9rem; margin: 0 0 .3rem; overflow-wrap: anywhere }
h2 { font-size: 1.4rem; margin: 2.4rem 0 .3rem; padding-top: .9rem;
  border-top: 1px solid var(--rule) }
p { max-width: 60rem; margin: .3rem 0 .7rem }
.quiet { color: var(--quiet); font-size: .92rem }
.verdict { font-size: 1.12rem; padding: .9rem 1.1rem; background: var(--field);
  border-left: 5px solid var(--good); margin: 1rem 0 }
.verdict.bad { border-color: var(--bad) }
.wide { overflow-x: auto; margin: .6rem 0 1rem }
table { border-collapse: collapse; font-size: .9rem; min-width: 40% }
th { text-align: left; font-weight: 600; color: var(--quiet); border-bottom: 1px solid var(--rule);
  padding: .25rem .9rem .25rem 0; vertical-align: bottom }
td { padding: .22rem .9rem .22rem 0; border-bottom: 1px solid var(--rule); vertical-align: top;
  font-variant-numeric: tabular-nums; white-space: nowrap }
td.long { white-space: normal; min-width: 15rem; max-width: 34rem; overflow-wrap: anywhere }
.row { display: flex; flex-wrap: wrap; gap: .7rem; margin: .6rem 0 }
figure { margin: 0; flex: 1 1 10rem; max-width: 300px }
img { width: 100%; height: auto; display: block }
figcaption { color: var(--quiet); font-size: .88rem }
nav a { color: var(--accent); margin-right: .9rem; white-space: nowrap }
ul { padding-left: 1.2rem; font-size: .9rem; color: var(--quiet) }
</style></head><body>
<h1>Audit of {{ data.path }}</h1>
<p class="quiet">{{ data.understood }} · hand model {{ data.hand_model }} ·
twohand500k {{ data.made.version }}</p>
<p class="verdict{{ ' bad' if data.failed }}">{{ data.verdict }}</p>
<nav>{% for s in sections %}<a href="#s{{ loop.index }}">{{ s.title }}</a> {% endfor %}</nav>
{% for s in sections %}
<h2 id="s{{ loop.index }}">{{ s.title }}</h2>
{% if s.lead %}<p>{{ s.lead }}</p>{% endif %}
{% if s.pictures %}<div class="row">{% for caption, uri in s.pictures %}
<figure><img src="{{ uri }}" alt="{{ caption }}"><figcaption>{{ caption }}</figcaption></figure>
{% endfor %}</div>{% endif %}
{% for header, rows in s.tables %}
<div class="wide"><table><thead><tr>{% for cell in header %}<th>{{ cell }}</th>{% endfor %}</tr>
</thead><tbody>
{% for row in rows %}<tr>{% for cell in row -%}
<td{{ ' class=long' if cell is string and cell|length > 34 }}>
{{- '–' if cell is none else cell }}</td>
{%- endfor %}</tr>
{% endfor %}</tbody></table></div>
{% endfor %}
{% endfor %}
{% if data.notes %}<h2>How it was read</h2>
<ul>{% for note in data.notes %}<li>{{ note }}</li>{% endfor %}</ul>{% endif %}
<h2>How to read this</h2>
<p class="quiet">Red bones and light skin: right hand; blue and dark: left. What is in both
hands is red. Bones are the points as they were given (in the mirror, where it says so). A hand
fails a gate for one reason, the first that applies; of points, only pairs of which both hands pass
are fitted and judged. Numbers: audit.json. The lines between good and bad: docs/audit.md and
docs/verdicts.md.</p>
</body></html>
"""


def write_page(report: AuditReport, sections: Sequence[Section], out: Path) -> Path:
    """Write OUT/audit.html, whole or not at all. sections: as `sections_of` makes them.

    Raises DataError when the disk refuses.
    """
    shown = [
        {
            "title": section.title,
            "lead": section.lead,
            "tables": section.tables,
            "pictures": [(caption, _uri(image)) for caption, image in section.pictures],
        }
        for section in sections
    ]
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    text = environment.from_string(_TEMPLATE).render(data=_shown(report), sections=shown)
    write_whole(out / PAGE, text.encode())
    return out / PAGE


def _shown(report: AuditReport) -> dict[str, Any]:
    return {**report.data, "notes": report.data.get("notes", [])}


def _uri(image: np.ndarray) -> str:
    """A picture as a data URI: PNG of 128 colours."""
    png = io.BytesIO()
    Image.fromarray(image).quantize(128).save(png, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
