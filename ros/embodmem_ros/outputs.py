"""What the memory gives out to ROS: map, grid, markers, as nested plain values (see `messages`)."""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embodmem.embodied import EmbodiedMemory
from embodmem.errors import InvalidInput
from embodmem.planning.costmap import height_slice
from embodmem.spatial.octree.files import binary_stream
from embodmem.types import Recall
from embodmem_ros.messages import Plain, header, time_from_ns

if TYPE_CHECKING:
    from embodmem.spatial.octree import Octree

_MARKER_ADD, _MARKER_DELETEALL, _MARKER_CUBE, _MARKER_TEXT = 0, 3, 1, 9


def octomap(octree: Octree, stamp_ns: int, frame: str) -> Plain:
    """octomap_msgs/Octomap, binary, of the whole map.

    Raises:
        InvalidInput: The map is larger than OctoMap can address.
    """
    bricks = octree.bricks()
    limit = octree.config.log_odds_occupied
    stream = binary_stream(bricks.keys, bricks.log_odds > limit, bricks.log_odds <= limit)
    return {
        "header": header(stamp_ns, frame),
        "binary": True,
        "id": "OcTree",
        "resolution": octree.config.voxel_size_m,
        "data": stream,
    }


def grid(octree: Octree, z_min_m: float, z_max_m: float, stamp_ns: int, frame: str) -> Plain | None:
    """nav_msgs/OccupancyGrid: 100 where a voxel between two heights is occupied, 0 where one is free, else -1.

    Args:
        octree: The map.
        z_min_m: Lower end, metres in the world; a voxel counts when its middle lies between the two.
        z_max_m: Upper end.
        stamp_ns: Its stamp, ns.
        frame: The world frame.

    Returns:
        The message; None while nothing was observed between these heights, or when it would have more than
        `embodmem.planning.costmap.MAX_CELLS` cells.
    """
    try:
        plan = height_slice(octree, z_min_m, z_max_m)
    except InvalidInput:  # too large a map
        return None
    if not plan.cells.size:
        return None
    height, width = plan.cells.shape
    x, y = plan.origin.tolist()
    return {
        "header": header(stamp_ns, frame),
        "info": {
            "map_load_time": time_from_ns(stamp_ns),
            "resolution": plan.resolution_m,
            "width": width,
            "height": height,
            "origin": {
                "position": {"x": x, "y": y, "z": 0.0},
                "orientation": {"x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0},
            },
        },
        "data": plan.cells.tobytes(),
    }


def markers(objects: Sequence[Recall], stamp_ns: int, frame: str) -> Plain:
    """visualization_msgs/MarkerArray: a box and a label for each object, in place of those before."""
    clear = {"header": header(stamp_ns, frame), "action": _MARKER_DELETEALL, "pose": {"orientation": {"w": 1.0}}}
    made: list[Plain] = [clear]
    for item in objects:
        assert item.position is not None
        extent = np.maximum(np.asarray(item.data["extent"], dtype=np.float64), 0.02)
        number = int(item.id.rpartition(":")[2])
        red, green, blue = colorsys.hsv_to_rgb(zlib.crc32(item.label.encode()) / 2**32, 0.7, 0.9)
        box = _marker(_MARKER_CUBE, "objects", number, item.position, stamp_ns, frame)
        box |= {"scale": dict(zip("xyz", extent.tolist(), strict=True))}
        box |= {"color": {"r": red, "g": green, "b": blue, "a": 0.5}}
        above = item.position + (0.0, 0.0, extent[2] / 2 + 0.08)
        words = _marker(_MARKER_TEXT, "labels", number, above, stamp_ns, frame)
        words |= {"scale": {"x": 0.0, "y": 0.0, "z": 0.1}, "color": {"r": 1.0, "g": 1.0, "b": 1.0, "a": 1.0}}
        words |= {"text": item.label}
        made += [box, words]
    return {"markers": made}


def _marker(kind: int, namespace: str, number: int, place: NDArray[Any], stamp_ns: int, frame: str) -> Plain:
    position = dict(zip("xyz", map(float, place), strict=True))
    return {
        "header": header(stamp_ns, frame),
        "ns": namespace,
        "id": number,
        "type": kind,
        "action": _MARKER_ADD,
        "pose": {"position": position, "orientation": {"x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0}},
    }


def diagnostics(name: str, memory: EmbodiedMemory, counters: dict[str, int], lost: int, stamp_ns: int) -> Plain:
    """diagnostic_msgs/DiagnosticArray: a warning when views were lost, else all is well."""
    records = ", ".join(f"{n} {kind}s" for kind, n in memory.counts().items()) or "nothing"
    status = {
        "level": 1 if lost else 0,
        "name": f"{name}: memory",
        "message": f"{lost} views lost; holds {records}" if lost else f"holds {records}",
        "hardware_id": str(memory.store.path),
        "values": [{"key": key, "value": str(value)} for key, value in counters.items()],
    }
    return {"header": header(stamp_ns, ""), "status": [status]}
