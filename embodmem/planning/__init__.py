"""What a planner asks of the map: how far obstacles are, what collides, and what driving over a place costs."""

from embodmem.planning.costmap import Costmap, height_slice, inflate
from embodmem.planning.field import DistanceField, FieldStats

__all__ = ["Costmap", "DistanceField", "FieldStats", "height_slice", "inflate"]
