"""One pair repaired: what moved, by how much, and what became of it.

In: a `PairInput`, MANO parameters and the contact that was meant. Out: a `Repaired` with what the
judge said before and after. Guided steps first (`guided`); where they stall, restarts from states
drawn about the pair and scored in Bullet (`sampling`), the least moved of which is taken. A pair
that merely stands apart, or overlaps by less than can be seen, passes untouched, bit by bit.

A result is a function of (pair, random numbers, previous frame, options) alone: every pair has its
own `Problem`, Bullet's contacts do not depend on what it was asked before.
"""

from dataclasses import dataclass, replace
from types import TracebackType
from typing import Literal

import numpy as np

from twohand500k.conventions import LEFT, RIGHT
from twohand500k.hand import HandPair
from twohand500k.hand.measure import pair_displacement
from twohand500k.hand.rotations import Array, axis_angle_from_matrix, matrix_from_axis_angle
from twohand500k.physics.guided import (
    BEST,
    FAST,
    Bodies,
    Effort,
    Problem,
    Trace,
    guide,
    settle,
)
from twohand500k.physics.judge import Judge, Judgement
from twohand500k.physics.sampling import sample, spread
from twohand500k.physics.state import Pair, State
from twohand500k.physics.world import World

Method = Literal["guided", "sampling"]
Verdict = Literal["untouched", "repaired", "penetration_left", "self_penetration", "unjudgeable"]

# What is left alone: an overlap that nobody can see.
UNSEEN_VOLUME, UNSEEN_DEPTH = 1e-9, 2e-4
# What is refused after the repair (m3, m), and a hand that comes into itself by more (m3).
MOST_VOLUME, MOST_DEPTH, MOST_NEW_SELF = 1e-7, 2e-3, 2e-8
# What a repair aims at; above it a restart is tried.
_GOOD_VOLUME, _GOOD_DEPTH = 1e-8, 4.5e-4


@dataclass(frozen=True)
class RepairOptions:
    """method: guided, or the paper's plain sampling. effort: fast has fewer steps, no restarts."""

    method: Method = "guided"
    effort: Literal["fast", "best"] = "best"


@dataclass(frozen=True, eq=False)
class PairInput:
    """pose (2, 16, 3), betas (2, 10), transl (2, 3); intended: region ids right, left, or -1."""

    pose: Array
    betas: Array
    transl: Array
    intended: tuple[int, int] = (-1, -1)


@dataclass(frozen=True, eq=False)
class Repaired:
    """A pair after its repair.

    displacement (m): mean distance of the 42 joints from where they were, the pair's common rigid
    motion removed. evaluations: Bullet passes. during: pose and transl on the way, where asked for.
    """

    pose: Array
    transl: Array
    verdict: Verdict
    evaluations: int
    displacement: float
    before: Judgement
    after: Judgement
    during: tuple[tuple[Array, Array], ...] = ()
    start: State | None = None
    state: State | None = None

    @property
    def kept(self) -> bool:
        return self.verdict in ("untouched", "repaired")


@dataclass(frozen=True, eq=False)
class _Start:
    """What a pair was: its joints (2, 21, 3) and the judge's word."""

    joints: Array
    before: Judgement


class Repairer:
    """Repairs pairs of one hand model, one after another; holds a Bullet client."""

    def __init__(self, hands: HandPair, options: RepairOptions | None = None) -> None:
        self.options = options or RepairOptions()
        self.hands = hands
        self._judge = Judge.of(hands)
        self._bodies = Bodies.of(hands, World(hands))

    def __enter__(self) -> "Repairer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hand Bullet's memory back."""
        self._bodies.world.close()

    def repair(
        self,
        pair: PairInput,
        rng: np.random.Generator,
        previous: Repaired | None = None,
        record: bool = False,
    ) -> Repaired:
        """Repair one pair. previous: the frame before, repaired, whose correction is carried on.

        record keeps the states on the way. Nothing is drawn from rng where no sampling is needed.
        """
        joints, before = self._look(pair.pose, pair.betas, pair.transl)
        unmoved = Repaired(
            pair.pose, pair.transl, "untouched", 0, 0.0, before, before, _shown(pair) * record
        )
        if before.fault:
            return replace(unmoved, verdict="unjudgeable", displacement=np.nan)
        carried = previous is not None and previous.displacement > UNSEEN_DEPTH
        if before.volume <= UNSEEN_VOLUME and before.depth <= UNSEEN_DEPTH and not carried:
            return unmoved
        anatomies = self._bodies.anatomies
        body = Pair.of(self.hands, anatomies, pair.pose, pair.betas, pair.transl)
        problem = Problem.of(self._bodies, body, pair.intended, before.depth)
        trace = Trace(states=[] if record else None)
        start = body.start
        if previous is not None and previous.state is not None and previous.start is not None:
            start = _carried_on(body, previous.start, previous.state)
            problem = problem.with_pull(start)
        if self.options.method == "sampling":
            state = sample(problem, rng, trace)
        else:
            state = guide(problem, start, _EFFORT[self.options.effort], trace)
        begun = _Start(joints, before)
        outcome = self._outcome(begun, problem, state, trace)
        if self.options.method == "guided" and self.options.effort == "best":
            outcome = self._improved(begun, problem, rng, trace, outcome)
        return replace(outcome, evaluations=trace.evaluations)

    def _improved(
        self, start: _Start, problem: Problem, rng: np.random.Generator, trace: Trace,
        outcome: Repaired,
    ) -> Repaired:  # fmt: skip
        """The best of more attempts, while the first is not good enough."""
        best = self._polished(start, problem, trace, outcome)
        for _ in range(_RESTARTS):
            if best.kept:
                break
            for begin in spread(problem, rng, trace, _RESTART_DRAWS, _RESTART_KEPT):
                state = guide(problem, begin, _RESTART_EFFORT, trace)
                other = self._outcome(start, problem, state, trace)
                best = min(best, self._polished(start, problem, trace, other), key=_rank)
        return best

    def _polished(
        self, start: _Start, problem: Problem, trace: Trace, outcome: Repaired
    ) -> Repaired:
        """Steps on the skin with more room, for what is left between the skin's vertices."""
        last = outcome
        for clearance in _POLISH_CLEARANCES:
            if _is_good(outcome) or not outcome.kept or last.state is None:
                break
            state = settle(
                problem, last.state, 1, clearance, last.after.depth, trace, dense=True
            )  # fmt: skip
            last = self._outcome(start, problem, state, trace)
            outcome = min(outcome, last, key=_rank)
        return outcome

    def _outcome(self, start: _Start, problem: Problem, state: State, trace: Trace) -> Repaired:
        pose, transl = problem.pair.parameters(state)
        joints, after = self._look(pose, problem.pair.betas, transl)
        during = tuple(problem.pair.parameters(s) for s in trace.states or ())
        return Repaired(
            pose, transl, _verdict(start.before, after), trace.evaluations,
            pair_displacement(start.joints, joints), start.before, after, during,
            problem.pair.start, state,
        )  # fmt: skip

    def _look(self, pose: Array, betas: Array, transl: Array) -> tuple[Array, Judgement]:
        """Joints (2, 21, 3) of a pair, and what the judge says of it."""
        right, left = (
            self.hands[s].with_shape(betas[s]).with_pose(pose[s], transl[s]) for s in (RIGHT, LEFT)
        )
        judgement = self._judge.pair(right.vertices, left.vertices)
        return np.stack([right.joints, left.joints]), judgement


_EFFORT = {"fast": FAST, "best": BEST}
_RESTART_EFFORT = Effort(link_steps=10, skin_steps=8)
_RESTARTS, _RESTART_DRAWS, _RESTART_KEPT = 3, 16, 3
# Skins are left so far apart, one step after the other, metres.
_POLISH_CLEARANCES = (0.0003, 0.0003, 0.0006, 0.0006, 0.001, 0.001, 0.0015)


def _verdict(before: Judgement, after: Judgement) -> Verdict:
    if after.fault:
        return "unjudgeable"
    if after.volume > MOST_VOLUME or after.depth > MOST_DEPTH:
        return "penetration_left"
    if (after.self_volume - before.self_volume > MOST_NEW_SELF).any():
        return "self_penetration"
    return "repaired"


def _is_good(outcome: Repaired) -> bool:
    after = outcome.after
    return outcome.kept and after.volume <= _GOOD_VOLUME and after.depth <= _GOOD_DEPTH


def _rank(outcome: Repaired) -> tuple[int, float]:
    """Good before kept before refused; then the least moved, or the least overlap."""
    if _is_good(outcome):
        return 0, outcome.displacement
    if outcome.kept:
        return 1, outcome.displacement + outcome.after.depth
    return 2, outcome.after.volume if np.isfinite(outcome.after.volume) else np.inf


def _shown(pair: PairInput) -> tuple[tuple[Array, Array], ...]:
    return ((pair.pose, pair.transl),)


def _carried_on(body: Pair, start: State, state: State) -> State:
    """This pair's start moved as the frame before was moved from its own."""
    turn = state.R_world_wrist @ np.swapaxes(start.R_world_wrist, -1, -2)
    shift = state.wrist - start.wrist
    return State(
        matrix_from_axis_angle(axis_angle_from_matrix(turn)) @ body.start.R_world_wrist,
        body.start.wrist + shift,
        np.clip(body.start.angles + (state.angles - start.angles), body.low, body.high),
    )
