"""Ranking, words and vectors of records."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from embodmem.encoders import HashingEncoder
from embodmem.errors import InvalidInput
from embodmem.index import Record, Records, fuse
from embodmem.index.words import content_words, match_expression, words
from embodmem.store import Store
from embodmem.types import Query, Recall

DIM = 512


def note(text: str, stamp_ns: int = 1, label: str = "", x: float | None = None) -> Record:
    position = None if x is None else np.array([x, 0.0, 0.0])
    return Record(kind="event", text=text, label=label, first_ns=stamp_ns, last_ns=stamp_ns, position=position)


def texts(found: Sequence[Recall]) -> list[str]:
    return [item.text for item in found]


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=2), st.lists(st.integers(0, 20), unique=True), max_size=4))
def test_fusion_is_the_formula(rankings: dict[str, list[int]]) -> None:
    keys = {key for ranking in rankings.values() for key in ranking}
    wanted = {k: sum(1 / (61 + r.index(k)) for r in rankings.values() if k in r) for k in keys}
    got = fuse(rankings)
    assert got == pytest.approx(wanted)
    assert list(got.values()) == sorted(got.values(), reverse=True)


def test_fusion_of_equals_keeps_their_order() -> None:
    assert list(fuse({"a": [3, 1], "b": [1, 3]})) == [3, 1]
    assert fuse({}) == fuse({"a": []}) == {}


def test_why_tells_the_channels(records: Records) -> None:
    for i, text in enumerate(["a red mug", "a red car", "the garden gate"]):
        records.add(note(text, i, x=float(i)))
    best = records.search(Query(text="red mug", near=np.array([0.2, 0.0, 0.0])), 3)
    assert texts(best)[0] == "a red mug"
    assert set(best[0].why) == {"words", "meaning", "near", "context"}
    assert best[0].why["near"] == pytest.approx(0.2)  # the distance in metres
    context = best[0].why["context"]
    assert best[0].score == pytest.approx(1.0 + context + 1 / 1.2)  # best in words and meaning, 0.2 m away
    assert "the garden gate" not in texts(best)  # it is near, but the words did not choose it
    by_place = records.search(Query(near=np.array([1.9, 0.0, 0.0])), 3)
    assert texts(by_place) == ["the garden gate", "a red car", "a red mug"]
    newest = records.search(Query(kinds=("event",)), 2)
    assert texts(newest) == ["the garden gate", "a red car"]
    assert set(newest[0].why) == {"recent"}


def test_k_beyond_what_channels_hand_out_by_default(records: Records) -> None:
    with records.store.transaction():
        for i in range(450):
            records.add(note("mug", i, x=float(i)))
    for query in (Query(), Query(text="mug"), Query(near=np.zeros(3)), Query(embedding=records.encode(["mug"])[0])):
        assert len(records.search(query, 1000)) == 450
        assert len(records.search(query, 7)) == 7


NASTY = (
    "",
    " ",
    "*",
    '"',
    "'",
    'mug\'s "x" AND (',
    "NEAR(a b, 2)",
    "label:mug OR text:*",
    "-mug ^mug mug*",
    "a AND",
    "NOT",
    "; DROP TABLE record; --",
    "日本 の カップ",
    "чашка",
    "☕🤖👩‍🚀",
    "a\x00b",
    "x" * 100_000,
    "%_\\",
    "\n\t",
)


@pytest.mark.parametrize("text", NASTY)
def test_no_text_upsets_a_search(records: Records, text: str) -> None:
    records.add(note('mug\'s "x" AND ( on the table'))
    for query in (
        Query(text=text),
        Query(labels=(text,)),
        Query(kinds=(text,)),
        Query(agent=text),
    ):
        assert isinstance(records.search(query, 5), list)
    records.match(Query(text=text))
    if text and "\x00" not in text:
        number = records.add(note(text, label=text))
        assert records.get([number])[0].text == text
        if words(text):
            assert f"event:{number}" in [r.id for r in records.search(Query(text=text), 10)]
        assert [r.id for r in records.search(Query(labels=(text,)), 10)] == [f"event:{number}"]
        assert records.remove([number]) == 1


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=40))
@example("AND OR NOT NEAR")
def test_any_expression_is_fts5(fts, text: str) -> None:  # type: ignore[no-untyped-def]
    for every in (False, True):
        expression = match_expression(text, every)
        if expression:
            fts.execute("SELECT count(*) FROM t WHERE t MATCH ?", (expression,)).fetchall()


@pytest.fixture(scope="module")
def fts():  # type: ignore[no-untyped-def]
    import sqlite3

    db = sqlite3.connect(":memory:")
    db.execute("CREATE VIRTUAL TABLE t USING fts5 (x)")
    yield db
    db.close()


def test_content_words() -> None:
    assert content_words("Where did I leave the red mug, the RED one?") == ["leave", "red", "mug", "one"]
    assert content_words("what is it") == ["what", "is", "it"]
    assert match_expression("the mug on table", every=True) == '"mug" AND "table"'
    assert match_expression("?!") == ""


def test_forgetting_by_words_wants_every_one(records: Records) -> None:
    numbers = [records.add(note(text)) for text in ("red mug", "blue mug", "mugs that are red", "red car")]
    assert records.match(Query(text="the red mug")) == [numbers[0], numbers[2]]  # stemmed: mug, mugs
    assert records.match(Query(text="?")) == []


def _meaning(records: Records, text: str) -> dict[str, float]:
    found = records.search(Query(embedding=records.encode([text])[0]), 100)
    return {item.id: item.why["meaning"] for item in found if item.why["meaning"] > 0.5}


def test_vectors_follow_every_change(records: Records) -> None:
    number = records.add(note("a red mug"))  # outside of a transaction of the caller
    assert _meaning(records, "a red mug") == {f"event:{number}": pytest.approx(1.0)}
    records.replace(number, note("a bicycle in the garage"))
    assert _meaning(records, "a bicycle in the garage") == {f"event:{number}": pytest.approx(1.0)}
    assert _meaning(records, "red mug") == {}
    with pytest.raises(ZeroDivisionError), records.store.transaction():
        records.replace(number, note("a red mug"))
        raise ZeroDivisionError
    assert _meaning(records, "a bicycle in the garage") == {f"event:{number}": pytest.approx(1.0)}
    records.remove([number])
    assert _meaning(records, "a bicycle in the garage") == {}
    with records.store.transaction():
        records.remove([records.add(note("short life"))])
    assert _meaning(records, "short life") == {}


class _Counting(HashingEncoder):
    """Counts its work."""

    calls = 0

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.calls += len(texts)
        return super().encode(texts)


def test_texts_are_encoded_once_and_in_one_batch(path: Path) -> None:
    store = Store(path)
    records = Records(store, encoder := _Counting(DIM))
    with store.transaction():
        for i in range(10):
            records.add(note("the same", i))
            number = records.add(note(f"another{i}", i))
        assert encoder.calls == 0
    assert encoder.calls == 11
    records.replace(number, note("another9", 99))
    assert encoder.calls == 11
    store.close()


def test_rows_of_removed_vectors_are_used_again(records: Records) -> None:
    records.search(Query(text="x"), 1)
    for i in range(600):
        number = records.add(note(f"line{i}"))
        if i >= 5:
            records.remove([number - 5])
        if i == 10:
            records.search(Query(text="line10"), 1)
    assert _meaning(records, "line597")[f"event:{number - 2}"] == pytest.approx(1.0)
    with records.store.read() as db, records.mirror.at(db) as rows:
        assert rows is not None and rows.n <= 256  # a memory that runs for days must not grow by what it dropped


def test_a_reader_sees_what_another_process_wrote(path: Path) -> None:
    store = Store(path)
    Records(store, HashingEncoder(DIM)).add(note("first line"))
    reader = Records(Store(path, "r"), HashingEncoder(DIM))
    assert list(_meaning(reader, "first line")) == ["event:1"]
    store.close()
    code = (
        "import sys; from embodmem.store import Store; from embodmem.index import Records, Record\n"
        "from embodmem.encoders import HashingEncoder\n"
        f"records = Records(Store(sys.argv[1]), HashingEncoder({DIM}))\n"
        "records.add(Record(kind='event', text='zebra', first_ns=1, last_ns=1))\n"
        "records.replace(1, Record(kind='event', text='giraffe', first_ns=1, last_ns=1))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, float]] = []

    def ask() -> None:
        found.extend([_meaning(reader, "zebra"), _meaning(reader, "giraffe")])

    thread = threading.Thread(target=ask)  # its connection is a new one: versions of two of them do not compare
    thread.start()
    thread.join()
    ask()
    assert [list(scores) for scores in found] == [["event:2"], ["event:1"]] * 2
    reader.store.close()


def test_a_search_during_a_write_loses_no_vector(path: Path) -> None:
    """A thread that fills its matrix just before a commit must not take that for all there is."""
    store = Store(path)
    records = Records(store, HashingEncoder(DIM))
    store.before_commit.append(lambda _: _in_thread(lambda: records.search(Query(text="zebra"), 5)))
    records.add(note("zebra"))
    assert _meaning(records, "zebra") == {"event:1": pytest.approx(1.0)}
    store.close()


def _in_thread(job: Callable[[], object]) -> None:
    thread = threading.Thread(target=job)
    thread.start()
    thread.join()


def test_another_encoder_writes_all_vectors_anew(path: Path) -> None:
    store = Store(path)
    records = Records(store, HashingEncoder(DIM))
    number = records.add(note("red mug"))
    records.add(note("will be empty"))
    records.replace(2, note(""))
    store.close()
    store = Store(path)
    records = Records(store, None)  # the encoder cannot be had: words still work, vectors must not grow stale
    assert texts(records.search(Query(text="mug"), 1)) == ["red mug"]
    records.replace(number, note("green car"))
    records.add(note("yellow bus"))
    with pytest.raises(InvalidInput, match="without one"):
        records.encode(["x"])
    store.close()
    store = Store(path)
    records = Records(store, HashingEncoder(DIM))
    records.encode_texts(missing_only=True)
    assert _meaning(records, "green car") == {"event:1": pytest.approx(1.0)}
    assert _meaning(records, "yellow bus") == {"event:3": pytest.approx(1.0)}
    store.close()
    store = Store(path)
    records = Records(store, HashingEncoder(128))
    records.encode_texts()
    assert _meaning(records, "green car") == {"event:1": pytest.approx(1.0)}
    store.close()


def test_threads_encode_at_once(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embodmem.index.search.HELD_TEXTS", 8)
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        try:
            for _ in range(300):
                chosen = [f"word{n}" for n in rng.integers(0, 30, 6)]
                assert np.allclose(records.encode(chosen), HashingEncoder(DIM).encode(chosen))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(records._held) <= 8
    assert records.encode([]).shape == (0, DIM)
