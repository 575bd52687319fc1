"""Ray casting: the host's side of `kernels_rays.cast_rays` and, for many rays, of `kernels_leap.cast_far`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodmem.spatial.octree import checks
from embodmem.spatial.octree.clearance import ClearanceMap

if TYPE_CHECKING:
    from embodmem.spatial.octree.octree import Octree

MANY_RAYS = 512
_EACH = 4096  # rays a CPU thread is given at once: its last ones leave lanes idle
_PARTS = 4  # pieces that a worker takes, so that one that was held up leaves some to the other


@dataclass(frozen=True)
class RaycastHits:
    """What rays met.

    Attributes:
        hit: (N,) bool, whether an occupied voxel was met within the range.
        distance_m: (N,) float64 to where the ray enters that voxel (0 if it starts inside); the range where none was.
        position: (N, 3) float64 in the world at that distance.
        crossed_unknown: (N,) bool, whether a voxel never observed was crossed on the way.
        voxel: (N, 3) int32 indices of that voxel, whose centre is (voxel + 0.5) * voxel_size_m in the world; -2**31
            where none was met.
    """

    hit: NDArray[np.bool_]
    distance_m: NDArray[np.float64]
    position: NDArray[np.float64]
    crossed_unknown: NDArray[np.bool_]
    voxel: NDArray[np.int32]


class RayCaster:
    """Casts rays into a map; keeps what makes many of them fast."""

    def __init__(self, octree: Octree) -> None:
        self._octree = octree
        self._clearance = ClearanceMap()

    @property
    def nbytes(self) -> int:
        """Bytes that are held beside the map."""
        return self._clearance.nbytes

    def clearance(self) -> Any:
        """What `kernels_clearance` reads, up to date; None for a map too wide for it. The caller holds the lock."""
        return self._clearance.prepared(self._octree, 1 << 40)

    def cast(self, origins: ArrayLike, directions: ArrayLike, max_range_m: float) -> RaycastHits:
        """See `Octree.raycast`."""
        octree = self._octree
        reach = checks.check_range(max_range_m, octree.config.voxel_size_m)
        start, along = (np.ascontiguousarray(x) if _is_rays(x) else None for x in (origins, directions))
        if start is not None and along is not None and len(start) == len(along) >= MANY_RAYS:
            with octree._lock:
                clearance = self._clearance.prepared(octree, len(start))
                found = None if clearance is None else self._cast_far(clearance, start, along, reach)
            if found is not None:
                return found
        return self._cast_near(origins, directions, reach)

    def _cast_far(
        self, clearance: Any, origins: NDArray[np.float64], directions: NDArray[np.float64], reach: float
    ) -> RaycastHits | None:
        """All hits; None if a ray is none, which the other way says in words."""
        import warp as wp

        from embodmem.spatial.octree import kernels_leap

        octree, n = self._octree, len(origins)
        launcher, size = octree._launcher, octree.config.voxel_size_m
        device = launcher.device
        rays = [wp.array(array, dtype=wp.vec3d, device=device, copy=False) for array in (origins, directions)]
        hits = kernels_leap.Hits()
        hits.state, hits.unknown, hits.distance_m, hits.position, hits.voxel = _results(n, device)
        limits = [wp.float64(size), wp.float64(reach), wp.float64(checks.reach_limit(size) / size)]
        each = min(_EACH, -(-n // launcher.workers)) if device.is_cpu else 1
        items = -(-n // each)
        parts = min(_PARTS, max(1, items // launcher.workers))
        launcher.share(kernels_leap.cast_far, items, 1, [clearance, *rays, *limits, each, hits], worth=2, parts=parts)
        state = hits.state.numpy()
        if state.max() == kernels_leap.BAD:
            return None
        return RaycastHits(
            hit=state.view(bool),
            distance_m=hits.distance_m.numpy(),
            position=hits.position.numpy(),
            crossed_unknown=hits.unknown.numpy().view(bool),
            voxel=hits.voxel.numpy(),
        )

    def _cast_near(self, origins: ArrayLike, directions: ArrayLike, reach: float) -> RaycastHits:
        import warp as wp

        from embodmem.spatial.octree import kernels_rays

        octree = self._octree
        size, device = octree.config.voxel_size_m, octree._launcher.device
        start = checks.check_points(origins, "origins")
        along = checks.check_directions(directions, len(start))
        checks.check_reach(start, size, "origins")
        n = len(start)
        rays = [wp.array(array, dtype=wp.vec3d, device=device) for array in (start, along)]
        hit, crossed, distance, _position, voxel = _results(n, device)
        limits = [wp.float64(size), wp.float64(reach / size), octree.config.log_odds_occupied]
        with octree._lock:
            inputs = [octree._pool.struct, *rays, *limits, hit, distance, crossed, voxel]
            octree._launcher.share(kernels_rays.cast_rays, n, 1, inputs, worth=512)
            found = hit.numpy().view(bool)
        metres = np.where(found, np.asarray(distance.numpy()) * size, reach)
        position = start + along * metres[:, None]
        return RaycastHits(found, metres, position, crossed.numpy().view(bool), voxel.numpy())


def _is_rays(values: ArrayLike) -> bool:
    return isinstance(values, np.ndarray) and values.dtype == np.float64 and values.ndim == 2 and values.shape[1] == 3


def _results(n: int, device: Any) -> list[Any]:
    """Empty arrays: hit, unknown crossed, distance, position, voxel."""
    import warp as wp

    kinds = (wp.uint8, wp.uint8, wp.float64, wp.vec3d, wp.vec3i)
    return [wp.empty(n, dtype=kind, device=device) for kind in kinds]
