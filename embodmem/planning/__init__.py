"""What a planner asks of the map: costs of places seen from above."""

from embodmem.planning.costmap import Costmap, height_slice, inflate

__all__ = ["Costmap", "height_slice", "inflate"]
