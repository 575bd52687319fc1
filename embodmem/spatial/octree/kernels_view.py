# mypy: ignore-errors
"""What the kernels know of a camera: its lens, where it is, and the bricks that it may see."""

import warp as wp

from embodmem.spatial.octree.keys import BRICK_LIMIT

wp.set_module_options({"enable_backward": False})


@wp.struct
class View:
    """One camera pose, in the terms of `kernels_rows`, and the sensor model."""

    M: wp.mat33
    b: wp.vec3
    base: wp.vec3i  # voxel of the camera
    extent: wp.vec3  # largest |h - h(centre)| in a brick
    extent_right: float  # the same for width * h.z - h.x
    extent_bottom: float  # and for height * h.z - h.y
    rays: wp.mat33  # rays @ (column, line, 1) is what a point moves for a metre of depth, in voxels
    origin: wp.vec3  # the camera from the corner of `base`, in voxels
    width: int
    height: int
    pitch: int  # px from line to line
    shift: int  # a voxel looks at the farthest of a block of 1 << shift px
    look_pitch: int  # blocks from line to line
    near_m: float  # nearer depth is no return
    far_m: float  # farther surfaces are not mapped; the way to them is free up to here
    margin_m: float  # a voxel is seen through if its centre is nearer than the surface by more than this
    half_m: float  # half a voxel
    sparse_m: float  # from here on the marked points lie more than a voxel apart
    every: int  # px between the points that mark voxels
    nudge_m: float  # how much deeper than measured they are taken to lie
    hit: float
    miss: float


@wp.struct
class Lens:
    """Intrinsics in px and the edge of a voxel in metres, in double precision."""

    fx: wp.float64
    fy: wp.float64
    cx: wp.float64
    cy: wp.float64
    voxel_size_m: wp.float64


LOWER = wp.constant(BRICK_LIMIT)
HALF = wp.constant(wp.float64(0.5))
EDGE = wp.constant(wp.float64(8.0))


@wp.func
def sum_abs(v: wp.vec3d) -> float:
    """Half a brick's edge times the sum of what v has along each axis: how far v . x differs within a brick."""
    return wp.float32(wp.float64(4.0) * (wp.abs(v[0]) + wp.abs(v[1]) + wp.abs(v[2])))


@wp.func
def turn_view(lens: Lens, T: wp.array(dtype=wp.float64), views: wp.array(dtype=View)):
    """Set what of a view depends on the pose T (twelve numbers, row by row)."""
    size = lens.voxel_size_m
    R = wp.mat33d(T[0], T[1], T[2], T[4], T[5], T[6], T[8], T[9], T[10])
    position = wp.vec3d(T[3], T[7], T[11]) / size
    base = wp.vec3d(wp.floor(position[0]), wp.floor(position[1]), wp.floor(position[2]))
    inside = position - base
    none, one = wp.float64(0.0), wp.float64(1.0)
    project = wp.mat33d(lens.fx, none, lens.cx + HALF, none, lens.fy, lens.cy + HALF, none, none, one) * size
    unproject = wp.mat33d(
        one / lens.fx, none, -lens.cx / lens.fx, none, one / lens.fy, -lens.cy / lens.fy, none, none, one
    )
    M = project * wp.transpose(R)
    across, down, deep = M[0], M[1], M[2]
    views[0].M = wp.mat33(M)
    views[0].b = wp.vec3(M * (wp.vec3d(HALF, HALF, HALF) - inside))
    views[0].base = wp.vec3i(wp.int32(base[0]), wp.int32(base[1]), wp.int32(base[2]))
    views[0].extent = wp.vec3(sum_abs(across), sum_abs(down), sum_abs(deep))
    views[0].extent_right = sum_abs(deep * wp.float64(views[0].width) - across)
    views[0].extent_bottom = sum_abs(deep * wp.float64(views[0].height) - down)
    views[0].rays = wp.mat33(R * unproject / size)
    views[0].origin = wp.vec3(inside)


@wp.func
def seen_box(lens: Lens, T: wp.array(dtype=wp.float64), view: View, far_m: float, box: wp.array(dtype=wp.int32)):
    """Write the first brick (3) and the number of bricks (3) of the box around what a view sees up to far_m."""
    edge_m = lens.voxel_size_m * EDGE
    far = wp.float64(far_m) / edge_m
    width, height = wp.float64(view.width), wp.float64(view.height)
    limit = wp.float64(LOWER)
    for axis in range(3):
        row = wp.vec3d(T[axis * 4], T[axis * 4 + 1], T[axis * 4 + 2])
        low, high = wp.float64(0.0), wp.float64(0.0)
        for corner in range(4):
            x = (wp.float64(corner & 1) * width - HALF - lens.cx) / lens.fx
            y = (wp.float64(corner >> 1) * height - HALF - lens.cy) / lens.fy
            along = row[0] * x + row[1] * y + row[2]
            low, high = wp.min(low, along), wp.max(high, along)
        centre = T[axis * 4 + 3] / edge_m
        first = wp.max(wp.floor(centre + far * low), -limit)
        last = wp.min(wp.floor(centre + far * high), limit - wp.float64(1.0))
        box[axis] = wp.int32(first)
        box[3 + axis] = wp.int32(wp.max(last - first + wp.float64(1.0), wp.float64(0.0)))
