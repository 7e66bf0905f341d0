"""The report's shaded pictures: repairs before and after, and the pairs at the top of the page.

In: scenes. Out: (height, width, 3 or 4) uint8 pictures with what is told of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from twohand500k.conventions import LEFT, RIGHT
from twohand500k.hand import HandPair
from twohand500k.hand.rotations import Array
from twohand500k.pictures import SKIN, Camera, Surface, draw_pair, pair_cameras, render_meshes
from twohand500k.report.scenes import Scene

TILE: Final = (300, 264)
_HERO: Final = (330, 360)


@dataclass(frozen=True, eq=False)
class Exhibit:
    """One sample of the gallery. tiles: (name, picture (height, width, 3) uint8), whole first."""

    scene: Scene
    tiles: tuple[tuple[str, np.ndarray], ...]

    @property
    def told(self) -> dict[str, Any]:
        return self.scene.facts


def exhibit(hands: HandPair, scene: Scene) -> Exhibit:
    """A pair drawn whole and close up, before and after its repair where it had one.

    Raises ValueError for a scene of one hand.
    """
    if not np.isfinite(scene.skins).all():
        raise ValueError("the gallery shows pairs")
    after = (scene.skins[RIGHT], scene.skins[LEFT])
    if scene.before is None:
        whole, close = pair_cameras(hands, [after], TILE[0] / TILE[1])
        shots = (("whole", after, whole), ("close up", after, close))
    else:
        before = (scene.before[RIGHT], scene.before[LEFT])
        whole, close = pair_cameras(hands, [before, after], TILE[0] / TILE[1])
        shots = (
            ("before", before, whole),
            ("after", after, whole),
            ("before, close up", before, close),
            ("after, close up", after, close),
        )  # type: ignore[assignment]
    return Exhibit(
        scene, tuple((name, draw_pair(hands, skins, camera, TILE)) for name, skins, camera in shots)
    )


def hero(hands: HandPair, scenes: Sequence[Scene]) -> np.ndarray:
    """Scenes side by side on nothing: (height, width, 4) uint8, to lie on paper of any colour.

    All at one scale, standing on their wrists.
    """
    tiles = [_cut_out(hands, scene.skins) for scene in scenes]
    return np.concatenate(tiles, axis=1)


def _cut_out(hands: HandPair, skins: Array) -> np.ndarray:
    surfaces = [
        Surface(skins[s], hands[s].faces, SKIN[s])
        for s in (RIGHT, LEFT)
        if np.isfinite(skins[s]).all()
    ]
    points = np.concatenate([surface.vertices for surface in surfaces])
    camera = Camera.framing(points, (0.0, 0.0, 1.0), aspect=_HERO[0] / _HERO[1], margin=1.02)
    return render_meshes(surfaces, camera, _HERO, background=None)
