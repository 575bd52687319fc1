"""The contracts of the protocols as tests: run one against your own implementation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import InvalidInput, StampError
from embodmem.geometry import look_at
from embodmem.types import Detection, Encoder, Event, Memory, Percept, PinholeCamera, Query, Recall


def check_encoder(encoder: Encoder) -> None:
    """Test an encoder against the contract of `embodmem.types.Encoder`.

    Raises:
        AssertionError: It breaks the contract; the message says how.
    """
    texts = [
        "a red mug on the table",
        "the mug",
        "",
        "a bicycle in the garage",
        "Tasse à café ☕",
        "the mug",
        "x " * 999,
    ]
    vectors = encoder.encode(texts)
    assert isinstance(encoder.name, str) and encoder.name, f"name: wanted a text, got {encoder.name!r}"
    assert isinstance(encoder, Encoder), "wanted name, dim, min_score and encode"
    wanted = (len(texts), encoder.dim)
    assert vectors.shape == wanted, f"encode: wanted shape {wanted}, got {vectors.shape}"
    assert vectors.dtype == np.float32, f"encode: wanted float32, got {vectors.dtype}"
    norms = np.linalg.norm(vectors, axis=1)
    assert np.allclose(norms, 1.0, atol=1e-5), f"encode: wanted rows of unit norm (the empty text too), got {norms}"
    empty = encoder.encode([])
    assert empty.shape == (0, encoder.dim), f"encode([]): wanted shape {(0, encoder.dim)}, got {empty.shape}"
    assert empty.dtype == np.float32, f"encode([]): wanted float32, got {empty.dtype}"
    assert np.array_equal(vectors, encoder.encode(texts)), "encode: wanted the same vectors for the same call"
    single = np.concatenate([encoder.encode([text]) for text in texts])
    apart = float(np.abs(single - vectors).max())
    assert apart <= 1e-6, f"encode: wanted batched equal to one by one within 1e-6, got {apart:.1e}"
    same = float(np.abs(vectors[1] - vectors[5]).max())
    assert same <= 1e-6, f"encode: wanted equal texts of one batch equal within 1e-6, got {same:.1e}"
    related, unrelated = float(vectors[1] @ vectors[0]), float(vectors[1] @ vectors[3])
    assert related > encoder.min_score > unrelated, (
        f"encode: wanted cos('the mug', {texts[0]!r}) > min_score > cos('the mug', {texts[3]!r}), "
        f"got {related:.3f}, {encoder.min_score}, {unrelated:.3f}"
    )


_ATOL_M = 1e-6
_A, _B = 0.0, 12.0
"""Where on the y axis the two things of `_life` stand, metres."""


def _look(stamp_ns: int, agent: str, label: str, y_m: float, eye_y_m: float) -> Percept:
    """A look along +x at a wall 2 m away and a box of 0.4 m before it, exact to the pixel."""
    camera = PinholeCamera(width=64, height=48, fx=60.0, fy=60.0, cx=32.0, cy=24.0)
    rows, cols = np.mgrid[: camera.height, : camera.width]
    T = look_at((0.0, eye_y_m, 1.0), (1.0, eye_y_m, 1.0))
    front_m = 1.6
    y, z = eye_y_m - (cols - camera.cx) / camera.fx * front_m, 1.0 - (rows - camera.cy) / camera.fy * front_m
    box = (np.abs(y - y_m) <= 0.2) & (np.abs(z - 1.0) <= 0.2)
    rgb = np.random.default_rng(stamp_ns).integers(0, 256, (*camera.shape, 3), dtype=np.uint8)
    return Percept(
        stamp_ns=stamp_ns,
        T_world_sensor=T,
        camera=camera,
        depth=np.where(box, front_m, 2.0).astype(np.float32),
        rgb=rgb,
        detections=(Detection(label=label, score=0.9, mask=box),),
        caption=f"a {label} before a wall",
        agent=agent,
    )


def _told(stamp_ns: int, agent: str, kind: str, text: str, label: str, y_m: float) -> Event:
    T = np.eye(4)
    T[:3, 3] = (0.0, y_m, 1.0)
    return Event(stamp_ns=stamp_ns, kind=kind, text=text, T_world_body=T, objects=(label,), agent=agent)


def _life() -> list[Percept | Event]:
    """Two agents, each at its own place with its own thing; stamps in seconds."""
    lived: list[Percept | Event] = []
    for n, (agent, label, y_m) in enumerate((("ann", "mug", _A), ("ben", "kettle", _B))):
        start_ns = n * 100 * 10**9
        eyes = y_m + np.array([-0.3, -0.1, 0.1, 0.3])
        lived += [_look(start_ns + i * 10**9, agent, label, y_m, eye) for i, eye in enumerate(eyes.tolist())]
        lived.append(_told(start_ns + 10 * 10**9, agent, "told", f"the {label} is hot", label, y_m))
        lived.append(_told(start_ns + 20 * 10**9, agent, "pick", f"picked up the {label}", label, y_m))
    return lived


def _region(y_m: float) -> NDArray[np.float64]:
    return np.array([[-1.0, y_m - 3.0, -1.0], [4.0, y_m + 3.0, 3.0]])


def _probes() -> list[Query]:
    """Questions of every kind, alone and together."""
    second = 10**9
    near = np.array([1.6, _A, 1.0])
    return [
        Query(),
        Query(text="mug"),
        Query(text="where is the hot kettle?"),
        Query(text="mug", labels=("kettle",)),
        Query(labels=("mug",)),
        Query(labels=("kettle", "mug")),
        Query(near=near),
        Query(near=near, radius_m=2.5),
        Query(near=near, text="mug"),
        Query(within=_region(_A)),
        Query(within=_region(_B), text="kettle"),
        Query(between_ns=(0, 5 * second)),
        Query(between_ns=(50 * second, None), text="mug kettle"),
        Query(between_ns=(None, 50 * second), within=_region(_A)),
        Query(agent="ann"),
        Query(agent="ben", text="kettle"),
        Query(agent="ben", labels=("kettle",), between_ns=(105 * second, 200 * second)),
    ]


def _nowhere() -> list[Query]:
    """Questions that nothing in `_life` can answer."""
    return [
        Query(labels=("unicorn",)),
        Query(agent="nobody"),
        Query(between_ns=(10**15, None)),
        Query(within=np.array([[500.0, 500.0, 500.0], [501.0, 501.0, 501.0]])),
        Query(near=np.array([500.0, 0.0, 0.0]), radius_m=1.0),
        Query(text="mug", within=_region(_A), labels=("unicorn",)),
    ]


def _corners(item: Recall) -> NDArray[np.float64] | None:
    """(2, 3) the box of an answer that has an extent, else its position twice."""
    if "lower" in item.data and "upper" in item.data:
        return np.array([item.data["lower"], item.data["upper"]])
    return None if item.position is None else np.stack([item.position, item.position])


def _holds(item: Recall) -> bool:
    """Whether an answer is something that has no end yet: it matches any later time."""
    return "valid_until_ns" in item.data and item.data["valid_until_ns"] is None


def _check_filters(item: Recall, query: Query) -> None:
    """What can be told from an answer alone must not contradict the filters."""
    box = _corners(item)
    begin, end = query.between_ns or (None, None)
    assert begin is None or _holds(item) or item.last_seen_ns >= begin, f"{query}: {item} ended before that time"
    assert end is None or item.first_seen_ns <= end, f"{query}: {item} began after that time"
    if query.within is not None:
        lower, upper = query.within
        assert box is not None, f"{query}: {item} has no place"
        assert (box[1] >= lower - _ATOL_M).all() and (box[0] <= upper + _ATOL_M).all(), f"{query}: {item} is outside"
    if query.near is not None and query.radius_m is not None:
        assert box is not None, f"{query}: {item} has no place"
        gap = np.maximum(np.maximum(box[0] - query.near, query.near - box[1]), 0.0)
        assert np.linalg.norm(gap) <= query.radius_m + _ATOL_M, f"{query}: {item} is farther away"
    if query.labels:
        said = f"{item.label} {item.text} {dict(item.data)}".lower()
        assert any(label.lower() in said for label in query.labels), f"{query}: {item} bears none of the labels"
    if query.agent is not None:
        assert item.data.get("agent", query.agent) == query.agent, f"{query}: {item} is another agent's"


def _answers(memory: Memory, query: Query, k: int = 1000) -> list[tuple[Any, ...]]:
    """What is compared of an answer."""
    found = memory.recall(query, k)
    assert isinstance(found, list) and all(isinstance(item, Recall) for item in found), f"{query}: wanted Recalls"
    return [
        (item.kind, item.id, item.label, item.text, item.first_seen_ns, item.last_seen_ns, round(item.score, 9))
        for item in found
    ]


def _all_answers(memory: Memory) -> list[list[tuple[Any, ...]]]:
    return [_answers(memory, query) for query in _probes()]


def check_memory(make: Callable[[], Memory]) -> None:
    """Test a memory against the contract of `embodmem.types.Memory`.

    It is written percepts and events of two agents at two places, and asked. What it answers is held against the
    filters; what it is not made for it may leave unanswered (a map knows no words, a list of facts no places).

    Args:
        make: Makes an empty memory; called several times.

    Raises:
        AssertionError: It breaks the contract; the message says how.
    """
    memory = make()
    assert isinstance(memory, Memory), "wanted write, recall, forget, clear, state_dict and load_state_dict"
    for query in _probes():
        assert memory.recall(query) == [], f"{query}: wanted [] of an empty memory"
    for experience in _life():
        memory.write(experience)
    assert any(_all_answers(memory)), "wanted an answer to any of the questions, got none at all"
    _check_recall(memory)
    _check_stamps(memory)
    other = make()
    _check_state(memory, other)
    _check_forget(memory)
    _check_clear(other)


def _check_recall(memory: Memory) -> None:
    before = _all_answers(memory)
    for query in _probes():
        for k in (1, 3, 1000):
            found = memory.recall(query, k)
            assert len(found) <= k, f"{query}: wanted {k} answers at most, got {len(found)}"
            scores = [item.score for item in found]
            assert scores == sorted(scores, reverse=True), f"{query}: wanted the best first, got scores {scores}"
            assert len({item.id for item in found}) == len(found), f"{query}: wanted each answer once"
            for item in found:
                _check_filters(item, query)
            best = _answers(memory, query)[:k]
            assert [item.id for item in found] == [entry[1] for entry in best], f"{query}: wanted the {k} best"
    for query in _nowhere():
        found = [item for item in memory.recall(query) if query.between_ns is None or not _holds(item)]
        assert found == [], f"{query}: wanted [] where nothing matches"
    assert [r.id for r in memory.recall("mug")] == [r.id for r in memory.recall(Query(text="mug"))]
    for k in (0, -1):
        for question in ("mug", Query(near=np.zeros(3))):
            _refused(InvalidInput, f"recall with k = {k}", memory.recall, question, k)
    assert _all_answers(memory) == before, "recall: wanted the same answers for the same questions"


def _refused(error: type[Exception], what: str, action: Callable[..., object], *arguments: Any) -> None:
    try:
        action(*arguments)
    except error:
        return
    raise AssertionError(f"{what}: wanted {error.__name__}, got no error")


def _check_stamps(memory: Memory) -> None:
    before = _all_answers(memory)
    for late in (_look(19 * 10**9, "ann", "late", _A, _A), _told(0, "ann", "told", "late", "late", _A)):
        _refused(StampError, "write of an older stamp", memory.write, late)
        assert _all_answers(memory) == before, "write: wanted nothing kept of what was refused"
        assert memory.recall(Query(labels=("late",))) == [], "write: wanted nothing kept of what was refused"
    memory.write(_told(20 * 10**9, "ann", "told", "at the same moment", "mug", _A))
    memory.write(_told(0, "cleo", "told", "another agent has a clock of its own", "mug", _A))


def _check_state(memory: Memory, other: Memory) -> None:
    state = memory.state_dict()
    other.write(_told(10**12, "dan", "told", "this one is replaced", "unicorn", _B))
    other.load_state_dict(state)
    assert _all_answers(other) == _all_answers(memory), "load_state_dict: wanted the answers of the memory it came from"
    assert other.recall(Query(labels=("unicorn",))) == [], "load_state_dict: wanted the old content replaced"
    late = _told(0, "ben", "told", "late", "late", _B)
    _refused(StampError, "write after load_state_dict", other.write, late)
    other.write(_told(0, "dan", "told", "its stamps are those of the state", "mug", _B))


def _check_forget(memory: Memory) -> None:
    _refused(InvalidInput, "forget of an empty query", memory.forget, Query())
    _refused(InvalidInput, "forget of a query without a filter", memory.forget, Query(near=np.zeros(3)))
    second = 10**9
    for query, untouched in (
        (Query(within=_region(_A)), Query(within=_region(_B))),
        (Query(between_ns=(105 * second, 115 * second)), Query(between_ns=(119 * second, 121 * second))),
        (Query(labels=("kettle",)), Query(agent="cleo")),
        (Query(agent="cleo"), Query(agent="ann")),
    ):
        matched = {entry[1] for entry in _answers(memory, query)}
        others = {entry[1] for entry in _answers(memory, untouched)} - matched
        try:
            gone = memory.forget(query)
        except InvalidInput:
            assert not matched, f"forget({query}): wanted what recall finds to be forgotten, got a refusal"
            continue
        assert isinstance(gone, int) and gone >= len(matched), f"forget: wanted the count {len(matched)}+, got {gone}"
        assert memory.recall(query) == [], f"forget({query}): wanted nothing left that matches"
        left = {entry[1] for probe in _probes() for entry in _answers(memory, probe)}
        assert not left & matched, f"forget({query}): still recalled: {sorted(left & matched)}"
        stayed = {entry[1] for entry in _answers(memory, untouched)}
        assert stayed >= others, f"forget({query}): wanted all else kept, but {sorted(others - stayed)} went, too"
        assert memory.forget(query) == 0, f"forget({query}): wanted 0 the second time"


def _check_clear(memory: Memory) -> None:
    assert any(_all_answers(memory)), "forget: wanted it to concern one memory, and not another one made alike"
    memory.clear()
    assert not any(_all_answers(memory)), "clear: wanted nothing left to recall"
    try:
        memory.write(_life()[0])
    except StampError as error:
        raise AssertionError("clear: wanted the stamps gone, too") from error
