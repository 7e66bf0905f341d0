"""Which contacts of a pair a repair keeps.

In: the posed skins of a pair and the contact that was meant, if any. Out: pairs of regions, right
and left, that touch now and are to touch afterwards. Where the contact that was meant exists it is
the one; else the regions that touch or overlap a little, those with the most skin first. What
overlaps deeply is no contact but a fault, and where the skins come to lie is for the repair to say.
"""

import numpy as np

from twohand500k.conventions import LEFT, RIGHT
from twohand500k.hand.contact_regions import REGIONS
from twohand500k.hand.rotations import Array
from twohand500k.physics.skin import Skin, nearest_of_regions, touches

# Regions meant to touch do so within this: vertices of one are asked, so that what is read as 3 mm
# is 2 or less. Others touch within a millimetre, an overlap is shallow up to this depth, metres; so
# many contacts are kept.
TOUCHING, _NEAR, _SHALLOW, _MOST = 0.003, 0.001, 0.003, 4


def contacts_to_keep(
    models: tuple[Skin, Skin], skins: tuple[Array, Array], intended: tuple[int, int]
) -> tuple[tuple[int, int], ...]:
    """Region pairs (right, left) whose contact is kept. intended: regions right, left, or -1."""
    if min(intended) >= 0:
        nearest = np.inf
        for a, b in ((RIGHT, LEFT), (LEFT, RIGHT)):
            found = nearest_of_regions(
                models[a], skins[a], intended[a], models[b], skins[b], intended[b]
            )
            nearest = min(nearest, abs(found.gap[0]))
        if nearest <= TOUCHING:
            return (intended,)
    counts = np.zeros((len(REGIONS), len(REGIONS)), dtype=np.int64)
    for a, b in ((RIGHT, LEFT), (LEFT, RIGHT)):
        found = touches(models[a], skins[a], models[b], skins[b], _NEAR)
        shallow = found.gap > -_SHALLOW
        corner = np.argmax(found.weights[shallow], axis=1)
        face = models[b].faces[found.face[shallow]]
        mine = models[a].region[found.vertex[shallow]]
        theirs = models[b].region[face[np.arange(len(face)), corner]]
        np.add.at(counts, (mine, theirs) if a == RIGHT else (theirs, mine), 1)
    order = np.argsort(-counts, axis=None, kind="stable")[:_MOST]
    return tuple((int(k) // len(REGIONS), int(k) % len(REGIONS)) for k in order if counts.flat[k])
