"""Charts of the page as inline SVG: they scale, print, and follow light and dark by CSS variables.

In: entries of `numbers.json`. Out: SVG text, every name in it escaped. Dataset k is drawn in the
colour `--c0` ... `--c7` of the page's style.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import Any, Final

COLOURS: Final = 8
_WIDTH, _HEIGHT = 340, 130
_LEFT, _RIGHT, _TOP, _BOTTOM = 8, 8, 8, 24


def histogram(quality: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    """One quality of all datasets over one another, as the share of known values per bin.

    quality: the dataset's entries, of one key, whose histograms share their edges.
    """
    known = [(k, q) for k, q in enumerate(quality) if q["histogram"]]
    if not known:
        return ""
    edges, log = known[0][1]["histogram"]["edges"], known[0][1]["histogram"]["log"]
    scale = math.log10 if log else float
    first, last = scale(edges[0]), scale(edges[-1])
    plot_width, plot_height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    xs = [_LEFT + plot_width * (scale(e) - first) / (last - first) for e in edges]
    shares = {k: [c / q["n"] for c in q["histogram"]["counts"]] for k, q in known}
    highest = max((max(share) for share in shares.values()), default=0.0) or 1.0
    floor = _TOP + plot_height
    parts = [_axis(edges[0], edges[-1], log, xs[0], xs[-1], floor)]
    for k, share in shares.items():
        ys = [floor - plot_height * s / highest for s in share]
        steps = " ".join(
            f"H{xs[i]:.1f}V{ys[i]:.1f}H{xs[i + 1]:.1f}" if ys[i] != ys[i - 1] or not i
            else f"H{xs[i + 1]:.1f}" for i in range(len(ys))
        )  # fmt: skip
        line = f"M{xs[0]:.1f} {floor:.1f}{steps}V{floor:.1f}"
        colour = f"var(--c{k % COLOURS})"
        parts.append(
            f'<path d="{line}Z" fill="{colour}" fill-opacity=".14"/>'
            f'<path d="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        )
    if not any(map(any, shares.values())):
        parts.append(
            f'<text class="tick" x="{_WIDTH / 2}" y="{floor - 12}" text-anchor="middle">all below '
            f"{edges[0]:g} {escape(known[0][1]['unit'])}</text>"
        )
    told = "; ".join(
        f"{names[k]}: median {q['median']:.3g}, 95 % below {q['p95']:.3g}, largest "
        f"{q['largest']:.3g} {q['unit']}"
        for k, q in known
    )
    label = escape(f"{known[0][1]['label']}. {told}", quote=True)
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
        + "".join(parts)
        + "</svg>"
    )


def _axis(low: float, high: float, log: bool, x0: float, x1: float, y: float) -> str:
    ticks: list[float]
    if log:
        decades = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
        ticks = [10.0**d for d in decades]
    else:
        step = 10.0 ** math.floor(math.log10(max(high - low, 1e-12)))
        step = next(s for s in (step / 5, step / 2, step, 2 * step) if (high - low) / s <= 7)
        ticks = [low + step * i for i in range(int((high - low) / step + 1e-9) + 1)]

    def place(value: float) -> float:
        if log:
            share = (math.log10(value) - math.log10(low)) / (math.log10(high) - math.log10(low))
        else:
            share = (value - low) / (high - low)
        return x0 + (x1 - x0) * share

    out = [f'<line class="axis" x1="{x0}" x2="{x1}" y1="{y}" y2="{y}"/>']
    for tick in ticks:
        x = place(tick)
        anchor = "start" if x < x0 + 12 else "end" if x > x1 - 12 else "middle"
        out.append(
            f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{y + 4}"/>'
            f'<text class="tick" x="{x:.1f}" y="{y + 17}" text-anchor="{anchor}">{tick:g}</text>'
        )
    return "".join(out)


def contact_map(found: dict[str, Any], regions: Sequence[str], colour: int, name: str) -> str:
    """Right regions down, left regions across; the darker, the more pairs (square root scale)."""
    cell, margin, head = 13, 118, 112
    size = cell * len(regions)
    counts = found["counts"]
    most = max(max(row) for row in counts) or 1
    label = escape(f"{name}: {found['pairs_seen']} contacts of {len(regions)} by {len(regions)} "
                   "regions; the most frequent are listed below", quote=True)  # fmt: skip
    parts = [
        f'<svg class="contacts" viewBox="0 0 {margin + size + 2} {head + size + 2}" role="img" '
        f'aria-label="{label}"><rect class="field" x="{margin}" y="{head}" width="{size}" '
        f'height="{size}"/>'
    ]
    for k, region in enumerate(regions):
        at = cell * k + cell / 2
        parts.append(
            f'<text class="tick" x="{margin - 5}" y="{head + at + 3.2:.1f}" text-anchor="end">'
            f"{escape(region)}</text>"
            f'<text class="tick" transform="translate({margin + at + 3.2:.1f} {head - 5}) '
            f'rotate(-90)">{escape(region)}</text>'
        )
        if k % 5 == 0:
            line = cell * k
            parts.append(
                f'<path class="grid" d="M{margin} {head + line}h{size}M{margin + line} {head}'
                f'v{size}"/>'
            )
    for right, row in enumerate(counts):
        for left, count in enumerate(row):
            if count:
                depth = 0.12 + 0.88 * math.sqrt(count / most)
                parts.append(
                    f'<rect x="{margin + cell * left}" y="{head + cell * right}" '
                    f'width="{cell - 0.6:.1f}" height="{cell - 0.6:.1f}" '
                    f'fill="var(--c{colour % COLOURS})" fill-opacity="{depth:.2f}"><title>'
                    f"right {escape(regions[right])}, left {escape(regions[left])}: {count:,}"
                    "</title></rect>"
                )
    return "".join(parts) + "</svg>"


def most_frequent(
    found: dict[str, Any], regions: Sequence[str], count: int = 6
) -> list[tuple[str, str, int]]:
    """(right region, left region, pairs) of the contacts seen most often."""
    cells = [(n, r, c) for r, row in enumerate(found["counts"]) for c, n in enumerate(row) if n > 0]
    cells.sort(key=lambda cell: (-cell[0], cell[1], cell[2]))
    return [(regions[r], regions[c], n) for n, r, c in cells[:count]]
