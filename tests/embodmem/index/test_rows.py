"""Rows as slices and as lists, and work over them in threads: each against the plain way."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.index import threads
from embodmem.index.codes import Estimate, quantise
from embodmem.index.rows import Batch, Rows, dense, kept
from embodmem.index.threads import in_parts


@settings(max_examples=200, deadline=None)
@given(
    at=st.tuples(st.integers(0, 5), st.integers(0, 12)).map(lambda t: slice(t[0], t[0] + t[1]))
    | st.lists(st.integers(0, 30), unique=True).map(lambda x: np.array(sorted(x), dtype=np.int64)),
    data=st.data(),
)
def test_what_is_kept(at: slice | np.ndarray, data: st.DataObject) -> None:
    plain = np.arange(40)[at]
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(plain), max_size=len(plain))), dtype=np.bool_)
    found = kept(at, keep)
    assert np.arange(40)[found].tolist() == plain[keep].tolist()
    if isinstance(at, slice) and len(plain[keep]) and np.all(np.diff(plain[keep]) == 1):
        assert isinstance(found, slice)  # nothing is copied for it


def batch(ids: np.ndarray) -> Batch:
    n = len(ids)
    return Batch(
        ids=ids.astype(np.int64),
        first=np.arange(n),
        last=np.arange(n),
        box=np.full((n, 6), np.nan),
        group=np.zeros(n, np.int32),
        has=np.ones(n, np.bool_),
        exact=np.ones((n, 1), np.float32),
    )


def test_ids_and_their_rows() -> None:
    rows = Rows(1, exact=True)
    rows.group_number(("event", "", "", "", True))
    rows.put(batch(np.arange(10, 40, 2)))
    for at in (slice(3, 7), np.array([1, 2, 9]), slice(0, 15), slice(4, 4)):
        ids = rows.ids_of(at)
        assert ids.tolist() == np.arange(10, 40, 2)[at].tolist()
        assert rows.rows_of(ids) is at
        assert rows.find(ids).tolist() == np.arange(15)[at].tolist()
        for others in (ids.copy(), ids):
            found = rows.rows_of(others)
            assert np.arange(15)[found].tolist() == np.arange(15)[at].tolist()
        with pytest.raises(ValueError, match="read-only"):
            ids[:] = 0
    before = rows.ids_of(slice(0, 15))
    rows.remove(np.array([12, 20]))
    rows.put(batch(np.array([100, 101])))
    assert before.tolist() == list(range(10, 40, 2))  # what was handed out stays as it was
    assert dense(rows.find(before)[rows.find(before) >= 0]) is not None
    assert rows.column("ids")[rows.rows_of(before)].tolist() == [i for i in before.tolist() if i not in (12, 20)]
    rows.remove(before[2:-1])
    for number in range(200, 330, 2):  # most are gone: the columns are packed anew
        rows.put(batch(np.array([number])))
    rows.remove(np.arange(200, 330))
    assert before.tolist() == list(range(10, 40, 2))


def test_a_choice_follows_new_groups() -> None:
    rows = Rows(0, exact=False)
    for kind in ("event", "fact"):
        rows.group_number((kind, "", "", "", True))
        choice = rows.chosen("facts", lambda group: group[0] == "fact")
        assert choice.groups.tolist() == [False, kind == "fact", False][3 - len(rows.groups) - 1 :]
        assert choice.facts == (kind == "fact") and not choice.every
    assert rows.chosen("all", lambda group: True).every


@pytest.mark.parametrize("count", [0, 1, 10, 25, 1000])
def test_each_part_once(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "PART", 10)
    monkeypatch.setattr(threads, "THREADS", 3)
    monkeypatch.setattr(threads, "_pool", None)
    done = np.zeros(count, np.int64)

    def job(part: slice) -> None:
        done[part] += 1

    in_parts(job, count)
    assert (done == 1).all()


def test_an_error_in_a_part_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "PART", 10)
    monkeypatch.setattr(threads, "THREADS", 3)
    monkeypatch.setattr(threads, "_pool", None)

    def job(part: slice) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        in_parts(job, 100)
    done: list[slice] = []
    in_parts(done.append, 100)  # and the next work is done as ever
    assert sorted(part.start for part in done) == list(range(0, 100, 10))


FORKED = """
import os, sys, threading
from embodmem.index import threads

threads.PART, threads.THREADS = 1, 2


def meet():
    barrier = threading.Barrier(2)  # two threads come to it, or it breaks
    threads.in_parts(lambda part: barrier.wait(30), 2)


meet()
pid = os.fork()
if pid == 0:
    meet()
    os._exit(7)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_has_threads_of_its_own() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], capture_output=True, text=True, timeout=120)
    assert done.returncode == 7, done.stderr


def test_many_rows_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "PART", 100)
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((1234, 48)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    query = vectors[77]
    cosines, bounds = Estimate(query).rough(*quantise(vectors))
    assert cosines.dtype == bounds.dtype == np.float32
    assert (np.abs(cosines - vectors.astype(np.float64) @ query.astype(np.float64)) <= bounds).all()
    assert bounds.max() < 0.05
