# mypy: ignore-errors
"""The recurrences of minGRU and LRU with what stands around them, forwards and back, as Warp kernels for the CPU.

One thread takes a row of the batch through time and reads every value once. Tensors come as addresses (float32,
contiguous): to wrap them as arrays takes longer than a short scan. See `recurrence` for what calls them.
"""

import warp as wp

wp.set_module_options({"enable_backward": False})


@wp.func
def times(q: wp.vec2f, p: wp.vec2f):
    """Product of two complex numbers."""
    return wp.vec2f(q[0] * p[0] - q[1] * p[1], q[0] * p[1] + q[1] * p[0])


@wp.func
def keep_of(s: float):
    """1 - z of a minGRU's gate, whose sigmoid is s: exactly 0 and 1 where z is 1 and 0."""
    return wp.clamp(1.1 - 1.2 * s, 0.0, 1.0)


@wp.kernel
def hold(
    s_: wp.uint64,
    candidate_: wp.uint64,
    first_: wp.uint64,
    start_: wp.uint64,
    h_: wp.uint64,
    steps: int,
    batch: int,
    n: int,
):
    """h_t = k h_{t-1} + (1 - k) candidate_t: s, candidate, h (T, B, n), first (B, n), start (T, B)."""
    s = wp.array(ptr=s_, shape=(steps * batch, n), dtype=float)
    candidate = wp.array(ptr=candidate_, shape=(steps * batch, n), dtype=float)
    first = wp.array(ptr=first_, shape=(batch, n), dtype=float)
    start = wp.array(ptr=start_, shape=(steps * batch,), dtype=wp.uint8)
    h = wp.array(ptr=h_, shape=(steps * batch, n), dtype=float)
    b = wp.tid()
    for t in range(steps):
        r = t * batch + b
        if start[r] != wp.uint8(0):
            for j in range(n):
                h[r, j] = (1.0 - keep_of(s[r, j])) * candidate[r, j]
        elif t == 0:
            for j in range(n):
                k = keep_of(s[r, j])
                h[r, j] = k * first[b, j] + (1.0 - k) * candidate[r, j]
        else:
            for j in range(n):
                k = keep_of(s[r, j])
                h[r, j] = k * h[r - batch, j] + (1.0 - k) * candidate[r, j]


@wp.kernel
def hold_back(
    dh_: wp.uint64,
    s_: wp.uint64,
    candidate_: wp.uint64,
    h_: wp.uint64,
    first_: wp.uint64,
    start_: wp.uint64,
    carry_: wp.uint64,
    projected_: wp.uint64,
    steps: int,
    batch: int,
    n: int,
):
    """The way back of `hold` and the sigmoid of the gate.

    `carry` (B, n), the gradient by the last h from what comes later, becomes that by `first`; `projected` (T, B, 2 n)
    becomes the gradients by gate and candidate.
    """
    dh = wp.array(ptr=dh_, shape=(steps * batch, n), dtype=float)
    s = wp.array(ptr=s_, shape=(steps * batch, n), dtype=float)
    candidate = wp.array(ptr=candidate_, shape=(steps * batch, n), dtype=float)
    h = wp.array(ptr=h_, shape=(steps * batch, n), dtype=float)
    first = wp.array(ptr=first_, shape=(batch, n), dtype=float)
    start = wp.array(ptr=start_, shape=(steps * batch,), dtype=wp.uint8)
    carry = wp.array(ptr=carry_, shape=(batch, n), dtype=float)
    projected = wp.array(ptr=projected_, shape=(steps * batch, 2 * n), dtype=float)
    b = wp.tid()
    for back in range(steps):
        t = steps - 1 - back
        r = t * batch + b
        begins = start[r] != wp.uint8(0)
        for j in range(n):
            g = dh[r, j] + carry[b, j]
            gate = s[r, j]
            k = keep_of(gate)
            if begins:
                before = 0.0
            elif t == 0:
                before = first[b, j]
            else:
                before = h[r - batch, j]
            # dz/da = 1.2 s (1 - s); dh/dz = candidate - h_{t-1}; dh/dcandidate = z
            projected[r, j] = 1.2 * gate * (1.0 - gate) * (candidate[r, j] - before) * g
            projected[r, n + j] = (1.0 - k) * g
            if begins:
                carry[b, j] = 0.0
            else:
                carry[b, j] = k * g


@wp.kernel
def turn(s_: wp.uint64, rotation_: wp.uint64, first_: wp.uint64, start_: wp.uint64, steps: int, batch: int, n: int):
    """s_t += rotation s_{t-1}, in place: s (T, B, n), rotation (n,), first (B, n) complex, start (T, B)."""
    s = wp.array(ptr=s_, shape=(steps * batch, n), dtype=wp.vec2f)
    rotation = wp.array(ptr=rotation_, shape=(n,), dtype=wp.vec2f)
    first = wp.array(ptr=first_, shape=(batch, n), dtype=wp.vec2f)
    start = wp.array(ptr=start_, shape=(steps * batch,), dtype=wp.uint8)
    b = wp.tid()
    for t in range(steps):
        r = t * batch + b
        if start[r] == wp.uint8(0):
            if t == 0:
                for j in range(n):
                    s[r, j] = s[r, j] + times(rotation[j], first[b, j])
            else:
                for j in range(n):
                    s[r, j] = s[r, j] + times(rotation[j], s[r - batch, j])


@wp.kernel
def turn_back(
    g_: wp.uint64,
    s_: wp.uint64,
    rotation_: wp.uint64,
    first_: wp.uint64,
    start_: wp.uint64,
    carry_: wp.uint64,
    d_rotation_: wp.uint64,
    steps: int,
    batch: int,
    n: int,
):
    """The way back of `turn`, on conjugates: g_t += carry, then carry = rotation g_t, 0 at starts.

    `carry` (B, n) comes from later and becomes the gradient by `first`; g_t s_{t-1} is added to `d_rotation` (B, n).
    """
    g = wp.array(ptr=g_, shape=(steps * batch, n), dtype=wp.vec2f)
    s = wp.array(ptr=s_, shape=(steps * batch, n), dtype=wp.vec2f)
    rotation = wp.array(ptr=rotation_, shape=(n,), dtype=wp.vec2f)
    first = wp.array(ptr=first_, shape=(batch, n), dtype=wp.vec2f)
    start = wp.array(ptr=start_, shape=(steps * batch,), dtype=wp.uint8)
    carry = wp.array(ptr=carry_, shape=(batch, n), dtype=wp.vec2f)
    d_rotation = wp.array(ptr=d_rotation_, shape=(batch, n), dtype=wp.vec2f)
    b = wp.tid()
    for back in range(steps):
        t = steps - 1 - back
        r = t * batch + b
        begins = start[r] != wp.uint8(0)
        for j in range(n):
            total = g[r, j] + carry[b, j]
            g[r, j] = total
            if begins:
                carry[b, j] = wp.vec2f(0.0, 0.0)
            else:
                carry[b, j] = times(rotation[j], total)
                if t == 0:
                    d_rotation[b, j] = d_rotation[b, j] + times(total, first[b, j])
                else:
                    d_rotation[b, j] = d_rotation[b, j] + times(total, s[r - batch, j])
