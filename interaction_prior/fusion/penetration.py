"""Penetration loss: how deep the skin of each hand lies inside the other's, with gradients.

A vertex is inside where the nearest point of the other hand's closed skin (the wrist capped) is
seen from behind: exact for a skin that does not pass through itself, if among faces equally near
the one most squarely seen decides (Baerentzen and Aanaes 2005, on the sign at edges). Its depth is
the distance to that point, sought on the faces about the nearest vertex; where the point lies on
its face is held fixed, which leaves the distance's gradient exact. No grid, and both hands stand in
metres in one frame: the published loss divides points by one hand's box and looks them up in the
other's. Source of the idea: Jiang et al. 2020; Rong et al. 2021.

What is cheap comes first: a vertex inside lies in the other skin's box, and not plainly before its
nearest vertex. Few are left for the faces.
"""

import math

import torch
from torch import Tensor

from interaction_prior.hands import HandLayer

# No vertex of a hand lies further inside another's skin (m), half the palm and some.
_NEAR = 0.03
# A vertex is plainly outside if it lies within this cosine of the nearest vertex's normal.
_PLAINLY = 0.5
# Faces nearer than the nearest by less than this (m) are equally near: they meet in that point.
_SAME = 1e-6


def penetration_loss(skins: Tensor, tau: Tensor, layer: HandLayer) -> Tensor:
    """Mean over pairs of the mean depth, m, of the vertices of each hand in the other.

    skins (B, 2, V, 3) m, each hand from its own wrist; tau (B, 3), wrist_left - wrist_right.
    """
    return penetration_depths(skins, tau, layer).sum((-1, -2)).mean() / skins.shape[-2]


def penetration_depths(skins: Tensor, tau: Tensor, layer: HandLayer) -> Tensor:
    """How deep (B, 2, V) m each vertex lies in the other hand, 0 outside; float32 or as skins."""
    right, left = skins[:, 0], skins[:, 1] + tau[:, None].to(skins.dtype)
    return torch.stack(
        [
            depths_in(right, left, layer.closed_faces[1], layer.faces_about[1]),
            depths_in(left, right, layer.closed_faces[0], layer.faces_about[0]),
        ],
        dim=1,
    )


def depths_in(points: Tensor, skin: Tensor, faces: Tensor, faces_about: Tensor) -> Tensor:
    """Depth (B, P) of points (B, P, 3) in closed skins (B, V, 3) of faces (F, 3).

    faces_about (V, n): the faces about each vertex, -1 beside the last (`HandLayer`).
    """
    with torch.no_grad():
        pair, point, nearest = _suspects(points, skin, faces)
        about = faces_about[nearest]  # (S, n) faces, -1 beside the last
        corners = faces[about.clamp_min(0)]  # (S, n, 3)
        where = skin[pair[:, None, None], corners]
        share = _nearest_on_faces(points[pair, point], where)
        apart = points[pair, point][:, None] - (share[..., None] * where).sum(-2)
        gap = apart.norm(dim=-1).masked_fill(about < 0, math.inf)
        a, b, c = where.unbind(-2)
        normal = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a, dim=-1), dim=-1)
        height = (apart * normal).sum(-1)
        equal = gap <= gap.amin(-1, keepdim=True) + _SAME
        best = height.abs().masked_fill(~equal, -1.0).argmax(-1)
        rows = torch.arange(len(pair), device=points.device)
        inside = height[rows, best] < 0
        rows, best, pair, point = rows[inside], best[inside], pair[inside], point[inside]
        corner, weight = corners[rows, best], share[rows, best]
    at = (weight[..., None] * skin[pair[:, None], corner]).sum(-2)
    depth = ((points[pair, point] - at).square().sum(-1) + 1e-16).sqrt()
    return points.new_zeros(points.shape[:2]).index_put((pair, point), depth)


def _suspects(points: Tensor, skin: Tensor, faces: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs, points and their nearest vertices of the points that may be inside."""
    low, high = skin.amin(1, keepdim=True), skin.amax(1, keepdim=True)
    boxed = ((points >= low) & (points <= high)).all(-1)
    # Those in the box first, as many of each pair as the fullest has.
    most = int(boxed.sum(-1).max())
    order = boxed.to(torch.uint8).argsort(dim=-1, descending=True, stable=True)[:, :most]
    some = points.gather(1, order[..., None].expand(-1, -1, 3))
    # Squares alone, by a product: half a tenth of a millimetre is near enough to choose a vertex.
    middle = 0.5 * (low + high)
    x, y = some - middle, skin - middle
    square = torch.baddbmm(y.square().sum(-1)[:, None], x, y.transpose(1, 2), alpha=-2.0)
    nearest = square.argmin(-1)
    normals = _vertex_normals(skin, faces)
    rows = torch.arange(len(points), device=points.device)[:, None]
    apart = some - skin[rows, nearest]
    distance = apart.norm(dim=-1)
    away = (apart * normals[rows, nearest]).sum(-1)
    maybe = boxed.gather(1, order) & (distance < _NEAR) & (away < _PLAINLY * distance)
    pair, k = torch.nonzero(maybe, as_tuple=True)
    return pair, order[pair, k], nearest[pair, k]


def _vertex_normals(skin: Tensor, faces: Tensor) -> Tensor:
    """Unit normals (B, V, 3), by area."""
    a, b, c = skin[:, faces].unbind(-2)
    normal = torch.linalg.cross(b - a, c - a, dim=-1)
    total = torch.zeros_like(skin)
    for k in range(3):
        total.index_add_(1, faces[:, k], normal)
    return torch.nn.functional.normalize(total, dim=-1)


def _nearest_on_faces(points: Tensor, corners: Tensor) -> Tensor:
    """Barycentric shares (S, n, 3) of the nearest points on faces (S, n, 3, 3) to points (S, 3).

    Ericson, "Real-Time Collision Detection", 2005, section 5.1.5.
    """
    a, b, c = corners.unbind(-2)
    p = points[:, None]
    ab, ac, ap, bp, cp = b - a, c - a, p - a, p - b, p - c
    d1, d2 = (ab * ap).sum(-1), (ac * ap).sum(-1)
    d3, d4 = (ab * bp).sum(-1), (ac * bp).sum(-1)
    d5, d6 = (ab * cp).sum(-1), (ac * cp).sum(-1)
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    zero, one = torch.zeros_like(d1), torch.ones_like(d1)

    def part(n: Tensor, d: Tensor) -> Tensor:
        return n / torch.where(d.abs() < 1e-30, torch.full_like(d, 1e-30), d)

    v, w = part(vb, va + vb + vc), part(vc, va + vb + vc)
    share = torch.stack([1 - v - w, v, w], dim=-1)
    on_bc = part(d4 - d3, (d4 - d3) + (d5 - d6))
    on_ac, on_ab = part(d2, d2 - d6), part(d1, d1 - d3)
    cases = (
        ((va <= 0) & (d4 >= d3) & (d5 >= d6), (zero, 1 - on_bc, on_bc)),
        ((vb <= 0) & (d2 >= 0) & (d6 <= 0), (1 - on_ac, zero, on_ac)),
        ((vc <= 0) & (d1 >= 0) & (d3 <= 0), (1 - on_ab, on_ab, zero)),
        ((d6 >= 0) & (d5 <= d6), (zero, zero, one)),
        ((d3 >= 0) & (d4 <= d3), (zero, one, zero)),
        ((d1 <= 0) & (d2 <= 0), (one, zero, zero)),
    )
    # Corners are asked last: they win over edges, and edges over the face.
    for holds, shares in cases:
        share = torch.where(holds[..., None], torch.stack(shares, dim=-1), share)
    return share
