# mypy: ignore-errors
"""Consolidation of a MemoryVLA bank over many steps, as a Warp kernel: one thread a row, one step after another."""

from typing import Any

import warp as wp

wp.set_module_options({"enable_backward": False})


@wp.func
def likeness(entries: wp.array3d(dtype=Any), row: int, slot: int, tokens: int):
    """Mean over the tokens of the cosine between an entry and the next."""
    width = entries.shape[2] // tokens
    total = entries.dtype(0.0)
    for p in range(tokens):
        dot = entries.dtype(0.0)
        first = entries.dtype(0.0)
        second = entries.dtype(0.0)
        for w in range(p * width, (p + 1) * width):
            a = entries[row, slot, w]
            b = entries[row, slot + 1, w]
            dot += a * b
            first += a * a
            second += b * b
        tiny = entries.dtype(1.0e-8)  # as torch.nn.functional.cosine_similarity
        total += dot / (wp.max(wp.sqrt(first), tiny) * wp.max(wp.sqrt(second), tiny))
    return total / entries.dtype(tokens)


@wp.kernel
def consolidate(
    now: wp.array3d(dtype=Any),
    clock: wp.array2d(dtype=wp.int64),
    start: wp.array2d(dtype=wp.bool),
    tokens: int,
    entries: wp.array3d(dtype=Any),
    time: wp.array2d(dtype=wp.int64),
    count: wp.array(dtype=wp.int64),
    seen: wp.array4d(dtype=Any),
    seen_time: wp.array3d(dtype=wp.int64),
    seen_count: wp.array2d(dtype=wp.int64),
):
    """Write T entries `now` (T, B, tokens * W) into banks of L, whose arrays have one slot more.

    `entries` (B, L + 1, tokens * W), `time` (B, L + 1) and `count` (B,) are brought up to date; `seen`
    (T, B, L, tokens * W), `seen_time` (T, B, L) and `seen_count` (T, B) are filled with the bank that step t reads.
    """
    row = wp.tid()
    length = entries.shape[1] - 1
    width = entries.shape[2]
    for t in range(now.shape[0]):
        if start[t, row]:
            count[row] = wp.int64(0)
            for i in range(length):
                time[row, i] = wp.int64(0)
                for w in range(width):
                    entries[row, i, w] = entries.dtype(0.0)
        held = wp.int32(count[row])
        seen_count[t, row] = count[row]
        for i in range(length):
            seen_time[t, row, i] = time[row, i]
            for w in range(width):
                seen[t, row, i, w] = entries[row, i, w]
        time[row, held] = clock[t, row]
        for w in range(width):
            entries[row, held, w] = now[t, row, w]
        if held < length:
            count[row] = wp.int64(held + 1)
        else:
            best = wp.int32(0)
            most = likeness(entries, row, 0, tokens)
            for i in range(1, length):
                other = likeness(entries, row, i, tokens)
                if other > most:
                    most = other
                    best = i
            for w in range(width):
                mean = entries.dtype(0.5) * (entries[row, best, w] + entries[row, best + 1, w])
                entries[row, best, w] = mean
            for i in range(best + 1, length):
                time[row, i] = time[row, i + 1]
                for w in range(width):
                    entries[row, i, w] = entries[row, i + 1, w]


for kind in (wp.float32, wp.float64):  # both at once: the module is compiled a single time
    wp.overload(
        consolidate, {"now": wp.array3d(dtype=kind), "entries": wp.array3d(dtype=kind), "seen": wp.array4d(dtype=kind)}
    )
