"""`HandsInImage`: two hands as they were found in a picture."""

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class HandsInImage:
    """A right and a left hand before the camera of the whole picture; sides right, left.

    The camera's frame: x right, y down, z forward, metres. Pixels of the whole picture, the centre
    of the first at (0.5, 0.5); (u, v, 1) ~ K x.

    pose (2, 16, 3) axis-angle relative to the flat hand, entry 0 the orientation; betas (2, 10);
    transl (2, 3), added after posing: wrist = J0(betas) + transl. NaN where the network speaks of
    joints or skins: hands have to be fitted to them. joints (2, 21, 3) as its prior defines them;
    vertices (2, V, 3), None for a network of joints alone.

    tau (3,): wrist_left - wrist_right. K (3, 3); K_assumed: nobody gave it, so distances are no
    more than a guess. box (4,): x0, y0, x1, y1 px, the hands' place; box_from: "given", "found" by
    a first look at the whole picture, or "whole picture".

    peaks (2, 21, 2) px and peak_height (2, 21): where the heatmaps see the joints; 1 is the height
    of a perfect peak. uv (2, 21, 2) px: the placed joints, projected. off_px: the median distance
    between the two, weighed by the peaks. seen (2,): share of the view where that hand is what is
    seen, by the network; NaN without masks.
    """

    pose: Array
    betas: Array
    transl: Array
    joints: Array
    vertices: Array | None
    tau: Array
    K: Array
    K_assumed: bool
    box: Array
    box_from: str
    peaks: Array
    peak_height: Array
    uv: Array
    off_px: float
    seen: Array
