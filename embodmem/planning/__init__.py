"""What a planner asks of the map: how far obstacles are, what collides, where to explore, what way to take."""

from embodmem.planning.costmap import Costmap, height_slice, inflate
from embodmem.planning.field import DistanceField, FieldStats
from embodmem.planning.frontier import Frontiers, frontiers
from embodmem.planning.route import cost_to_go, find_route
from embodmem.planning.tensors import FieldTensors, OctreeTensors, as_torch

__all__ = [
    "Costmap",
    "DistanceField",
    "FieldStats",
    "FieldTensors",
    "Frontiers",
    "OctreeTensors",
    "as_torch",
    "cost_to_go",
    "find_route",
    "frontiers",
    "height_slice",
    "inflate",
]
