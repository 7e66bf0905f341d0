"""A two-hand take the toolkit makes itself: choreography, sensor, and the C3D file they leave."""

from twohand500k.demo.sensor import Sensor
from twohand500k.demo.take import DemoTake, make_take

__all__ = ["DemoTake", "Sensor", "make_take"]
