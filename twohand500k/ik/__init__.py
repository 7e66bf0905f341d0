"""Inverse kinematics: takes in, MANO parameters with a verdict per hand out."""

from twohand500k.ik.build import BuildOptions, BuildReport, TakeReport, build_takes, plan_takes
from twohand500k.ik.calibrate import Calibration
from twohand500k.ik.solver import Attachments, Settings, Solution, solve
from twohand500k.ik.verdict import Reason, Verdicts, judge

__all__ = [
    "Attachments",
    "BuildOptions",
    "BuildReport",
    "Calibration",
    "Reason",
    "Settings",
    "Solution",
    "TakeReport",
    "Verdicts",
    "build_takes",
    "judge",
    "plan_takes",
    "solve",
]
