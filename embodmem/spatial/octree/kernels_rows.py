# mypy: ignore-errors
"""Projective integration of a depth image, row of voxels by row of voxels.

With voxel indices i relative to the camera's own voxel, the homogeneous pixel of a voxel's centre is linear:
h = M i + b with M = K' R^T s, so one row costs an addition a voxel and nothing grows with the distance from the
origin of the world. K' holds the focal lengths and the principal point plus half a pixel; h.z is the depth, and
floor(h.x / h.z), floor(h.y / h.z) is the nearest pixel.

What is done to the eight voxels of a row stands in C++ (`LANES` of `kernels_pool` says why).
"""

import warp as wp

from embodmem.spatial.octree.kernels_pool import LANES, Update, row8, seen8, unpack_key, update_row
from embodmem.spatial.octree.kernels_view import View

wp.set_module_options({"enable_backward": False})

layer64 = wp.types.vector(length=64, dtype=wp.float32)
SLACK = wp.constant(1.0e-3)  # m; more than rounding moves a voxel along the optical axis


_SORT_ROWS = f"""
    const float width = (float)view.width, height = (float)view.height;
    const float x = start[0], y = start[1], z = start[2];
    const float right = 7.0f * step[0], down = 7.0f * step[1], deep = 7.0f * step[2];
    const float up_x = up[0], up_y = up[1], up_z = up[2];
    const float clear_to = span[0] > 0.0f ? free_to : -1.0e30f, reach_to = span[1] + view.half_m + 1.0e-3f;
    int in_front = 0, in_view = 0;
    {LANES}
    for (int i = 0; i < 8; ++i) {{
        const float k = (float)i;
        const float ax = x + k * up_x, ay = y + k * up_y, az = z + k * up_z;
        const float bx = ax + right, by = ay + down, bz = az + deep;
        const float nearest = az < bz ? az : bz, farthest = az > bz ? az : bz;
        const bool whole = farthest < clear_to;
        const bool inside = (farthest > 0.0f) & ((ax >= 0.0f) | (bx >= 0.0f)) & ((ay >= 0.0f) | (by >= 0.0f))
            & ((ax < width * az) | (bx < width * bz)) & ((ay < height * az) | (by < height * bz));
        in_front |= whole ? 1 << i : 0;
        in_view |= (inside & !whole & (nearest <= reach_to)) ? 1 << i : 0;
    }}
    return in_front | in_view << 8;
"""


@wp.func_native(_SORT_ROWS)
def sort_rows(view: View, start: wp.vec3, step: wp.vec3, up: wp.vec3, span: wp.vec2, free_to: float) -> int:
    """Which rows of a layer lie in front of all that their pixels see (8 bits), and which are to be projected (8 more).

    start is h of the layer's first voxel, step from voxel to voxel and up from row to row; span is how near and far
    the brick's pixels see, and free_to what is nearer than all of that. A row of which nothing is in the image, or that
    lies behind all that its pixels see, is neither.
    """
    ...


_LOOK_UP = f"""
    wp::vec_t<64, float> surfaces;
    int pixels[64];
    const float last_column = (float)view.width - 1.0f, last_line = (float)view.height - 1.0f;
    const float dx = step[0], dy = step[1], dz = step[2];
    const int pitch = view.look_pitch, shift = view.shift;
    const float* image = depth.data;
    for (int row = 0; row < 8; ++row) {{
        if ((rows >> row & 1) == 0) continue;
        const float x = start[0] + (float)row * up[0], y = start[1] + (float)row * up[1];
        const float z = start[2] + (float)row * up[2];
        {LANES}
        for (int i = 0; i < 8; ++i) {{
            const float k = (float)i, deep = z + k * dz;
            const float inverse = 1.0f / (deep > 1.0e-3f ? deep : 1.0e-3f);
            const float u = (x + k * dx) * inverse, v = (y + k * dy) * inverse;
            const bool inside = (deep >= 1.0e-3f) & (u >= 0.0f) & (v >= 0.0f)
                & (u <= last_column + 1.0f) & (v <= last_line + 1.0f);
            const float across = u < last_column ? u : last_column, down = v < last_line ? v : last_line;
            const int column = (int)(across > 0.0f ? across : 0.0f), line = (int)(down > 0.0f ? down : 0.0f);
            pixels[row * 8 + i] = inside ? (line >> shift) * pitch + (column >> shift) : -1;
        }}
    }}
    for (int row = 0; row < 8; ++row) {{
        if ((rows >> row & 1) == 0) continue;
        {LANES}
        for (int i = 0; i < 8; ++i) {{
            const int pixel = pixels[row * 8 + i];
            const float found = image[pixel > 0 ? pixel : 0];
            surfaces.c[row * 8 + i] = pixel < 0 ? 0.0f : found;
        }}
    }}
    return surfaces;
"""


@wp.func_native(_LOOK_UP)
def look_up(
    view: View, depth: wp.array(dtype=wp.float32), start: wp.vec3, step: wp.vec3, up: wp.vec3, rows: int
) -> layer64:
    """What the blocks of pixels of the voxels of some rows of a layer see, a bit of `rows` each; 0 out of the image.

    First all pixels are found and then all are read, so that many reads are under way at once: most of them miss the
    nearest cache.
    """
    ...


_SENSE_ROW = f"""
    wp::vec_t<8, float> change;
    const float near_m = view.near_m, far_m = view.far_m, margin_m = view.margin_m, half_m = view.half_m;
    const float sparse_m = view.sparse_m, view_hit = view.hit, view_miss = view.miss;
    {LANES}
    for (int i = 0; i < 8; ++i) {{
        const float deep = z + (float)i * dz, surface = surfaces.c[row * 8 + i];
        const float behind = surface >= near_m ? deep - surface : 1.0e30f;
        const float hit = surface <= far_m ? view_hit : 0.0f;
        const float miss = deep <= far_m ? view_miss : 0.0f;
        const float reach = deep > sparse_m ? half_m : -1.0e30f;
        const float sensed = behind < -margin_m ? miss : (behind <= reach ? hit : 0.0f);
        change.c[i] = (held >> i & 1) != 0 ? view_hit : sensed;
    }}
    return change;
"""


@wp.func_native(_SENSE_ROW)
def sense_row(view: View, surfaces: layer64, row: int, z: float, dz: float, held: int) -> row8:
    """What the image adds to the log-odds of a row of voxels, 0 where it says nothing.

    The first one's centre lies z deep and each next one dz deeper; the bits of `held` tell which hold a point.
    """
    ...


_FILL_ROW = f"""
    wp::vec_t<8, float> change;
    {LANES}
    for (int i = 0; i < 8; ++i) change.c[i] = (held >> i & 1) != 0 ? hit : miss;
    return change;
"""


@wp.func_native(_FILL_ROW)
def fill_row(miss: float, hit: float, held: int) -> row8:
    """`hit` for the voxels that hold a point and `miss` for the others."""
    ...


_FETCH = """
#if defined(__clang__) && !defined(__CUDACC__)
    const char* values = (const char*)&rows.data[size_t(block) * 64 + row];
    const char* ticks = (const char*)&seen_rows.data[size_t(block) * 64 + row];
    for (int i = 0; i < 256; i += 64) __builtin_prefetch(values + i, 1);
    for (int i = 0; i < 128; i += 64) __builtin_prefetch(ticks + i, 1);
#endif
"""


@wp.func_native(_FETCH)
def fetch(rows: wp.array2d(dtype=row8), seen_rows: wp.array2d(dtype=seen8), block: int, row: int):
    """Ask for a layer of a brick that is soon worked on; only a hint, and on CUDA nothing."""
    ...


@wp.func
def integrate_layer(
    keys: wp.array(dtype=wp.int64),
    blocks: wp.array(dtype=wp.int32),
    rows: wp.array2d(dtype=row8),
    seen_rows: wp.array2d(dtype=seen8),
    view: View,
    depth: wp.array(dtype=wp.float32),
    items: wp.array(dtype=wp.int32),
    spans: wp.array(dtype=wp.vec2),
    layers: wp.array3d(dtype=wp.uint64),
    update: Update,
    results: wp.array(dtype=wp.uint64),
    item: int,
    z: int,
    ahead: int,
):
    """Update the eight rows of voxels of a layer z of a brick; results (64 a brick) are those of `update_row`.

    `ahead` is a brick that is soon worked on, or -1. It takes the arrays of the pool that it needs one by one: Warp
    copies a struct for every thread on a CPU. The rows of a layer go in a loop that is not unrolled.
    """
    slot = items[item]
    whole = slot < 0
    if whole:
        slot = ~slot
    block = blocks[slot]
    at = unpack_key(keys[slot]) * 8 + wp.vec3i(0, 0, z) - view.base
    h = view.M * wp.vec3(float(at[0]), float(at[1]), float(at[2])) + view.b
    step = wp.vec3(view.M[0, 0], view.M[1, 0], view.M[2, 0])
    up = wp.vec3(view.M[0, 1], view.M[1, 1], view.M[2, 1])
    marked = wp.uint64(0)  # `layers` are the marks, a word for each layer of a brick
    if not whole:
        for copy in range(layers.shape[0]):
            marked = marked | layers[copy, block, z]
    span = spans[item]
    free_to = wp.min(span[0] - view.margin_m - SLACK, view.far_m)
    kinds = sort_rows(view, h, step, up, span, free_to)
    if whole:
        kinds = 255
    if ahead >= 0:
        slot = items[ahead]
        if slot < 0:
            slot = ~slot
        fetch(rows, seen_rows, blocks[slot], z * 8)
    surfaces = look_up(view, depth, h, step, up, kinds >> 8)
    eight = wp.int32(8)
    for y in range(eight):
        row = z * 8 + y
        held = int((marked >> wp.uint64(8 * y)) & wp.uint64(0xFF))
        result = wp.uint64(0)
        if ((kinds >> y) & 1) != 0:  # in front of all that its pixels see
            result = update_row(rows, seen_rows, block, row, fill_row(view.miss, view.hit, held), update)
        elif ((kinds >> y) & 256) != 0:
            change = sense_row(view, surfaces, y, h[2] + float(y) * up[2], step[2], held)
            result = update_row(rows, seen_rows, block, row, change, update)
        elif held != 0:  # behind all that its pixels see, or out of the image
            result = update_row(rows, seen_rows, block, row, fill_row(0.0, view.hit, held), update)
        results[item * 64 + row] = result
