"""Between numpy, torch and Warp, without a copy where memory can be shared."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from embodmem.errors import InvalidInput, MissingDependency
from embodmem.planning.costmap import Costmap
from embodmem.spatial.octree.checks import check_points

if TYPE_CHECKING:
    import torch

    from embodmem.planning.field import DistanceField
    from embodmem.spatial.octree import Octree


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Points on the device of the map, and the way back to what they came as.

    Attributes:
        points: Warp array (N,) of vec3d.
        count: N.
        device: Warp's device.
        torch: The torch module where they came as a tensor, else None.
    """

    points: Any
    count: int
    device: Any
    torch: Any

    def back(self, values: Any) -> Any:
        """A Warp array as the caller's kind."""
        import warp as wp

        return values.numpy() if self.torch is None else wp.to_torch(values)

    def truth(self, values: Any) -> Any:
        """A Warp array of 0 and 1 as bool of the caller's kind."""
        found = self.back(values)
        return found.astype(bool) if self.torch is None else found.bool()

    def numbers(self, values: Any, name: str, low: float, high: float) -> Any:
        """One number for each point, or one for all, as a Warp array (N,) of float64.

        Raises:
            InvalidInput: Another shape, or a number outside low .. high.
        """
        import warp as wp

        if self.torch is not None and isinstance(values, self.torch.Tensor):
            wide = values.to(self.torch.float64).expand(self.count) if values.ndim == 0 else values.double()
            good = wide.shape == (self.count,) and bool(((wide >= low) & (wide <= high)).all())
            if good and str(wide.device) != str(self.torch.device(wp.device_to_torch(self.device))):
                raise InvalidInput(f"{name}: wanted a tensor on {self.device}, got one on {wide.device}")
        else:
            wide = np.asarray(values, dtype=np.float64)
            wide = np.broadcast_to(wide, (self.count,)) if wide.ndim == 0 else wide
            good = wide.shape == (self.count,) and bool(((wide >= low) & (wide <= high)).all())
        if not good:
            raise InvalidInput(
                f"{name}: wanted one number or ({self.count},) in {low} .. {high}, got shape {tuple(wide.shape)}"
                + (f" from {float(wide.min())} to {float(wide.max())}" if 0 not in wide.shape else "")
            )
        if isinstance(wide, np.ndarray):
            return wp.array(np.ascontiguousarray(wide), dtype=wp.float64, device=self.device, copy=False)
        return wp.from_torch(wide.contiguous(), dtype=wp.float64)


def batch_of(points: Any, name: str, device: Any) -> Batch:
    """Points (N, 3) of numpy or torch, checked; float64 ones on the device are used where they lie.

    Raises:
        InvalidInput: Another shape, a number that is not finite, or a tensor on another device.
    """
    import warp as wp

    torch = sys.modules.get("torch")
    if torch is not None and isinstance(points, torch.Tensor):
        if points.ndim != 2 or points.shape[1] != 3 or not points.is_floating_point():
            raise InvalidInput(f"{name}: wanted floats (N, 3), got shape {tuple(points.shape)} {points.dtype}")
        if str(points.device) != str(torch.device(wp.device_to_torch(device))):
            raise InvalidInput(f"{name}: wanted a tensor on {device}, where the map is, got one on {points.device}")
        if not bool(torch.isfinite(points).all()):
            raise InvalidInput(f"{name}: wanted finite numbers, got NaN or infinity")
        whole = points.detach().to(torch.float64).contiguous()
        return Batch(wp.from_torch(whole, dtype=wp.vec3d), len(whole), device, torch)
    array = check_points(points, name)
    return Batch(wp.array(array, dtype=wp.vec3d, device=device, copy=False), len(array), device, None)


class FieldTensors(NamedTuple):
    """The memory of a distance field as torch tensors; B bricks are in use.

    Attributes:
        keys: (B,) int64, see `embodmem.spatial.octree.keys`.
        packed: (B, 512) int32; voxel (x, y, z) of a brick is at (z * 8 + y) * 8 + x. `packed >> 8` is the squared
            distance in voxels, 2**21 beyond the radius.
    """

    keys: torch.Tensor
    packed: torch.Tensor


class OctreeTensors(NamedTuple):
    """The memory of an octree as torch tensors; B bricks are in use, K blocks are there.

    Attributes:
        keys: (B,) int64, see `embodmem.spatial.octree.keys`.
        block: (B,) int32 row of `log_odds` that holds a brick's voxels; -1 where all of them are alike.
        value: (B,) float32 log-odds of each voxel of a brick that has no block; NaN = never observed.
        log_odds: (K, 512) float32; voxel (x, y, z) of a brick is at (z * 8 + y) * 8 + x.
    """

    keys: torch.Tensor
    block: torch.Tensor
    value: torch.Tensor
    log_odds: torch.Tensor


def as_torch(source: Octree | DistanceField | Costmap) -> Any:
    """Views in torch of what a map, a field or a costmap holds: the same memory on the same device, no copy.

    Views of a map or a field change with the next write or `update`, which may also put bricks into other places:
    ask again after it, let no other thread write meanwhile, and do not write to them. (What many points ask of a
    field takes tensors itself: `DistanceField.distance`.)

    Returns:
        `OctreeTensors` of an octree, `FieldTensors` of a field; of a costmap its cells (H, W) int8.

    Raises:
        InvalidInput: It is none of the three.
        MissingDependency: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingDependency("torch", "policies", "as_torch") from error
    import warp as wp

    from embodmem.planning.field import DistanceField
    from embodmem.spatial.octree import Octree

    if isinstance(source, Costmap):
        return torch.from_numpy(source.cells)
    if isinstance(source, Octree):
        with source._lock:
            pool, used = source._pool.struct, source._pool.used
            keys, block, value = (wp.to_torch(array)[:used] for array in (pool.keys, pool.block, pool.value))
            return OctreeTensors(keys, block, value, wp.to_torch(pool.log_odds))
    if not isinstance(source, DistanceField):
        raise InvalidInput(f"as_torch: wanted an Octree, a DistanceField or a Costmap, got {type(source).__name__}")
    with source._lock:
        field, used = source._updater.struct, source._updater.used
        keys, rows = wp.to_torch(field.keys), wp.to_torch(field.layer_z)
        return FieldTensors(keys[:used], rows.view(len(keys), 512)[:used])
