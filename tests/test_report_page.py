"""The report's page: complete, escaped, honest about what is not known; read in a real browser."""

import asyncio
import base64
import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from shards_fixture import build as build_synthetic

from twohand500k.cli.main import twohand
from twohand500k.errors import DataError
from twohand500k.hand import load_hands
from twohand500k.physics.stage import joints_of
from twohand500k.pipeline import Stats, UnitResult, run
from twohand500k.report import gallery, html
from twohand500k.report.run import ReportOptions, ReportSummary, Section, make_report
from twohand500k.shards import Reject, Samples

HOSTILE = '</script><img src=x onerror="document.title=1">&{{ 7 * 7 }}'
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SMALL = ReportOptions(gallery=1, shown=9, figures=False)
HANDS = load_hands("open")
N = 60


@dataclass(frozen=True)
class Drawn:
    """A unit of `Draw`: kind is repaired, unjudged or single."""

    kind: str
    inputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.kind


def draw(unit: Drawn) -> UnitResult:
    """N samples of two hands side by side, every string of theirs hostile."""
    rng = np.random.default_rng(5)
    pose = rng.normal(scale=0.2, size=(N, 2, 16, 3)).astype(np.float32)
    pose[:, :, 0] *= 0.3
    betas = np.zeros((N, 2, 10), np.float32)
    transl = np.zeros((N, 2, 3), np.float32)
    transl[:, 1, 0] = -0.05
    transl[:, 1, 1] = rng.uniform(0.0, 0.05, size=N)
    present = np.ones((N, 2), dtype=bool)
    if unit.kind == "single":
        present[:, 1] = False
        for array in (pose, betas, transl):
            array[:, 1] = np.nan
    joints = joints_of(HANDS, pose, betas, transl)
    samples = Samples(
        sample_id=np.array([f"{unit.kind}/{i:03d}" for i in range(N)]),
        pose=pose,
        betas=betas,
        transl=transl,
        joints=joints,
        present=present,
        source=np.full(N, f"source {HOSTILE}"),
        take=np.full(N, f"take {HOSTILE}"),
    )
    if unit.kind == "repaired":
        samples = replace(
            samples,
            penetration_volume=np.full(N, 1e-9),
            penetration_depth=np.full(N, 1e-4),
            contact_distance=np.zeros(N),
            contact_realised=np.full((N, 2), "index tip"),
            pose_before=pose,
            transl_before=transl + np.array([0, -0.01, 0], np.float32) * [[[0], [1]]],
            volume_before=np.full(N, 2e-6),
            depth_before=np.full(N, 3e-3),
            displacement=np.full(N, 2e-3),
            evaluations=np.full(N, 7),
            repair_verdict=np.full(N, "repaired"),
        )
    rejects = (Reject("x/1", f"source {HOSTILE}", f"why {HOSTILE}", "a fault"),)
    return UnitResult(samples, rejects, N + 1, Stats())


def dataset(folder: Path, kind: str) -> Path:
    run(
        draw, [Drawn(kind)], folder, name="build", options={"said": HOSTILE}, hands=HANDS,
        workers=1, progress=False, command=f"twohand build {HOSTILE}",
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    where = tmp_path_factory.mktemp("datasets")
    return {kind: dataset(where / kind, kind) for kind in ("repaired", "unjudged", "single")}


@pytest.fixture(scope="module", autouse=True)
def small_pictures() -> Iterator[None]:
    """Pictures take most of a report's time, and nobody looks at these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "TILE", (60, 52))
        patch.setattr(gallery, "_HERO", (60, 52))
        yield


@pytest.fixture(scope="module")
def whole(
    folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[ReportSummary, str]:
    """The report of all three and one more section."""
    out = tmp_path_factory.mktemp("report") / "out"
    section = Section(
        f"Findings {HOSTILE}",
        "A lead.",
        tables=[(("what", HOSTILE), [(HOSTILE, None), ("b", 1.5)])],
        pictures=[("a picture", np.zeros((8, 8, 3), np.uint8))],
    )
    summary = make_report(
        list(folders.values()),
        out,
        HANDS,
        replace(SMALL, title=f"T {HOSTILE}", figures=True),
        sections=[section],
    )
    return summary, (out / "index.html").read_text()


def _data(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_everything_is_written_and_the_numbers_are_the_pages(
    whole: tuple[ReportSummary, str],
) -> None:
    summary, text = whole
    assert {"index.html", "numbers.json", "map.npz", "figures/map.pdf", "figures/map.png",
            "figures/gallery.pdf", "figures/contacts.png"} <= set(summary.files)  # fmt: skip
    assert summary.page_bytes == len(text.encode()) < 15e6
    numbers = json.loads((summary.folder / "numbers.json").read_text())
    assert [d["samples"] for d in numbers["datasets"]] == [N] * 3 and summary.pairs == 2 * N
    assert Image.open(summary.folder / "figures" / "map.png").size[0] > 500
    assert not list(summary.folder.rglob(".*"))


def test_nothing_that_comes_from_data_is_markup(whole: tuple[ReportSummary, str]) -> None:
    text = whole[1]
    assert "<img src=x" not in text
    assert text.count("</script>") == 3  # data, mesh, script: none closed by a name
    assert "{{ 7 * 7 }}" in text  # a name is no template either
    assert _data(text)["map"]["sources"] == [f"source {HOSTILE}"]


def test_nothing_is_fetched(whole: tuple[ReportSummary, str]) -> None:
    text = whole[1]
    addresses = re.findall(r'(?:src|href)="([^"]{1,40})', text)
    assert addresses and all(a.startswith(("data:", "#")) for a in addresses)
    assert "default-src 'none'" in text and "http" not in html._read("style.css")


def test_what_is_not_known_is_said_and_never_zero(whole: tuple[ReportSummary, str]) -> None:
    text = re.sub(r"\s+", " ", whole[1])
    assert "No contact map of unjudged: the dataset was not judged" in text
    assert "No contact map of single: the dataset has no pairs of hands" in text
    assert "No diversity of single: 0 pairs of hands" in text
    assert "Not known of any dataset: " in text  # the fit residual
    scenes = _data(whole[1])["scenes"]
    of = {k: [s for s in scenes if s["dataset"] == k] for k in range(3)}
    assert of[0] and all(s["before"] and s["volume_before"] == 2 for s in of[0])
    assert of[1] and all(s["volume"] is None and not s["before"] for s in of[1])
    assert of[2] and all(s["present"] == [True, False] and s["point"] is None for s in of[2])


def test_the_viewers_vertices_are_the_posed_skins(
    whole: tuple[ReportSummary, str], folders: dict[str, Path]
) -> None:
    """Distances within a hand survive turning and rounding to levels."""
    text = whole[1]
    data = _data(text)
    packed = re.search(r'id="mesh">(.*?)</script>', text, re.S)
    assert packed is not None
    levels = np.frombuffer(base64.b64decode(packed[1]), "<u2").reshape(-1, 3)
    scene = data["scenes"][0]
    right = levels[scene["at"] :][:778] * scene["unit"]
    samples = draw(Drawn("repaired")).samples
    assert samples is not None
    row = int(np.flatnonzero(samples.sample_id == scene["id"])[0])
    skin = HANDS.right.with_shape(samples.betas[row, 0]).with_pose(samples.pose[row, 0]).vertices
    for a, b in ((0, 744), (320, 443), (10, 700)):
        expected = np.linalg.norm(skin[a] - skin[b])
        assert np.linalg.norm(right[a] - right[b]) == pytest.approx(expected, abs=3e-5)


def test_a_report_alone_of_single_hands_says_what_is_missing(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    summary = make_report([folders["single"]], tmp_path / "out", HANDS, SMALL)
    text = re.sub(r"\s+", " ", (tmp_path / "out/index.html").read_text())
    assert "No map: " in text and "No gallery: no dataset holds pairs of hands" in text
    assert "No comparison: one dataset was given" in text
    assert "map.npz" not in summary.files


def test_rerun_says_finished_another_option_writes_again_and_a_map_is_placed_on(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    out, few = tmp_path / "out", [folders["unjudged"]]
    options = replace(SMALL, gallery=0, shown=2)
    assert not make_report(few, out, HANDS, options).was_finished
    before = (out / "numbers.json").stat().st_mtime_ns
    assert make_report(few, out, HANDS, options).was_finished
    assert (out / "numbers.json").stat().st_mtime_ns == before
    text = (out / "index.html").read_text()
    make_report(few, tmp_path / "again", HANDS, options)
    assert (tmp_path / "again/index.html").read_text() == text  # same inputs, same page
    assert "No gallery was asked for" in text and "not judged" in text
    placed = make_report(few, out, HANDS, replace(options, map_from=out / "map.npz"))
    assert not placed.was_finished
    assert json.loads((out / "numbers.json").read_text())["map"]["n_placed"] == N


def test_what_is_no_dataset_is_refused_in_one_line(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    good = folders["unjudged"]
    (tmp_path / "nothing").mkdir()
    build_synthetic(tmp_path / "other", units=1)
    for given, out, options, what in (
        ([tmp_path / "nothing"], "o", SMALL, "not a dataset"),
        ([good, good], "o", SMALL, "given twice"),
        ([tmp_path / "other"], "o", SMALL, "hand model"),
        ([good], "other", SMALL, "folder of its own"),
        ([good], "o", replace(SMALL, names=("a", "b")), "names for"),
        ([good], "o", replace(SMALL, reference=tmp_path / "nothing"), "not a dataset"),
    ):
        with pytest.raises(DataError, match=what):
            make_report(given, tmp_path / out, HANDS, options)
        assert not (tmp_path / "o").exists()


def test_command_line(folders: dict[str, Path], tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    command = [
        "report",
        str(folders["single"]),
        "--out",
        out,
        "--shown",
        "2",
        "--no-figures",
        "--json",
    ]
    told = CliRunner().invoke(twohand, command)
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["samples"] == N
    again = CliRunner().invoke(twohand, command[:-1])
    assert "already finished" in again.stdout and "index.html" in again.stdout
    missing = CliRunner().invoke(twohand, ["report", str(tmp_path / "no"), "--out", out])
    assert missing.exit_code != 0


# In a browser


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_page_in_chromium(
    whole: tuple[ReportSummary, str], tmp_path: Path, width: int, scheme: str
) -> None:
    """No error, no request, nothing wider than the screen; map, viewer and slider work."""
    seen = asyncio.run(_browse(whole[0].folder / "index.html", tmp_path, width, scheme))
    assert seen["faults"] == []
    assert seen["scroll"] <= width
    assert seen["title"].startswith("T </script>")  # no name ran as a script
    assert seen["which"] == ["1 of", "2 of"]
    assert seen["map_inked"] > 100
    # The hands fill a good part of the view; before the repair some of it is red.
    assert 0.05 < seen["inked"][0] < 0.9
    assert seen["red"][1] > seen["red"][0]


# The view is read in the frame that paints it: its pixels are not kept.
_PIXELS = """(async () => {
  const c = document.getElementById("view-canvas"), s = document.getElementById("state");
  s.value = STATE; s.dispatchEvent(new Event("input"));
  const copy = document.createElement("canvas"); copy.width = c.width; copy.height = c.height;
  const b = copy.getContext("2d");
  await new Promise(r => requestAnimationFrame(() => { b.drawImage(c, 0, 0); r(); }));
  const p = b.getImageData(0, 0, c.width, c.height).data;
  let inked = 0, red = 0;
  for (let i = 0; i < p.length; i += 4) {
    if (p[i + 3] > 128) { inked++; if (p[i] > 2 * p[i + 1] && p[i] > 2 * p[i + 2]) red++; }
  }
  return [inked / (p.length / 4), red];
})()"""

# The map is painted in the next frame, and keeps its pixels.
_MAP_PIXELS = """(async () => {
  await new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)));
  const c = document.getElementById("map-canvas");
  const p = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
  let n = 0;
  for (let i = 3; i < p.length; i += 4) n += p[i] > 60;
  return n;
})()"""


async def _browse(page: Path, profile: Path, width: int, scheme: str) -> dict[str, Any]:
    import websockets

    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={profile / 'profile'}", "--remote-debugging-port=0", "--use-gl=angle",
        "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "about:blank",
    ]  # fmt: skip
    browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        where = profile / "profile" / "DevToolsActivePort"
        deadline = time.monotonic() + 40
        while not (where.is_file() and "\n" in where.read_text()):
            assert time.monotonic() < deadline, "Chromium did not start"
            time.sleep(0.1)
        port = where.read_text().split("\n")[0]
        tabs = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json"))
        address = next(t for t in tabs if t["type"] == "page")["webSocketDebuggerUrl"]
        async with websockets.connect(address, max_size=2**27) as socket:
            return await _look(_Tab(socket), page, width, scheme)
    finally:
        browser.terminate()
        browser.wait()


class _Tab:
    """A browser's tab, by its DevTools protocol."""

    def __init__(self, socket: Any) -> None:
        self.socket, self.events, self.number = socket, [], 0  # type: ignore[var-annotated]

    async def call(self, method: str, **parameters: Any) -> Any:
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        await self.socket.send(json.dumps(message))
        while True:
            reply = json.loads(await asyncio.wait_for(self.socket.recv(), 40))
            if reply.get("id") == self.number:
                return reply.get("result", reply)
            self.events.append(reply)

    async def js(self, expression: str) -> Any:
        told = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        return told["result"].get("value")

    def faults(self) -> list[str]:
        wrong = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
        found = [json.dumps(e) for e in self.events if e.get("method") in wrong]
        for event in self.events:
            if event.get("method") == "Network.requestWillBeSent":
                address = event["params"]["request"]["url"]
                if not address.startswith(("file:", "data:", "about:")):
                    found.append(address)
        return found


async def _look(tab: _Tab, page: Path, width: int, scheme: str) -> dict[str, Any]:
    for domain in ("Page", "Runtime", "Log", "Network"):
        await tab.call(f"{domain}.enable")
    await tab.call(
        "Emulation.setDeviceMetricsOverride", width=width, height=840, deviceScaleFactor=1,
        mobile=width < 600,
    )  # fmt: skip
    feature = {"name": "prefers-color-scheme", "value": scheme}
    await tab.call("Emulation.setEmulatedMedia", features=[feature])
    await tab.call("Page.navigate", url=page.as_uri())
    for _ in range(100):
        if await tab.js("document.readyState") == "complete":
            break
        await asyncio.sleep(0.1)
    await tab.js("document.getElementById('viewer').scrollIntoView({behavior: 'instant'})")
    which = "document.getElementById('which').textContent.slice(0, 4)"
    for _ in range(100):
        if first := await tab.js(which):
            break
        await asyncio.sleep(0.1)
    after = await tab.js(_PIXELS.replace("STATE", "100"))
    before = await tab.js(_PIXELS.replace("STATE", "0"))
    await tab.js("document.getElementById('next').click()")
    inked = await tab.js(_MAP_PIXELS)
    return {
        "faults": tab.faults(),
        "scroll": await tab.js("document.documentElement.scrollWidth"),
        "title": await tab.js("document.title"),
        "which": [first, await tab.js(which)],
        "map_inked": inked,
        "inked": [after[0], before[0]],
        "red": [after[1], before[1]],
    }
