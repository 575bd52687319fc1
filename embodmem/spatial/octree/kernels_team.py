# mypy: ignore-errors
"""Worker threads of a CPU that go through the phases of one job together, inside a kernel.

Each worker runs the same kernel; worker 0 leads. The leader opens a phase with a number of items; whoever is there
takes some of them at a time until none is left, and the leader waits for those that were begun, not for workers: one
that comes late finds less to do, or nothing. What was written before a phase was opened or done is seen after it.

A team is (`ROOM`,) int32, zeros before the job: a cache line (16 numbers) each for the phase that is open, and then for
what was taken, what is done and the total of each phase, so that workers do not fight over one line.
"""

import warp as wp

wp.set_module_options({"enable_backward": False})

PHASES = 4
ROOM = 16 * (1 + 3 * PHASES)
_CLOSED = PHASES + 1  # no phase is open any more

_OPEN = """
    int* at = team.data + 16 * (1 + 3 * phase);
    at[32] = total;
    __atomic_store_n(team.data, phase + 1, __ATOMIC_RELEASE);
"""


@wp.func_native(_OPEN)
def open_phase(team: wp.array(dtype=wp.int32), phase: int, total: int):
    """Let all work on the `total` items of a phase; the leader's."""
    ...


_CLOSE = f"__atomic_store_n(team.data, {_CLOSED}, __ATOMIC_RELEASE);"


@wp.func_native(_CLOSE)
def close(team: wp.array(dtype=wp.int32)):
    """Send everybody home; the leader's."""
    ...


_PAUSE = """
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
"""

_TRIES = 10_000  # some tenths of a millisecond; a worker that found nothing to do till then is of more use elsewhere
_TAKE = f"""
    int* at = team.data + 16 * (1 + 3 * phase);
    int now = __atomic_load_n(team.data, __ATOMIC_ACQUIRE);
    for (int i = 0; now <= phase && i < {_TRIES}; ++i) {{
        {_PAUSE}
        now = __atomic_load_n(team.data, __ATOMIC_ACQUIRE);
    }}
    if (now <= phase || now == {_CLOSED}) return -1;
    const int from = __atomic_fetch_add(at, some, __ATOMIC_RELAXED);
    return from < at[32] ? from : -1;
"""


@wp.func_native(_TAKE)
def take(team: wp.array(dtype=wp.int32), phase: int, some: int) -> int:
    """The first of the next `some` items of a phase, once it is open; -1 where none is left or one waited in vain."""
    ...


_DONE = """
    const int left = team.data[16 * (3 + 3 * phase)] - start;
    __atomic_fetch_add(team.data + 16 * (2 + 3 * phase), some < left ? some : left, __ATOMIC_RELEASE);
"""


@wp.func_native(_DONE)
def done(team: wp.array(dtype=wp.int32), phase: int, start: int, some: int):
    """Tell that the items taken are done."""
    ...


_WAIT = f"""
    const int* at = team.data + 16 * (2 + 3 * phase);
    while (__atomic_load_n(at, __ATOMIC_ACQUIRE) < at[16]) {{
        {_PAUSE}
    }}
"""


@wp.func_native(_WAIT)
def wait(team: wp.array(dtype=wp.int32), phase: int):
    """Wait until all items of a phase are done; the leader's, once it can take no more."""
    ...
