# mypy: ignore-errors
"""Ray casting for many rays at once: each leaps over what `kernels_clearance` knows to hold nothing that stops it.

A leap is a long chain of operations that wait for one another, so a CPU thread has `_WIDTH` rays on their way and
does each step for all of them, in vector registers; a ray that ends makes room for the next. The leap that is the
same for all is a loop of C++ without branches (`LANES` of `kernels_pool` says why it is C++). What few rays need at a
time follows it, ray by ray: a ray that ended, and a place so near a face that rounding may matter. On CUDA a thread
has one ray.

Times, places and voxels are computed as `kernels_rays` computes them, so that leaping ends in the same voxel at the
same time as walking voxel by voxel, to the bit.
"""

import warp as wp

from embodmem.spatial.octree.kernels_clearance import Clearance
from embodmem.spatial.octree.kernels_pool import LANES

wp.set_module_options({"enable_backward": False})

_WIDTH = 32  # of 8, 16, 32, 64 and 128 the fastest: 8 take 1.4 times as long, the others 1.2 times
_ENDED, _FOUND, BAD = 0, 1, 2


@wp.struct
class Hits:
    """What rays met: the arrays of `RaycastHits`, and whether a ray was none."""

    state: wp.array(dtype=wp.uint8)
    unknown: wp.array(dtype=wp.uint8)
    distance_m: wp.array(dtype=wp.float64)
    position: wp.array(dtype=wp.vec3d)
    voxel: wp.array(dtype=wp.vec3i)


# The state of the rays on their way. Voxels are relative to the one that the ray starts in (`base`), start is the place
# inside that one; before, last and both belong to the latest leap: the voxel where it began, the last voxel of the box
# that it leaves, and the two distances there (-1 in an absent brick).
_STATE = f"""
#if defined(__clang__) && !defined(__CUDACC__)
    constexpr int W = {_WIDTH};
#else
    constexpr int W = 1;
#endif
    constexpr double CLOSE = 1.0e-6;  // far above the rounding of a place on a ray, in voxels
    double time[W], start[3][W], along[3][W], inverse[3][W];
    int base[3][W], voxel[3][W], before[3][W], last[3][W], ahead[3][W], way[3][W];
    int ray[W], unknown[W], cell[W], inner[W], both[W], event[W];
    const int* grid = clearance.grid.data;
    const wp::uint8* distances = clearance.distance.data;
    const int lower[3] = {{clearance.lower[0], clearance.lower[1], clearance.lower[2]}};
    const int size[3] = {{clearance.size[0], clearance.size[1], clearance.size[2]}};
    const double length = range_m / voxel_size_m;
    int next = begin, live = 0;
"""

# Write down where the ray of a lane ended.
_PUT = f"""
    auto put = [&](int lane, int state) {{
        const int i = ray[lane];
        const bool found = state == {_FOUND};
        const double metres = found ? time[lane] * voxel_size_m : range_m;
        hits.state.data[i] = wp::uint8(state);
        hits.unknown.data[i] = wp::uint8(unknown[lane]);
        hits.distance_m.data[i] = metres;
        for (int k = 0; k < 3; ++k) {{
            hits.position.data[i].c[k] = origins.data[i].c[k] + along[k][lane] * metres;
            hits.voxel.data[i].c[k] = found ? voxel[k][lane] + base[k][lane] : -2147483647 - 1;
        }}
    }};
"""

# Let a lane take the next ray; without one it idles where it does no harm. Along an axis that a ray is square to it
# stays in its voxel, whatever rounding made of the place in it: 0.5 is far from both faces.
_TAKE = f"""
    auto take = [&](int lane) {{
        unknown[lane] = 0;
        time[lane] = 0.0;
        for (int k = 0; k < 3; ++k) voxel[k][lane] = 0;
        while (next < end) {{
            const int i = ray[lane] = next++;
            const double* o = &origins.data[i].c[0];
            const double* d = &directions.data[i].c[0];
            const double norm = wp::sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2]);
            bool good = norm > 1.0e-12 && norm < 1.0e150;
            for (int k = 0; k < 3; ++k) {{
                const double p = o[k] / voxel_size_m;
                good = good && p >= -limit && p <= limit;
            }}
            if (good) {{
                for (int k = 0; k < 3; ++k) {{
                    const double p = o[k] / voxel_size_m, whole = wp::floor(p), step = d[k] / norm;
                    const bool up = step >= 0.0, square = step == 0.0;
                    base[k][lane] = (int)whole;
                    start[k][lane] = square ? 0.5 : p - whole;
                    along[k][lane] = step;
                    inverse[k][lane] = 1.0 / (square ? 0.0 : step);
                    ahead[k][lane] = up ? 1 : 0;
                    way[k][lane] = up ? 1 : -1;
                }}
                return;
            }}
            for (int k = 0; k < 3; ++k) along[k][lane] = 0.0;
            put(lane, {BAD});
        }}
        --live;
        ray[lane] = -1;
        for (int k = 0; k < 3; ++k) {{
            base[k][lane] = ahead[k][lane] = way[k][lane] = 0;
            start[k][lane] = 0.5;
            along[k][lane] = inverse[k][lane] = 0.0;
        }}
    }};
"""

# The two distances in the voxel of each lane.
_LOOK_UP = f"""
        {LANES}
        for (int lane = 0; lane < W; ++lane) {{
            const int x = voxel[0][lane] + base[0][lane], y = voxel[1][lane] + base[1][lane];
            const int z = voxel[2][lane] + base[2][lane];
            const int bx = (x >> 3) - lower[0], by = (y >> 3) - lower[1], bz = (z >> 3) - lower[2];
            const bool inside = ((unsigned)bx < (unsigned)size[0]) & ((unsigned)by < (unsigned)size[1])
                & ((unsigned)bz < (unsigned)size[2]);
            cell[lane] = inside ? (bx * size[1] + by) * size[2] + bz : -1;
            inner[lane] = ((z & 7) * 8 + (y & 7)) * 8 + (x & 7);
        }}
        for (int lane = 0; lane < W; ++lane) {{
            const int page = cell[lane] < 0 ? -1 : grid[cell[lane]];
            both[lane] = page < 0 ? -1 : (int)distances[size_t(page) * 512 + inner[lane]];
        }}
"""

# Leave the box around each lane's voxel in which nothing stops its ray: a cube, or the rest of an absent brick. It is
# left at the least of the leaving times, along the lower axis where two are equal; along the other axes the place at
# that time tells the voxel. `happened` says whether a lane has more to do.
_LEAP = f"""
        int happened = 0;
        {LANES}
        for (int lane = 0; lane < W; ++lane) {{
            const int b = both[lane], closed = b & 15;
            const bool absent = b < 0, found = (b >> 4) == 0;
            const int u = ((closed == 0) | absent) ? 1 : unknown[lane];
            const int half = (u != 0 ? b >> 4 : closed) - 1;
            const int vx = voxel[0][lane], vy = voxel[1][lane], vz = voxel[2][lane];
            const int wx = way[0][lane], wy = way[1][lane], wz = way[2][lane];
            const int hx = ahead[0][lane], hy = ahead[1][lane], hz = ahead[2][lane];
            const int ox = base[0][lane], oy = base[1][lane], oz = base[2][lane];
            const int lx = absent ? ((vx + ox) & -8) + 7 * hx - ox : vx + wx * half;
            const int ly = absent ? ((vy + oy) & -8) + 7 * hy - oy : vy + wy * half;
            const int lz = absent ? ((vz + oz) & -8) + 7 * hz - oz : vz + wz * half;
            const double tx = (double(lx + hx) - start[0][lane]) * inverse[0][lane];
            const double ty = (double(ly + hy) - start[1][lane]) * inverse[1][lane];
            const double tz = (double(lz + hz) - start[2][lane]) * inverse[2][lane];
            const double txy = ty < tx ? ty : tx, t = tz < txy ? tz : txy;
            const bool by_z = tz < txy, by_y = (ty < tx) & !by_z, by_x = !by_y & !by_z;
            const double px = start[0][lane] + along[0][lane] * t;
            const double py = start[1][lane] + along[1][lane] * t;
            const double pz = start[2][lane] + along[2][lane] * t;
            const double fx = wp::floor(px), fy = wp::floor(py), fz = wp::floor(pz);
            const double rx = px - fx, ry = py - fy, rz = pz - fz;
            const bool near_x = ((rx < CLOSE) | (rx > 1.0 - CLOSE)) & !by_x;
            const bool near_y = ((ry < CLOSE) | (ry > 1.0 - CLOSE)) & !by_y;
            const bool near_z = ((rz < CLOSE) | (rz > 1.0 - CLOSE)) & !by_z;
            const int nx = by_x ? lx + wx : (int)fx, ny = by_y ? ly + wy : (int)fy, nz = by_z ? lz + wz : (int)fz;
            event[lane] = (absent | found | near_x | near_y | near_z | (t >= length)) ? 1 : 0;
            happened |= event[lane];
            before[0][lane] = vx, before[1][lane] = vy, before[2][lane] = vz;
            last[0][lane] = lx, last[1][lane] = ly, last[2][lane] = lz;
            voxel[0][lane] = found ? vx : nx, voxel[1][lane] = found ? vy : ny, voxel[2][lane] = found ? vz : nz;
            unknown[lane] = found ? unknown[lane] : u;
            time[lane] = found ? time[lane] : t;
        }}
        if (happened == 0) continue;
"""

# Rays that ended: in an occupied voxel, by their length, or beyond the map on a side towards which they travel.
_END = f"""
            const int b = both[lane];
            const bool found = b >= 0 && b < 16;
            bool gone = time[lane] >= length;
            if (b < 0) {{
                for (int k = 0; k < 3; ++k) {{
                    const int at = ((before[k][lane] + base[k][lane]) >> 3) - lower[k];
                    gone = gone || (way[k][lane] > 0 ? at >= size[k] : at < 0);
                }}
            }}
            if (found || gone) {{
                put(lane, found ? {_FOUND} : {_ENDED});
                take(lane);
                continue;
            }}
"""

# Rounding may have put a place on the wrong side of a face: the order in which faces are crossed decides.
_CORRECT = """
            const double t = time[lane];
            auto leaving = [&](int k, int at) {
                return (double(at + ahead[k][lane]) - start[k][lane]) * inverse[k][lane];
            };
            const int axis = leaving(0, last[0][lane]) == t ? 0 : leaving(1, last[1][lane]) == t ? 1 : 2;
            for (int k = 0; k < 3; ++k) {
                if (k == axis) continue;
                const int from = before[k][lane], to = last[k][lane], step = way[k][lane];
                const int low = from < to ? from : to, high = from < to ? to : from;
                auto crossed = [&](int face) {
                    const double c = leaving(k, face);
                    return c < t || (c == t && k < axis);
                };
                int here = (int)wp::floor(start[k][lane] + along[k][lane] * t);
                here = here < low ? low : here > high ? high : here;
                if (here != to && crossed(here)) here += step;
                else if (here != from && !crossed(here - step)) here -= step;
                voxel[k][lane] = here;
            }
"""

_CAST = f"""
    {_STATE}
    {_PUT}
    {_TAKE}
    for (int lane = 0; lane < W; ++lane) {{
        ++live;
        take(lane);
    }}
    while (live > 0) {{
        {_LOOK_UP}
        {_LEAP}
        for (int lane = 0; lane < W; ++lane) {{
            if (event[lane] == 0 || ray[lane] < 0) continue;
            {_END}
            {_CORRECT}
        }}
    }}
"""


@wp.func_native(_CAST)
def cast_some(
    clearance: Clearance,
    origins: wp.array(dtype=wp.vec3d),
    directions: wp.array(dtype=wp.vec3d),
    voxel_size_m: wp.float64,
    range_m: wp.float64,
    limit: wp.float64,
    hits: Hits,
    begin: int,
    end: int,
):
    """First occupied voxel on each of the rays begin .. end - 1."""
    ...


@wp.kernel
def cast_far(
    clearance: Clearance,
    origins: wp.array(dtype=wp.vec3d),
    directions: wp.array(dtype=wp.vec3d),
    voxel_size_m: wp.float64,
    range_m: wp.float64,
    limit: wp.float64,
    each: int,
    hits: Hits,
    first: int,
    stride: int,
):
    """First occupied voxel on each ray, `each` rays a thread.

    `limit` is how far from the origin of the world a ray may begin, in voxels.
    """
    begin = (first + wp.tid() * stride) * each
    end = wp.min(begin + each, origins.shape[0])
    cast_some(clearance, origins, directions, voxel_size_m, range_m, limit, hits, begin, end)
