"""The surface of what is occupied: as points with normals, and as a mesh of triangles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodmem.spatial.octree import runtime
from embodmem.spatial.octree.gather import brick_keys, gather
from embodmem.spatial.octree.keys import BRICK_EDGE, BRICK_LIMIT, pack_keys, unpack_keys
from embodmem.spatial.octree.paint import VoxelColours

if TYPE_CHECKING:
    from embodmem.spatial.octree.octree import Octree

__all__ = ["GREY", "SurfacePoints", "TriangleMesh", "in_grey", "surface_mesh", "surface_points"]

_BLOCK = 8
"""Bricks along the edge of a block that is meshed at once: 65**3 values."""
_NUDGE = 1e-3
GREY = 128
"""What stands for the colour of a voxel that has none."""


class SurfacePoints(NamedTuple):
    """Voxels of the surface.

    Attributes:
        points: (N, 3) float64 centres in the world, metres.
        normals: (N, 3) float32 unit vectors towards the free side.
        colours: (N, 3) uint8, `GREY` where a voxel has none; None where the map keeps none.
        labels: (N,) uint16, 0 where a voxel has none; None where the map keeps none.
    """

    points: NDArray[np.float64]
    normals: NDArray[np.float32]
    colours: NDArray[np.uint8] | None = None
    labels: NDArray[np.uint16] | None = None


class TriangleMesh(NamedTuple):
    """A mesh.

    Attributes:
        vertices: (V, 3) float64 in the world, metres; each one once.
        triangles: (T, 3) int32 vertices, counter-clockwise as seen from the free side.
        colours: (V, 3) uint8, those of the occupied voxel next to each vertex; see `SurfacePoints`.
        labels: (V,) uint16, likewise.
    """

    vertices: NDArray[np.float64]
    triangles: NDArray[np.int32]
    colours: NDArray[np.uint8] | None = None
    labels: NDArray[np.uint16] | None = None


def surface_points(octree: Octree) -> SurfacePoints:
    """Occupied voxels that share a face with a free one, and where they face.

    A normal points against the gradient of the log-odds in the 5x5x5 voxels around (unknown counts as 0). Where that
    does not point to a free neighbour, as in a wall of one voxel that was seen from both sides, the normal is the
    direction of the free neighbours; of two opposite ones, that along the positive axis.
    """
    import warp as wp

    from embodmem.spatial.octree import kernels_surface

    with octree._lock:
        keys = brick_keys(octree)
        n, device, launcher = len(keys), octree._launcher.device, octree._launcher
        counts = wp.zeros(n, dtype=wp.int32, device=device)
        on_device = wp.array(keys, dtype=wp.int64, device=device)
        occupied = float(octree.config.log_odds_occupied)

        def run(begins: NDArray[np.int32], total: int, write: bool) -> tuple[Any, Any]:
            voxels = wp.empty(total, dtype=wp.vec3i, device=device)
            normals = wp.empty(total, dtype=wp.vec3, device=device)
            starts = wp.array(begins, dtype=wp.int32, device=device)
            inputs = [octree._pool.struct, on_device, occupied, starts, write, counts, voxels, normals]
            launcher.share(kernels_surface.surface_voxels, n, 1, inputs, worth=16)
            return voxels, normals

        run(np.zeros(n, dtype=np.int32), 0, False)
        found = counts.numpy()
        total = int(found.sum())
        voxels, normals = run((np.cumsum(found) - found).astype(np.int32), total, True)
        centres = (voxels.numpy().reshape(total, 3) + 0.5) * octree.config.voxel_size_m
        return SurfacePoints(centres, normals.numpy().reshape(total, 3), *_paint(octree, centres))


def surface_mesh(octree: Octree, *, closed: bool = True) -> TriangleMesh:
    """The surface between occupied and free, through the centres of voxels (Lorensen and Cline, SIGGRAPH 1987).

    The map is meshed in blocks of 64x64x64 voxels, so that what is needed beside the result is bounded; vertices are
    shared across blocks.

    Args:
        octree: The map.
        closed: Whether unknown counts as free, which makes every occupied part a closed, watertight body. Else there
            are no triangles next to unknown voxels: a wall that was seen from one side has one side.
    """
    edge = BRICK_EDGE * _BLOCK
    parts: list[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]] = []
    before = 0
    with octree._lock:
        cells = unpack_keys(brick_keys(octree))
        lower = np.stack(np.meshgrid(*[[-1, 0]] * 3), axis=-1).reshape(-1, 3)
        # A brick is also the upper corner of the cells of its lower neighbours.
        blocks = np.unique((cells[:, None] + lower).reshape(-1, 3) // _BLOCK, axis=0)
        for block in blocks:
            values = _dense(octree, block * _BLOCK)
            places, triangles = _march(octree, values, closed)
            if len(triangles):
                edges, places = _edges_of(places, block * edge)
                parts.append((edges, places, triangles + before))
                before += len(places)
    if not parts:
        nothing = np.empty((0, 3))
        return TriangleMesh(nothing, np.empty((0, 3), dtype=np.int32), *_paint(octree, nothing))
    edges, places, triangles = (np.concatenate(column) for column in zip(*parts, strict=True))
    _, chosen, name = np.unique(_as_numbers(edges), return_index=True, return_inverse=True)
    vertices = (places[chosen] + 0.5) * octree.config.voxel_size_m
    lower = edges[chosen]
    upper = lower[:, :3] + np.eye(3, dtype=np.int64)[lower[:, 3]]
    ends = [(voxels + 0.5) * octree.config.voxel_size_m for voxels in (lower[:, :3], upper)]
    with octree._lock:
        solid = (octree.log_odds(ends[0]) > octree.config.log_odds_occupied)[:, None]
        paint = _paint(octree, np.where(solid, *ends))
    return TriangleMesh(vertices, name.reshape(-1)[triangles].astype(np.int32), *paint)


def in_grey(found: VoxelColours) -> NDArray[np.uint8]:
    """Colours (N, 3), `GREY` where there is none."""
    return np.where(found.views[:, None] > 0, found.rgb, np.uint8(GREY))


def _paint(octree: Octree, points: NDArray[np.float64]) -> tuple[NDArray[np.uint8] | None, NDArray[np.uint16] | None]:
    """Colours and labels of the voxels at points, None for what the map does not keep."""
    colours = in_grey(octree.colours(points)) if octree.config.colour else None
    return colours, octree.labels(points).label if octree.config.labels else None


def _dense(octree: Octree, first: NDArray[np.int64]) -> NDArray[np.float32]:
    """Log-odds (65, 65, 65), x first, of the voxels from brick `first` on; NaN where unknown."""
    side = _BLOCK + 1
    offsets = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    cells = first + offsets
    inside = ((cells >= -BRICK_LIMIT) & (cells < BRICK_LIMIT)).all(axis=1)
    values = np.full((len(cells), BRICK_EDGE**3), np.nan, dtype=np.float32)
    values[inside] = gather(octree, pack_keys(cells[inside]))
    bricks = values.reshape(side, side, side, BRICK_EDGE, BRICK_EDGE, BRICK_EDGE)  # brick x, y, z; voxel z, y, x
    dense = bricks.transpose(0, 5, 1, 4, 2, 3).reshape([side * BRICK_EDGE] * 3)
    end = _BLOCK * BRICK_EDGE + 1
    return np.asarray(dense[:end, :end, :end], dtype=np.float32)


def _march(octree: Octree, values: NDArray[np.float32], closed: bool) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vertices (V, 3) in voxels from the centre of the first one, and triangles (T, 3), of a dense block."""
    config = octree.config
    level = config.log_odds_occupied
    solid = values > level
    if not solid.any():
        return np.empty((0, 3)), np.empty((0, 3), dtype=np.int64)
    spans = [np.flatnonzero(solid.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    first = np.array([max(int(span[0]) - 1, 0) for span in spans])
    values = values[tuple(slice(a, int(span[-1]) + 2) for a, span in zip(first, spans, strict=True))]
    known = ~np.isnan(values)
    # No value may stand on the level or so near it that a vertex falls onto a corner: it would belong to no edge.
    gap = _NUDGE * (config.log_odds_max - config.log_odds_min)
    field = np.where(known, values, np.float32(min(config.log_odds_min, level - gap)))
    field = np.where(field > level, np.maximum(field, level + gap), np.minimum(field, level - gap)).astype(np.float32)
    vertices, triangles = runtime.marching_cubes(field, float(level), octree._launcher.device)
    if not closed:
        cells = np.floor(vertices[triangles].mean(axis=1)).astype(np.int64)
        whole = np.ones([n - 1 for n in known.shape], dtype=bool)
        for corner in np.ndindex(2, 2, 2):
            whole &= known[tuple(slice(c, n - 1 + c) for c, n in zip(corner, known.shape, strict=True))]
        triangles = triangles[whole[tuple(cells.T)]]
    return vertices + first, triangles


def _edges_of(vertices: NDArray[np.float64], first: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The edge of the grid on which each vertex lies, (V, 4): lower voxel and axis; and the vertex in voxels."""
    nearest = np.round(vertices)
    axis = np.abs(vertices - nearest).argmax(axis=1)
    rows = np.arange(len(vertices))
    start = nearest.astype(np.int64)
    start[rows, axis] = np.floor(vertices[rows, axis]).astype(np.int64)
    return np.concatenate([start + first, axis[:, None]], axis=1), vertices + first


def _as_numbers(edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """One number for each distinct row (N, 4)."""
    low = edges.min(axis=0)
    size = (edges.max(axis=0) - low + 1).tolist()
    if size[0] * size[1] * size[2] * size[3] >= 1 << 62:
        return np.asarray(np.unique(edges, axis=0, return_inverse=True)[1].reshape(-1), dtype=np.int64)
    x, y, z, axis = (edges - low).T
    return np.asarray(((x * size[1] + y) * size[2] + z) * size[3] + axis, dtype=np.int64)
