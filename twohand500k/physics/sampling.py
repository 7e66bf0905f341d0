"""Sampling in Bullet: draws of pose and placement, scored by how links overlap and what moved.

`sample` is the paper's scheme (section 3.4, after Huang et al., Neural MoCon, CVPR 2022): a normal
distribution about the input, refined over rounds towards its best draws (the cross-entropy method,
Rubinstein, Kroese, 2004). `spread` draws about a repair that has stalled, a finger trapped on the
wrong side of another, and returns the draws from which the guided steps may find a way out.
"""

import numpy as np

from twohand500k.hand.rotations import Array
from twohand500k.physics._kernels import DOF
from twohand500k.physics.guided import Problem, Trace, link_contacts
from twohand500k.physics.state import State
from twohand500k.physics.world import Contacts

# A side and two links of its hand.
Links = tuple[int, int, int]
# The paper's scheme: draws a round, rounds, the share of draws that the next round learns from.
DRAWS, ROUNDS, _ELITE = 24, 14, 0.25
# Links that overlap by this much are skins that touch, metres: both have Bullet's margin of a
# millimetre, and bulge where skin is hollow.
_ROUNDER = 0.002
# What a draw's overlap costs against a joint's movement: metres of mean movement a metre of depth.
_OVERLAP_COST = 3.0
# Spread of the first round: wrist (m), its rotation (rad), flexion, abduction, twist (rad).
_WRIST, _TURN, _ANGLES = 0.006, 0.08, (0.12, 0.04, 0.0)
# No smaller spread than this share of the first, so that a round can still find a way.
_LEAST_SPREAD = 0.05
# How far apart the hands of a restart are drawn, metres, and how far its fingers open.
_APART, _OPENING = (0.0, 0.05), 0.6


def overlap(problem: Problem, state: State, own_before: dict[Links, float], trace: Trace) -> float:
    """How far (m) links reach into each other, summed over pairs of links: those of two hands, and
    those of one hand beyond what the input had. Links are rounder than skin by `_ROUNDER`."""
    contacts = link_contacts(problem, state, 0.0, own=True)
    trace.evaluations += 1
    depth = -contacts.gap - _ROUNDER
    for i, key in _own(contacts):
        depth[i] -= own_before.get(key, 0.0)
    return float(np.maximum(depth, 0.0).sum())


def own_overlaps(problem: Problem) -> dict[Links, float]:
    """How far (m) links of one hand reach into each other in the input, by side and links."""
    contacts = link_contacts(problem, problem.pair.start, 0.0, own=True)
    depths: dict[Links, float] = {}
    for i, key in _own(contacts):
        depths[key] = max(depths.get(key, 0.0), -float(contacts.gap[i]))
    return depths


def _own(contacts: Contacts) -> list[tuple[int, Links]]:
    return [
        (int(i), (int(contacts.side_a[i]), int(contacts.link_a[i]), int(contacts.link_b[i])))
        for i in np.flatnonzero(contacts.side_a == contacts.side_b)
    ]


def sample(
    problem: Problem,
    rng: np.random.Generator,
    trace: Trace,
    draws: int = DRAWS,
    rounds: int = ROUNDS,
) -> State:
    """Plain sampling: the best of rounds x draws states about the pair's own."""
    pair = problem.pair
    own = own_overlaps(problem)
    first = _first_spread()
    mean, sigma = np.zeros(2 * DOF), first
    best, best_cost = pair.start, _cost(problem, pair.start, own, trace)
    trace.passed(best)
    for _ in range(rounds):
        steps = mean + sigma * rng.standard_normal((draws, 2 * DOF))
        # The middle itself is a draw: nothing is lost by drawing on.
        steps[0] = mean
        costs = np.empty(draws)
        for k in range(draws):
            state = pair.start.moved(steps[k], pair.low, pair.high)
            costs[k] = _cost(problem, state, own, trace)
            if costs[k] < best_cost:
                best, best_cost = state, costs[k]
        elite = steps[np.argsort(costs, kind="stable")[: max(2, round(_ELITE * draws))]]
        mean = elite.mean(axis=0)
        sigma = np.maximum(elite.std(axis=0), _LEAST_SPREAD * first)
        trace.passed(best)
    return best


def spread(
    problem: Problem, rng: np.random.Generator, trace: Trace, draws: int, keep: int
) -> list[State]:
    """Of `draws` states, hands drawn apart and fingers opened at random, the `keep` cheapest.

    They are meant to begin from: what they cost in movement is taken back by the guided steps.
    """
    pair, own = problem.pair, own_overlaps(problem)
    states, costs = [], np.empty(draws)
    for k in range(draws):
        step = np.zeros((2, DOF))
        direction = rng.standard_normal(3)
        direction /= np.linalg.norm(direction)
        apart = rng.uniform(*_APART)
        turn = 0.25 * rng.standard_normal(3)
        step[0, :3], step[1, :3] = 0.5 * apart * direction, -0.5 * apart * direction
        step[0, 3:6], step[1, 3:6] = 0.5 * turn, -0.5 * turn
        opened = pair.start.angles.copy()
        # Fingers open together or by themselves, towards straight.
        share = _OPENING * rng.uniform(0.0, 1.0, (2, 5)) * rng.integers(0, 2, (2, 1))
        opened *= 1.0 - np.repeat(share, 3, axis=1)[..., None]
        start = State(pair.start.R_world_wrist, pair.start.wrist, opened)
        states.append(start.moved(step.ravel(), pair.low, pair.high))
        costs[k] = _cost(problem, states[k], own, trace)
    return [states[k] for k in np.argsort(costs, kind="stable")[:keep]]


def _cost(problem: Problem, state: State, own: dict[Links, float], trace: Trace) -> float:
    return problem.moved(state) + _OVERLAP_COST * overlap(problem, state, own, trace)


def _first_spread() -> Array:
    one = np.concatenate([np.full(3, _WRIST), np.full(3, _TURN), np.tile(_ANGLES, 15)])
    return np.tile(one, 2)
