"""Penetration loss: how deep the skin of each hand lies inside the other's, with gradients.

A vertex is inside where the other hand's closed skin (the wrist capped) winds around it: the sum of
the solid angles of its faces (Jacobson et al. 2013), which knows no rays and no grid. Its depth is
the distance to the nearest point of that skin, sought on the faces about the nearest vertex; where
that point lies on its face is held fixed, which leaves the distance's gradient exact. Both hands
stand in metres in one frame: the published loss divides points by one hand's box and looks them up
in the other's.

Few vertices are worth the solid angles: those nearer than `_NEAR` to the other skin and not plainly
before it. Source of the idea: Jiang et al. 2020; Rong et al. 2021.
"""

import math

import numpy as np
import torch
from torch import Tensor

from interaction_prior.hands import HandLayer

# No vertex of a hand lies further inside another's skin (m), half the palm and some.
_NEAR = 0.03
# A vertex is plainly outside if it lies within this cosine of the nearest vertex's normal.
_PLAINLY = 0.5
# Points whose solid angles are summed at once.
_AT_ONCE = 2048


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
            _depths(right, left, layer.closed_faces[1]),
            _depths(left, right, layer.closed_faces[0]),
        ],
        dim=1,
    )


def _depths(points: Tensor, skin: Tensor, faces: Tensor) -> Tensor:
    """Depth (B, P) of points (B, P, 3) in closed skins (B, V, 3) of faces (F, 3)."""
    with torch.no_grad():
        pair, point, nearest = _suspects(points, skin, faces)
        inside = _winding(points[pair, point], skin, pair, faces) > 0.5
        pair, point, nearest = pair[inside], point[inside], nearest[inside]
        about = _faces_about(faces, skin.shape[1])[nearest]  # (S, n) faces, -1 beside the last
        corners = faces[about.clamp_min(0)]  # (S, n, 3)
        where = skin[pair[:, None, None], corners]
        share = _nearest_on_faces(points[pair, point], where)
        gap = (points[pair, point][:, None] - (share[..., None] * where).sum(-2)).norm(dim=-1)
        best = gap.masked_fill(about < 0, math.inf).argmin(dim=-1)
        rows = torch.arange(len(pair), device=points.device)
        corner, weight = corners[rows, best], share[rows, best]
    at = (weight[..., None] * skin[pair[:, None], corner]).sum(-2)
    depth = ((points[pair, point] - at).square().sum(-1) + 1e-16).sqrt()
    return points.new_zeros(points.shape[:2]).index_put((pair, point), depth)


def _suspects(points: Tensor, skin: Tensor, faces: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs, points and their nearest vertices of the points that may be inside."""
    distance, nearest = torch.cdist(points, skin).min(dim=-1)
    normals = _vertex_normals(skin, faces)
    rows = torch.arange(len(points), device=points.device)[:, None]
    away = ((points - skin[rows, nearest]) * normals[rows, nearest]).sum(-1)
    pair, point = torch.nonzero((distance < _NEAR) & (away < _PLAINLY * distance), as_tuple=True)
    return pair, point, nearest[pair, point]


def _vertex_normals(skin: Tensor, faces: Tensor) -> Tensor:
    """Unit normals (B, V, 3), by area."""
    a, b, c = skin[:, faces].unbind(-2)
    normal = torch.linalg.cross(b - a, c - a, dim=-1)
    total = torch.zeros_like(skin)
    for k in range(3):
        total.index_add_(1, faces[:, k], normal)
    return torch.nn.functional.normalize(total, dim=-1)


def _winding(points: Tensor, skin: Tensor, pair: Tensor, faces: Tensor) -> Tensor:
    """How often the skins (B, V, 3) wind around points (S, 3) of pairs (S,): (S,)."""
    found = [points.new_zeros(0)]
    for k in range(0, len(points), _AT_ONCE):
        p, which = points[k : k + _AT_ONCE], pair[k : k + _AT_ONCE]
        rays = skin[which] - p[:, None]
        length = rays.norm(dim=-1)
        a, b, c = (rays[:, faces[:, i]] for i in range(3))
        la, lb, lc = (length[:, faces[:, i]] for i in range(3))
        # van Oosterom and Strackee: tan(omega / 2).
        volume = (a * torch.linalg.cross(b, c, dim=-1)).sum(-1)
        below = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
        found.append(2.0 * torch.atan2(volume, below).sum(-1) / (4.0 * math.pi))
    return torch.cat(found)


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


def _faces_about(faces: Tensor, n: int) -> Tensor:
    """The faces about each vertex (n, most), -1 where a vertex has fewer."""
    rows: list[list[int]] = [[] for _ in range(n)]
    for number, face in enumerate(faces.tolist()):
        for vertex in face:
            rows[vertex].append(number)
    table = np.full((n, max(map(len, rows))), -1)
    for vertex, own in enumerate(rows):
        table[vertex, : len(own)] = own
    return torch.tensor(table, device=faces.device)
