"""One browser's view of a catalog: its widgets, its scene, where it stands.

In: viser's handle of one client (its `gui` and `scene`), a catalog, a studio. Every client has a
session of its own: two people who look at one server do not turn each other's pages. What is shown
is decided by `Walk`, `Figure` and `Shown`; here it is only handed to viser.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from twohand500k.conventions import JOINT_PARENTS, LEFT, N_JOINTS, RIGHT
from twohand500k.errors import DataError
from twohand500k.hand.contact_regions import REGIONS
from twohand500k.view import panel
from twohand500k.view.catalog import ANY, NUMBERS, Walk
from twohand500k.view.figure import UNIT, Figure, Mesh, State, Studio, View, joint_label, window

_SKIN: Final = ((230, 178, 152), (164, 116, 94))
_GHOST: Final = (128, 140, 158)
_BONES: Final = ((30, 96, 168), (20, 128, 96))
_BODIES: Final = ((236, 170, 60), (120, 160, 70))
_RED: Final = (226, 24, 30)
# A menu longer than this helps nobody; the box for a part of the name does.
_MENU = 400


@dataclass(frozen=True)
class Shown:
    """What is drawn of a sample. share: 0 before the repair, 1 after it, or between.

    opacity of the skins, which become glass about an overlap, and all over where bones or bodies
    inside them are asked for: what is inside is to be seen.
    """

    share: float = 1.0
    ghost: bool = False
    skin: bool = True
    bones: bool = False
    names: bool = False
    bodies: bool = False
    overlap: bool = True
    limits: bool = True
    opacity: float = 1.0


_GLASS: Final = 0.3
_SEE_THROUGH: Final = 0.45


class Session:
    """The widgets and the scene of one client, and the thread that plays takes for it."""

    def __init__(self, target: Any, walk: Walk, studio: Studio, rng: np.random.Generator) -> None:
        self.walk = walk
        self.shown = Shown()
        self.view: View | None = None
        self.figure: Figure | None = None
        self._target, self._studio, self._rng = target, studio, rng
        self._lock = threading.RLock()
        self._nodes: dict[str, Any] = {}
        self._framed = 0.0
        self._playing = threading.Event()
        self._closed = False
        self._light()
        self._widgets = _widgets(self)
        self.look()

    # What a widget, or a test, asks for

    def go(self, walk: Walk) -> None:
        """Stand elsewhere and show it."""
        with self._lock:
            if not self.walk.is_take_neighbour(walk):
                self.view = None
            self.walk = walk
            self.look()

    def ask(self, **changed: Any) -> None:
        """Ask another query, from fields of `Query`; a fault of it is said in the panel."""
        try:
            walk = self.walk.asking(replace(self.walk.query, **changed))
        except DataError as fault:
            self._widgets.status.content = f"**{fault}**"
            return
        self.go(walk)

    def jump(self, sample_id: str) -> None:
        """Show one sample by its id, or say that there is none."""
        try:
            self.go(self.walk.jump(sample_id))
        except DataError as fault:
            self._widgets.status.content = f"**{fault}**"

    def show(self, **changed: Any) -> None:
        """Draw more, or less, of the same sample: fields of `Shown`."""
        with self._lock:
            self.shown = replace(self.shown, **changed)
            self._draw()

    def play(self, on: bool, rate: float = 30.0) -> None:
        """Walk on `rate` samples a second until told otherwise; a take starts again at its end."""
        self._playing.clear()
        if on:
            self._playing = threading.Event()
            self._playing.set()
            threading.Thread(target=self._play, args=(self._playing, rate), daemon=True).start()

    def close(self) -> None:
        """Stop playing; the client is gone."""
        self._closed = True
        self._playing.clear()

    # What is shown

    def look(self) -> None:
        """Read the sample stood at and show it, and say where one stands."""
        walk, row = self.walk, self.walk.row
        self._widgets.say_where(walk)
        if row is None:
            self.figure = None
            self._clear()
            self._widgets.facts.content = panel.message_html("Nothing is found by this query.")
            return
        try:
            sample = walk.catalog.sample(row)
        except DataError as fault:
            self.figure = None
            self._clear()
            self._widgets.facts.content = panel.message_html(str(fault))
            return
        self.view = self.view or self._studio.view_of(sample)
        self.figure = self._studio.figure(sample, self.view)
        number, place = walk.catalog.place(row)
        dataset = walk.catalog.datasets[number]
        told = panel.facts(sample, dataset.path.resolve().name, place, len(dataset))
        marks = self._studio.marks(self.figure.after)
        self._widgets.facts.content = panel.table_html(told, marks)
        self._draw()
        if not self._playing.is_set():
            self.frame(only_if_needed=True)

    def frame(self, only_if_needed: bool = False) -> None:
        """Put the camera where it sees both hands, the ground under them."""
        if self.figure is None:
            return
        reach = self.figure.reach / UNIT
        if only_if_needed and 0.7 * self._framed <= reach <= 1.15 * self._framed:
            return
        self._framed = reach
        fov = np.radians(35.0)
        away = 1.08 * reach / np.sin(fov / 2)
        camera = getattr(self._target, "camera", None) or self._target.initial_camera
        with self._atomic():
            camera.fov = fov
            camera.position = away * np.array([0.12, -0.96, 0.26])
            camera.look_at = (0.0, 0.0, 0.0)
        floor = self._nodes.get("grid")
        if floor is not None:
            floor.position = (0.0, 0.0, self.figure.floor / UNIT - 0.15)

    def _draw(self) -> None:
        figure, shown = self.figure, self.shown
        if figure is None:
            return
        state = figure.at(shown.share)
        overlap = self._studio.overlap(state) if shown.overlap and all(figure.present) else None
        opacity = min(shown.opacity, _SEE_THROUGH if shown.bones or shown.names else 1.0)
        with self._atomic():
            for side in (RIGHT, LEFT):
                here = figure.present[side]
                skin = self._studio.skin(state, side) if here and shown.skin else None
                solid, glass = (None, None) if skin is None else window(skin, overlap)
                self._mesh(f"skin/{side}", solid, _SKIN[side], opacity)
                self._mesh(f"glass/{side}", glass, _SKIN[side], min(opacity, _GLASS))
                bodies = self._studio.bodies(state, side) if here and shown.bodies else None
                # On the skin as a net, by themselves as solid bodies.
                style = "net" if shown.skin else "flat"
                self._mesh(f"bodies/{side}", bodies, _BODIES[side], None, style)
                ghost = None
                if here and shown.ghost and figure.before is not None:
                    other = figure.before if shown.share >= 0.5 else figure.after
                    ghost = self._studio.skin(other, side)
                self._mesh(f"ghost/{side}", ghost, _GHOST, 0.3)
                self._bones(side, state if here else None)
            self._mesh("overlap", overlap, _RED, None)
            self._labels(state)

    def _mesh(
        self,
        name: str,
        mesh: Mesh | None,
        colour: tuple[int, int, int],
        opacity: float | None,
        style: str = "smooth",
    ) -> None:
        """Draw a mesh under a name, or nothing under it."""
        if mesh is None:
            self._drop(name)
            return
        solid = None if opacity is None or opacity >= 0.999 else opacity
        node = self._nodes.get(name)
        if (
            node is not None
            and node.vertices.shape == mesh.vertices.shape
            and np.array_equal(node.faces, mesh.faces)
            and node.opacity == solid
            and node.wireframe == (style == "net")
        ):
            node.vertices = mesh.vertices.astype(np.float32)
            return
        self._nodes[name] = self._target.scene.add_mesh_simple(
            f"/{name}",
            mesh.vertices,
            mesh.faces,
            color=colour,
            opacity=solid,
            wireframe=style == "net",
            flat_shading=style == "flat",
            cast_shadow=solid is None and style != "net",
            receive_shadow=0.25,
        )

    def _bones(self, side: int, state: State | None) -> None:
        lines, balls = f"bones/{side}", f"joints/{side}"
        if state is None or not self.shown.bones:
            self._drop(lines)
            self._drop(balls)
            return
        joints = state.joints[side] / UNIT
        ends = np.stack([joints[1:], joints[list(JOINT_PARENTS[1:])]], axis=1)
        scene = self._target.scene
        self._nodes[lines] = scene.add_line_segments(
            f"/{lines}", ends, _BONES[side], thickness=0.025
        )
        self._nodes[balls] = scene.add_point_cloud(
            f"/{balls}", joints, _BONES[side], point_size=0.03, point_shape="circle"
        )

    def _labels(self, state: State) -> None:
        """Names of the joints, and red balls where a joint is past its limit."""
        wanted: dict[str, tuple[str, np.ndarray]] = {}
        red: list[np.ndarray] = []
        if self.shown.names:
            for side, joint in np.ndindex(2, N_JOINTS):
                where = state.joints[side, joint]
                if np.isfinite(where).all():
                    wanted[f"names/{side}/{joint}"] = (joint_label(joint), where / UNIT)
        if self.shown.limits:
            for mark in self._studio.marks(state):
                where = state.joints[mark.side, mark.joint] / UNIT
                wanted[f"past/{mark.side}/{mark.joint}"] = (mark.text, where)
                red.append(where)
        for name in [n for n in self._nodes if n.startswith(("names/", "past/"))]:
            if name not in wanted:
                self._drop(name)
        for name, (text, where) in wanted.items():
            node = self._nodes.get(name)
            if node is not None and node.text == text:
                node.position = where
            else:
                self._nodes[name] = self._target.scene.add_label(
                    f"/{name}", text, position=where, font_screen_scale=0.75
                )
        if not red:
            self._drop("marks")
            return
        self._nodes["marks"] = self._target.scene.add_point_cloud(
            "/marks", np.array(red), _RED, point_size=0.14, point_shape="circle"
        )

    def _drop(self, name: str) -> None:
        node = self._nodes.pop(name, None)
        if node is not None:
            node.remove()

    def _clear(self) -> None:
        for name in [n for n in self._nodes if n != "grid"]:
            self._drop(name)

    @contextlib.contextmanager
    def _atomic(self) -> Iterator[None]:
        """What is changed inside arrives at the browser as one picture."""
        with self._target.atomic():
            yield

    def _light(self) -> None:
        """A key light from above and in front, a weak one from the other side, soft sky."""
        scene = self._target.scene
        scene.configure_default_lights(enabled=False)
        scene.configure_environment_map(hdri=None)
        scene.add_light_hemisphere(
            "/light/sky", sky_color=(255, 255, 255), ground_color=(176, 160, 150), intensity=1.5
        )
        scene.add_light_directional(
            "/light/key", intensity=2.0, cast_shadow=True, position=(-2.0, -4.0, 5.0)
        )
        scene.add_light_directional("/light/fill", intensity=0.7, position=(4.0, -2.0, 1.0))
        self._nodes["grid"] = scene.add_grid(
            "/grid",
            width=8.0,
            height=8.0,
            cell_size=0.1,
            section_size=1.0,
            cell_thickness=0.6,
            cell_color=(222, 226, 230),
            section_color=(190, 196, 202),
            fade_distance=14.0,
            position=(0.0, 0.0, -1.2),
            shadow_opacity=0.18,
        )

    def _play(self, going: threading.Event, rate: float) -> None:
        while going.is_set() and not self._closed:
            began = time.monotonic()
            with self._lock:
                onward = self.walk.step(1)
                if self.walk.rate() != 1.0 and not self.walk.is_take_neighbour(onward):
                    onward = self._take_start()
                self.go(onward)
            time.sleep(max(1.0 / rate - (time.monotonic() - began), 0.001))

    def _take_start(self) -> Walk:
        """The first of those found, from here back, that belong to the take stood in."""
        walk = self.walk
        while walk.at > 0 and walk.is_take_neighbour(walk.to(walk.at - 1)):
            walk = walk.to(walk.at - 1)
        return walk


@dataclass(frozen=True, eq=False)
class _Widgets:
    """The widgets that show what is so, beside those that only ask."""

    status: Any
    position: Any
    facts: Any
    rate: Any

    def say_where(self, walk: Walk) -> None:
        found, all_of_them = len(walk.found), len(walk.catalog)
        here = f"{walk.at + 1:,} of {found:,}" if found else "nothing found"
        of_all = "" if found == all_of_them else f" ({all_of_them:,} in all)"
        self.status.content = f"**{here}**{of_all}"
        self.position.max = max(found, 2)
        self.position.value = walk.at + 1


def _widgets(session: Session) -> _Widgets:
    """Build all widgets. Events that no client caused are our own echoes and are passed over."""
    gui = session._target.gui
    gui.configure_theme(control_width="large", show_logo=False, show_share_button=False)
    # Beside the picture: a floating panel hides a hand. Older visers float it all the same.
    if hasattr(gui, "main_panel"):
        gui.main_panel.dock_right()
    gui.set_panel_label("twohand view")
    catalog = session.walk.catalog

    def when(handle: Any, do: Callable[[Any], None], click: bool = False) -> Any:
        def react(event: Any) -> None:
            if event.client is not None or click:
                do(handle.value)

        (handle.on_click if click else handle.on_update)(react)
        return handle

    status = gui.add_markdown("")
    steps = gui.add_button_group("step", ("‹ previous", "next ›", "random"))

    def stepped(which: str) -> None:
        if which == "random":
            session.go(session.walk.random(session._rng))
        else:
            session.go(session.walk.step(1 if which.startswith("next") else -1))

    when(steps, stepped, click=True)
    position = gui.add_slider(
        "position", 1, max(len(session.walk.found), 2), 1, 1, hint="among what was found"
    )
    when(position, lambda at: session.go(session.walk.to(int(at) - 1)))
    tabs = gui.add_tab_group()
    with tabs.add_tab("Sample"):
        rate = _shown_widgets(session, gui, when)
        facts = gui.add_html("")
    with tabs.add_tab("Find"):
        _query_widgets(session, gui, when)
    reasons, listed = catalog.rejects()
    with tabs.add_tab(f"Rejects ({sum(reasons.values()):,})"):
        if reasons:
            menu = gui.add_dropdown("reason", (ANY, *sorted(reasons)))
            when(menu, lambda reason: _say_rejects(page, reasons, listed, reason))
        page = gui.add_html(panel.rejects_html(reasons, listed))
    return _Widgets(status, position, facts, rate)


def _say_rejects(page: Any, reasons: Any, listed: Any, reason: str) -> None:
    page.content = panel.rejects_html(reasons, listed, "" if reason == ANY else reason)


def _shown_widgets(session: Session, gui: Any, when: Callable[..., Any]) -> Any:
    """What is drawn, and playback; returns the rate's slider."""
    repaired = bool(np.isfinite(session.walk.catalog.numbers["volume_before_cm3"]).any())
    if repaired:
        share = gui.add_slider("before → after", 0.0, 1.0, 0.02, 1.0)
        when(share, lambda value: session.show(share=float(value)))
        ends = gui.add_button_group("state", ("before", "after", "both"))

        def state(which: str) -> None:
            share.value = 0.0 if which == "before" else 1.0
            session.show(share=share.value, ghost=which == "both")

        when(ends, state, click=True)
    with gui.add_folder("Draw", expand_by_default=True):
        for field, label in (
            ("skin", "skin"), ("overlap", "overlap, red"), ("bones", "joints and bones"),
            ("names", "joint names"), ("bodies", "collision bodies"),
            ("limits", "joints past limits"),
        ):  # fmt: skip
            box = gui.add_checkbox(label, getattr(session.shown, field))
            when(box, lambda value, field=field: session.show(**{field: bool(value)}))
        opacity = gui.add_slider("skin opacity", 0.1, 1.0, 0.05, 1.0)
        when(opacity, lambda value: session.show(opacity=float(value)))
        when(gui.add_button("frame the hands"), lambda _: session.frame(), click=True)
    with gui.add_folder("Play", expand_by_default=False):
        native = session.walk.rate()
        rate = gui.add_slider("samples a second", 1, 60, 1, int(np.clip(round(native), 1, 60)))
        play = gui.add_checkbox("play", False)
        when(play, lambda on: session.play(bool(on), float(rate.value)))
        when(rate, lambda value: session.play(bool(play.value), float(value)))
    return rate


def _query_widgets(session: Session, gui: Any, when: Callable[..., Any]) -> None:
    """All that `Query` can ask."""
    catalog, query = session.walk.catalog, session.walk.query
    wanted = gui.add_text("sample id", "", hint="all of it, or a part: the first that has it")
    go = gui.add_button("go to this sample")
    when(go, lambda _: session.jump(wanted.value) if wanted.value.strip() else None, click=True)
    where = gui.add_text("where", query.where, hint="as in `twohand select --where`")
    when(where, lambda text: session.ask(where=text))
    for kind in ("source", "split", "subject", "verdict"):
        names = catalog.names[kind].names
        if 1 < len(names) <= _MENU:
            menu = gui.add_dropdown(kind, (ANY, *names))
            when(menu, lambda name, kind=kind: session.ask(**{kind: name}))
    when(gui.add_text("take contains", ""), lambda text: session.ask(contains=text))
    between: dict[str, tuple[float, float]] = {}
    for name in ("volume_cm3", "volume_before_cm3", "depth_mm", "displacement_mm", "limit_deg"):
        values = catalog.numbers[name]
        known = values[np.isfinite(values)]
        if not len(known) or float(known.max()) <= 0:
            continue
        most = float(np.ceil(float(known.max()) * 100) / 100)
        ends = gui.add_multi_slider(NUMBERS[name][2], 0.0, most, most / 200, (0.0, most))

        def asked(value: tuple[float, ...], name: str = name, most: float = most) -> None:
            between[name] = (value[0], value[-1])
            if value[0] <= 0 and value[-1] >= most * 0.999:
                del between[name]  # the whole range asks nothing, not even to be known
            session.ask(between=tuple((n, a, b) for n, (a, b) in between.items()))

        when(ends, asked)
    kind = gui.add_dropdown("contact", ("realised", "intended"))
    when(kind, lambda value: session.ask(contact_kind=value))
    for side, word in ((RIGHT, "right at"), (LEFT, "left at")):
        region = gui.add_dropdown(word, (ANY, *REGIONS))

        def touched(value: str, side: int = side) -> None:
            contact = list(session.walk.query.contact)
            contact[side] = value
            session.ask(contact=tuple(contact))

        when(region, touched)
    labels = {label: name for name, (_, _, label) in NUMBERS.items()}
    order = gui.add_dropdown("sort by", ("as stored", *labels))
    when(order, lambda label: session.ask(order=labels.get(label, "")))
    falling = gui.add_checkbox("largest first", True)
    when(falling, lambda value: session.ask(descending=bool(value)))
