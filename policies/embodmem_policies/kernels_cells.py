# mypy: ignore-errors
"""The recurrences of minGRU and LRU with what stands around them, forwards and back, as Warp kernels for the CPU.

One thread takes a row of the batch through time and reads every value once. All arguments lie one after another where
`told` says, as int64: the shape T, B, n, then the address of each tensor (float32 or pairs of them, contiguous), in the
order that the kernel's text names them. See `recurrence` for what calls them.

Inner loops are written with `while`: those compile to vector instructions, which `for` over a range that is not known
beforehand does not, and takes three to eight times as long.
"""

import warp as wp

wp.set_module_options({"enable_backward": False})

FLOAT = wp.constant(wp.uint64(4))
COMPLEX = wp.constant(wp.uint64(8))


@wp.func
def times(q: wp.vec2f, p: wp.vec2f):
    """Product of two complex numbers."""
    return wp.vec2f(q[0] * p[0] - q[1] * p[1], q[0] * p[1] + q[1] * p[0])


@wp.func
def keep_of(s: float):
    """1 - z of a minGRU's gate, whose sigmoid is s: exactly 0 and 1 where z is 1 and 0."""
    return wp.clamp(1.1 - 1.2 * s, 0.0, 1.0)


@wp.func
def extent(told: wp.uint64, i: int):
    """One of T, B, n."""
    return int(wp.array(ptr=told, shape=(3,), dtype=wp.int64)[i])


@wp.func
def address(told: wp.uint64, i: int):
    """Where the tensor of this number lies."""
    return wp.uint64(wp.array(ptr=told, shape=(16,), dtype=wp.int64)[3 + i])


@wp.func
def row_at(base: wp.uint64, row: int, n: int, size: wp.uint64):
    """The address of a row of n values of `size` bytes."""
    return base + wp.uint64(row) * wp.uint64(n) * size


@wp.kernel
def hold(told: wp.uint64):
    """h_t = k h_{t-1} + (1 - k) candidate_t: s, candidate, h (T, B, n), first (B, n), start (T, B)."""
    batch = extent(told, 1)
    steps = extent(told, 0)
    n = extent(told, 2)
    s_ = address(told, 0)
    candidate_ = address(told, 1)
    first_ = address(told, 2)
    start_ = address(told, 3)
    h_ = address(told, 4)
    start = wp.array(ptr=start_, shape=(steps * batch,), dtype=wp.uint8)
    b = wp.tid()
    last = row_at(first_, b, n, FLOAT)
    for t in range(steps):
        r = t * batch + b
        s = wp.array(ptr=row_at(s_, r, n, FLOAT), shape=(n,), dtype=float)
        candidate = wp.array(ptr=row_at(candidate_, r, n, FLOAT), shape=(n,), dtype=float)
        before = wp.array(ptr=last, shape=(n,), dtype=float)
        h = wp.array(ptr=row_at(h_, r, n, FLOAT), shape=(n,), dtype=float)
        begins = start[r] != wp.uint8(0)
        j = wp.int32(0)
        while j < n:
            k = keep_of(s[j])
            h[j] = k * wp.where(begins, 0.0, before[j]) + (1.0 - k) * candidate[j]
            j += 1
        last = row_at(h_, r, n, FLOAT)


@wp.kernel
def hold_back(told: wp.uint64):
    """The way back of `hold` and the sigmoid of the gate.

    `carry` (B, n), the gradient by the last h from what comes later, becomes that by `first`; `projected` (T, B, 2 n)
    becomes the gradients by gate and candidate.
    """
    batch = extent(told, 1)
    steps = extent(told, 0)
    n = extent(told, 2)
    dh_ = address(told, 0)
    s_ = address(told, 1)
    candidate_ = address(told, 2)
    h_ = address(told, 3)
    first_ = address(told, 4)
    start_ = address(told, 5)
    carry_ = address(told, 6)
    projected_ = address(told, 7)
    start = wp.array(ptr=start_, shape=(steps * batch,), dtype=wp.uint8)
    b = wp.tid()
    carry = wp.array(ptr=row_at(carry_, b, n, FLOAT), shape=(n,), dtype=float)
    for back in range(steps):
        t = steps - 1 - back
        r = t * batch + b
        last = row_at(first_, b, n, FLOAT)
        if t > 0:
            last = row_at(h_, r - batch, n, FLOAT)
        dh = wp.array(ptr=row_at(dh_, r, n, FLOAT), shape=(n,), dtype=float)
        s = wp.array(ptr=row_at(s_, r, n, FLOAT), shape=(n,), dtype=float)
        candidate = wp.array(ptr=row_at(candidate_, r, n, FLOAT), shape=(n,), dtype=float)
        before = wp.array(ptr=last, shape=(n,), dtype=float)
        by_gate = wp.array(ptr=row_at(projected_, 2 * r, n, FLOAT), shape=(n,), dtype=float)
        by_candidate = wp.array(ptr=row_at(projected_, 2 * r + 1, n, FLOAT), shape=(n,), dtype=float)
        begins = start[r] != wp.uint8(0)
        j = wp.int32(0)
        while j < n:
            g = dh[j] + carry[j]
            gate = s[j]
            k = keep_of(gate)
            # dz/da = 1.2 s (1 - s); dh/dz = candidate - h_{t-1}; dh/dcandidate = z
            by_gate[j] = 1.2 * gate * (1.0 - gate) * (candidate[j] - wp.where(begins, 0.0, before[j])) * g
            by_candidate[j] = (1.0 - k) * g
            carry[j] = wp.where(begins, 0.0, k * g)
            j += 1


@wp.kernel
def turn(told: wp.uint64):
    """s_t += rotation s_{t-1}, in place: s (T, B, n), rotation (n,), first (B, n) complex, start (T, B)."""
    batch = extent(told, 1)
    steps = extent(told, 0)
    n = extent(told, 2)
    s_ = address(told, 0)
    rotation_ = address(told, 1)
    first_ = address(told, 2)
    start_ = address(told, 3)
    rotation = wp.array(ptr=rotation_, shape=(n,), dtype=wp.vec2f)
    start = wp.array(ptr=start_, shape=(steps * batch,), dtype=wp.uint8)
    b = wp.tid()
    last = row_at(first_, b, n, COMPLEX)
    for t in range(steps):
        r = t * batch + b
        before = wp.array(ptr=last, shape=(n,), dtype=wp.vec2f)
        last = row_at(s_, r, n, COMPLEX)
        if start[r] == wp.uint8(0):
            s = wp.array(ptr=last, shape=(n,), dtype=wp.vec2f)
            j = wp.int32(0)
            while j < n:
                s[j] = s[j] + times(rotation[j], before[j])
                j += 1


@wp.kernel
def turn_back(told: wp.uint64):
    """The way back of `turn`, on conjugates: g_t += carry, then carry = rotation g_t, 0 at starts.

    `carry` (B, n) comes from later and becomes the gradient by `first`; g_t s_{t-1} is added to `d_rotation` (B, n).
    """
    batch = extent(told, 1)
    steps = extent(told, 0)
    n = extent(told, 2)
    g_ = address(told, 0)
    s_ = address(told, 1)
    rotation_ = address(told, 2)
    first_ = address(told, 3)
    start_ = address(told, 4)
    carry_ = address(told, 5)
    d_rotation_ = address(told, 6)
    rotation = wp.array(ptr=rotation_, shape=(n,), dtype=wp.vec2f)
    start = wp.array(ptr=start_, shape=(steps * batch,), dtype=wp.uint8)
    b = wp.tid()
    carry = wp.array(ptr=row_at(carry_, b, n, COMPLEX), shape=(n,), dtype=wp.vec2f)
    d_rotation = wp.array(ptr=row_at(d_rotation_, b, n, COMPLEX), shape=(n,), dtype=wp.vec2f)
    for back in range(steps):
        t = steps - 1 - back
        r = t * batch + b
        last = row_at(first_, b, n, COMPLEX)
        if t > 0:
            last = row_at(s_, r - batch, n, COMPLEX)
        g = wp.array(ptr=row_at(g_, r, n, COMPLEX), shape=(n,), dtype=wp.vec2f)
        before = wp.array(ptr=last, shape=(n,), dtype=wp.vec2f)
        j = wp.int32(0)
        if start[r] != wp.uint8(0):
            while j < n:
                g[j] = g[j] + carry[j]
                carry[j] = wp.vec2f(0.0, 0.0)
                j += 1
        else:
            while j < n:
                total = g[j] + carry[j]
                g[j] = total
                carry[j] = times(rotation[j], total)
                d_rotation[j] = d_rotation[j] + times(total, before[j])
                j += 1
