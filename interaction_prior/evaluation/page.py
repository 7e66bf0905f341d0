"""A prior's `evaluation.html`, and the same few numbers for a terminal.

Comes in: what `evaluation.json` holds, and pictures. Goes out: text.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from interaction_prior.evaluation.html import (
    UNKNOWN,
    Picture,
    Rows,
    Section,
    Table,
    html,
    number,
    percent,
)

Figures = Mapping[str, Any]


def page(evaluation: Figures, pictures: Sequence[Picture]) -> str:
    """The page as text."""

    def of(section: str) -> tuple[Picture, ...]:
        return tuple(p for p in pictures if p.section == section)

    sections = [
        Section("Reconstruction", _reconstruction_texts(evaluation),
                 (reconstruction_table(evaluation), *_turn_tables(evaluation)),
                 of("reconstruction")),
        Section("Latents", _latent_texts(evaluation), (), of("latents")),
        Section("Samples", _sample_texts(evaluation), sample_tables(evaluation), of("samples")),
    ]  # fmt: skip
    return html(
        f"Prior {evaluation['prior']['name']}: {title(evaluation)}", about(evaluation),
        _keys(evaluation), sections,
    )  # fmt: skip


def title(evaluation: Figures) -> str:
    """Which prior it is, in a few words."""
    prior = evaluation["prior"]
    return f"{prior['model'].upper()} of {prior['representation']}"


def about(evaluation: Figures) -> str:
    """On what it was measured."""
    prior, data = evaluation["prior"], evaluation["data"]
    steps = f", {prior['steps']:,} steps" if prior["steps"] else ""
    return (
        f"{prior['dim']} numbers a pair, {prior['latents']} latents, hidden {prior['hidden']}"
        f"{steps}. Measured on {data['pairs']:,} pairs of split {data['split']!r} of "
        f"{', '.join(data['folders'])}; hand model {data['hand_model']}; seed "
        f"{evaluation['seed']}."
    )


def reconstruction_table(evaluation: Figures) -> Table:
    """MPJPE and MPVPE, wrist rotation kept and removed, posterior mean and drawn z, mm."""
    found = evaluation["reconstruction"]
    rows = []
    for key, how in (("training_rotation", _turned(evaluation)), ("unrotated", "as they lie")):
        for z, name in (("posterior_mean", "posterior mean"), ("sampled_z", "drawn z")):
            row = found[key][z]
            if row is None:
                continue
            rows.append(
                (f"{how}, {name}", number(row["mpjpe_mm"]), number(row["mpvpe_mm"]),
                 number(row["mpjpe_wrist_removed_mm"]), number(row["mpvpe_wrist_removed_mm"]),
                 number(row["mpjpe_mm_of_pairs"]["p95"]), number(row["place_mm"]))
            )  # fmt: skip
    head = ("mm", "MPJPE", "MPVPE", "MPJPE, wrist rot. removed", "MPVPE, wrist rot. removed",
            "MPJPE, 95 % of pairs", "left hand's place")  # fmt: skip
    return Table(head, tuple(rows))


def sample_tables(evaluation: Figures) -> tuple[Table, ...]:
    """Plausibility, and likeness to the held-out pairs."""
    samples = evaluation["samples"]
    if samples is None:
        return ()
    sets = samples["sets"]
    names = [f"drawn, {name}" for name in sets]
    columns = [*(s["plausibility"] for s in sets.values()), samples["data"]]
    plausible = Table(("", *names, "the data"), plausible_rows(columns))
    likenesses = [*(s["likeness"] for s in sets.values()), samples["floor"]]
    return plausible, *_likeness_tables(names, likenesses)


def plausible_rows(columns: Sequence[Figures]) -> Rows:
    """How plausible sets of pairs are (`cli.draws.plausibility_figures`), a column each."""

    def row(label: str, show: Any, *path: str) -> tuple[str, ...]:
        return (label, *(show(_at(column, path)) for column in columns))

    def small(value: float | None) -> str:
        return number(value, 3)

    rows = (
        row("hands over a joint's limit by more than 1°", percent, "limit_violation",
            "over_1_deg"),
        row("largest excess of a hand, mean, degrees", number, "limit_violation", "mean_deg"),
        row("overlap over 0.01 cm³", percent, "penetration_cm3", "over_0_01"),
        row("overlap over 1 cm³", percent, "penetration_cm3", "over_1"),
        row("hands meet (within 5 mm), overlap at most 1 cm³", percent,
            "meet_without_overlap"),
        row("overlap, median, cm³", small, "penetration_cm3", "median"),
        row("overlap, mean, cm³", small, "penetration_cm3", "mean"),
        row("depth, mean, mm", number, "penetration_depth_mm"),
        row("hands apart, 95 %, mm", number, "apart_mm", "p95"),
        row("a hand in itself over 0.01 cm³", percent, "self_penetration_cm3", "over_0_01"),
        row("drawn points to the nearest hand, mean, mm", number, "fit_residual_mm", "mean"),
        row("hands that are none", lambda v: f"{v:,}", "hands_not_known"),
    )  # fmt: skip
    # What nothing in the table knows, such as an overlap of hands without a place, is left out.
    return tuple(r for r in rows if any(cell != UNKNOWN for cell in r[1:]))


def _likeness_tables(names: Sequence[str], columns: Sequence[Figures | None]) -> list[Table]:
    tables = []
    for kind, heading in (("pairs", "pairs"), ("hands", "single hands, one of each pair")):
        found = [None if c is None else c[kind] for c in columns]
        if all(f is None for f in found[:-1]):
            continue
        n = next(c["n"] for c in columns if c is not None)
        rows = [
            (label, *(UNKNOWN if f is None else show(f[key]) for f in found))
            for label, key, show in (
                ("coverage", "coverage", percent),
                ("density", "density", number),
                ("precision", "precision", percent),
                ("recall", "recall", percent),
                ("Fréchet distance, mm a joint", "frechet", number),
            )
        ]
        head = (f"{heading}, {n:,} of each", *names, "training pairs")
        tables.append(Table(head, tuple(rows)))
    return tables


def _turn_tables(evaluation: Figures) -> tuple[Table, ...]:
    found = evaluation["reconstruction"]
    tables: list[Table] = []
    if found["by_wrist_angle"]:
        rows: Rows = tuple(
            (f"{b['from_deg']:g}° to {b['to_deg']:g}°", f"{b['hands']:,}", number(b["mpjpe_mm"]),
             number(b["p95_mm"]), number(b["wrist_rotation_deg"]))
            for b in found["by_wrist_angle"]
        )  # fmt: skip
        head = ("wrist's angle", "hands", "MPJPE, mm", "95 %, mm", "wrist rotation, degrees")
        tables.append(Table(head, rows))
    if found["half_turn"]:
        across: Rows = tuple(
            (f"{row['angle_deg']:g}°", number(row["mpjpe_mm"]), number(row["codes_apart"]))
            for row in found["half_turn"]
        )
        across_head = ("half-way between codes 4° apart, at", "MPJPE of the right hand, mm",
                "distance of the codes")  # fmt: skip
        tables.append(Table(across_head, across))
    return tuple(tables)


def _turned(evaluation: Figures) -> str:
    turned = evaluation["reconstruction"]["rotation"] == "uniform"
    return "turned any way" if turned else "mirrored, not turned"


def _reconstruction_texts(evaluation: Figures) -> tuple[str, ...]:
    told = evaluation["reconstruction"]["definition"]
    return (
        f"Root: {told['root']}. Scale: {told['scale']}. Joints: {told['joints']}. Wrist rotation "
        f"removed: {told['wrist rotation removed']}.",
        f"Pairs are seen as training draws them ({_turned(evaluation)}) and as they lie in the "
        "dataset.",
    )


def _latent_texts(evaluation: Figures) -> tuple[str, ...]:
    latents = evaluation["latents"]
    told = f"{latents['active']} of {latents['latents']} latents are active (the posterior mean "
    told += f"varies over the pairs by more than {latents['active_threshold']:g})."
    if latents["kl_nats"] is None:
        return (told + " An AE has no posterior variance, so no divergence.",)
    return (f"{told} KL {latents['kl_nats']:.1f} nats, summed over the latents.",)


def _sample_texts(evaluation: Figures) -> tuple[str, ...]:
    samples = evaluation["samples"]
    if samples is None:
        return ("None were drawn.",)
    texts = [
        f"{samples['count']:,} pairs of each kind, judged on closed skins, beside the data of the "
        "split. Standard: latents of the standard normal; fitted: of a normal fitted to the "
        "training set's codes.",
        "Likeness is to the held-out pairs; the last column is its floor: as many training pairs "
        "against the same held-out pairs. A prior as good as data would reach it.",
    ]
    if not samples["placed"]:
        texts.append(
            "This prior does not know where the left hand is, so a draw is no interaction: hands "
            "are judged one by one, and only single hands are compared."
        )
    if samples["floor_reason"]:
        texts.append(f"No floor: {samples['floor_reason']}.")
    return tuple(texts)


def _keys(evaluation: Figures) -> list[tuple[str, str]]:
    mean = evaluation["reconstruction"]["training_rotation"]["posterior_mean"]
    latents = evaluation["latents"]
    keys = [
        (f"{mean['mpjpe_mm']:.2f} mm", "MPJPE, held out, wrist rotation kept"),
        (f"{latents['active']} of {latents['latents']}", "latents active"),
    ]
    if latents["kl_nats"] is not None:
        keys.append((f"{latents['kl_nats']:.0f} nats", "KL"))
    samples = evaluation["samples"]
    for name, found in (samples["sets"] if samples else {}).items():
        kind = "pairs" if samples["placed"] else "hands"
        if found["likeness"][kind]:
            share = percent(found["likeness"][kind]["coverage"])
            keys.append((share, f"coverage of {kind}, {name} latents"))
        keys.append(
            (percent(found["plausibility"]["limit_violation"]["over_1_deg"]),
             f"hands past a joint's limit, {name} latents")
        )  # fmt: skip
    return keys


def _at(value: Any, path: Sequence[str]) -> Any:
    for key in path:
        value = value[key]
    return value
