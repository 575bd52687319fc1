"""The Euclidean distance field: how far every place is from the nearest obstacle, kept up to date."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from embodmem.errors import CapacityError, InvalidInput
from embodmem.planning.tensors import Batch, batch_of

if TYPE_CHECKING:
    from embodmem.spatial.octree import Octree

MAX_RADIUS_VOXELS = 120
"""An offset within the radius must fit in a byte."""


class FieldStats(NamedTuple):
    """How full a field is; `bytes` is reserved once."""

    bricks: int
    capacity_bricks: int
    bytes: int


class DistanceField:
    """Exact distances from the middles of voxels to the middle of the nearest obstacle, up to a radius.

    An obstacle is an occupied voxel, and with `unknown="occupied"` also one that nobody has seen. `update` brings
    the field up to date with the map; what comes out is, to the bit, what a new field would hold. Between updates the
    field stays as it is, whatever is written to the map. Queries take numpy arrays or torch tensors on the device of
    the map and answer in kind. Any thread may update or ask.

    A field belongs to one `Octree`, its attribute `octree`. A memory reads its map from the file again after a write
    that failed, or when another process wrote: where `field.octree is memory.spatial.octree` is false, make a new one.

    The method (`embodmem.planning.kernels_field`): squared distances axis by axis over windows of the radius, each
    layer kept and taken anew only where the one below it changed (after Felzenszwalb and Huttenlocher, Theory of
    Computing 2012; that a field is updated from the changed obstacles alone is Lau et al., Robotics and Autonomous
    Systems 2013, whose wave of nearest obstacles is not exact).

    Args:
        octree: The map.
        max_distance_m: The radius, metres: 1 to 120 voxels. What is farther is said to be as far as this.
        unknown: "free" or "occupied": what a planner takes unseen space for.
        capacity_bricks: Most bricks of 8x8x8 voxels that the field may hold, 4.7 KiB each. With unknown space free it
            needs those within the radius of an obstacle, else those that the map holds.

    Raises:
        InvalidInput: A setting is out of range.
        CapacityError: The map needs more bricks than that.
    """

    def __init__(
        self,
        octree: Octree,
        max_distance_m: float = 1.0,
        unknown: str = "free",
        capacity_bricks: int = 16384,
    ) -> None:
        size = octree.config.voxel_size_m
        if not size <= max_distance_m <= MAX_RADIUS_VOXELS * size:
            raise InvalidInput(
                f"max_distance_m: wanted 1 to {MAX_RADIUS_VOXELS} voxels of {size} m, got {max_distance_m} m"
            )
        if unknown not in ("free", "occupied"):
            raise InvalidInput(f"unknown: wanted 'free' or 'occupied', got {unknown!r}")
        if isinstance(capacity_bricks, bool) or not 1 <= capacity_bricks <= 1 << 22:
            raise InvalidInput(f"capacity_bricks: wanted 1 .. 2**22, got {capacity_bricks!r}")
        from embodmem.planning.update import FieldUpdater

        self.max_distance_m, self.unknown, self.voxel_size_m = float(max_distance_m), unknown, size
        self.octree = octree
        self._lock = threading.RLock()
        self._launcher = octree._launcher
        self._updater = FieldUpdater(octree, self.max_distance_m, unknown == "occupied", int(capacity_bricks))
        self._refusal: str | None = None
        self.update()

    def update(self) -> int:
        """Take in what changed in the map since the last update.

        Returns:
            In how many bricks distances were looked at anew; 0 where no obstacle came or went.

        Raises:
            CapacityError: The field is full. It answers nothing until an update succeeds.
        """
        with self._lock:
            if self._refusal is not None:
                self._updater.clear()
            touched = self._updater.update()
            if touched is None:  # full, perhaps of bricks that have no obstacle near them any more
                self._updater.clear()
                touched = self._updater.update()
            self._refusal = None
            if touched is None:
                self._refusal = (
                    f"distance field: wanted at most {self._updater.capacity} bricks (capacity_bricks), the map with "
                    f"a radius of {self.max_distance_m} m needs more"
                )
                raise CapacityError(self._refusal)
            return touched

    def distance(self, points: Any, interpolate: bool = False) -> Any:
        """(N,) float32 metres from points (N, 3) in the world to the nearest obstacle, at most `max_distance_m`.

        It is the distance of the voxel that holds the point: from its middle to the middle of the nearest obstacle,
        exact, and within sqrt(3)/2 voxels of that of the point itself. With `interpolate` it is the trilinear mean of
        the eight voxels around the point: continuous, exact at the middles of voxels, with the same bound elsewhere.

        Raises:
            InvalidInput: The points have another shape or are not finite.
            CapacityError: The last update failed.
        """
        import warp as wp

        from embodmem.planning import kernels_query as kernels

        batch = self._batch(points, "points")
        metres = wp.empty(batch.count, dtype=wp.float32, device=self._launcher.device)
        kernel = kernels.interpolate_distances if interpolate else kernels.read_distances
        self._ask(kernel, batch, [wp.float64(self.voxel_size_m), self._most, metres])
        return batch.back(metres)

    def nearest(self, points: Any) -> Any:
        """(N, 3) float64 middles of the obstacles nearest to the voxels of points (N, 3), metres; NaN where none is.

        Raises:
            InvalidInput: The points have another shape or are not finite.
            CapacityError: The last update failed.
        """
        return self._nearest(points)[0]

    def gradient(self, points: Any) -> Any:
        """(N, 3) float64 unit vectors at points (N, 3) away from the middle of the nearest obstacle, in the world.

        That is the gradient of the distance to that obstacle. It is zero beyond the radius, and in the very middle
        of an obstacle.

        Raises:
            InvalidInput: The points have another shape or are not finite.
            CapacityError: The last update failed.
        """
        return self._nearest(points)[1]

    def collides(self, centres: Any, radii: Any) -> Any:
        """(N,) bool, whether balls touch the cube of any obstacle: exact, not rounded to voxels.

        Args:
            centres: (N, 3) metres in the world.
            radii: (N,) or one number, metres, up to `max_distance_m`.

        Raises:
            InvalidInput: A shape is another, a number is not finite, or a radius is negative or above
                `max_distance_m`.
            CapacityError: The last update failed.
        """
        import warp as wp

        from embodmem.planning import kernels_query as kernels

        batch = self._batch(centres, "centres")
        wide = batch.numbers(radii, "radii", 0.0, self.max_distance_m)
        hit = wp.empty(batch.count, dtype=wp.uint8, device=self._launcher.device)
        self._ask(kernels.test_balls, batch, [wide, wp.float64(self.voxel_size_m), self._most, hit])
        return batch.truth(hit)

    def stats(self) -> FieldStats:
        """How full the field is."""
        with self._lock:
            updater = self._updater
            return FieldStats(updater.used, updater.capacity, updater.nbytes)

    @property
    def _most(self) -> Any:
        import warp as wp

        return wp.float64(self.max_distance_m / self.voxel_size_m)

    def _batch(self, points: Any, name: str) -> Batch:
        return batch_of(points, name, self._launcher.device)

    def _nearest(self, points: Any) -> tuple[Any, Any]:
        import warp as wp

        from embodmem.planning import kernels_query as kernels

        batch = self._batch(points, "points")
        found, away = (wp.empty(batch.count, dtype=wp.vec3d, device=self._launcher.device) for _ in range(2))
        self._ask(kernels.read_nearest, batch, [wp.float64(self.voxel_size_m), found, away])
        return batch.back(found), batch.back(away)

    def _ask(self, kernel: Any, batch: Batch, inputs: list[Any]) -> None:
        with self._lock:
            if self._refusal is not None:
                raise CapacityError(self._refusal)
            self._launcher.share(kernel, batch.count, 1, [self._updater.struct, batch.points, *inputs], worth=4096)
