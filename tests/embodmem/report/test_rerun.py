"""The recording, read back with rerun's own reader."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from embodmem.embodied import EmbodiedMemory
from embodmem.errors import InvalidInput, MissingDependency
from embodmem.report.rerun import write_recording
from embodmem.types import Event

S = 1_000_000_000


def read(path) -> dict[str, list]:
    """Entity -> its chunks as record batches."""
    chunk = pytest.importorskip("rerun.chunk")
    found: dict[str, list] = {}
    for item in chunk.RrdReader(str(path)).stream().to_chunks():
        found.setdefault(item.entity_path, []).append(item.to_record_batch())
    return found


def column(batches: list, name: str) -> list:
    """All values of the one column whose name ends so."""
    return [
        value
        for batch in batches
        for field in batch.schema.names
        if field.split(":")[-1] == name
        for value in batch.column(field).to_pylist()
        if value is not None
    ]


def stamps(batches: list) -> list[int]:
    """Where a chunk lies on the timeline, ns."""
    return [ns for batch in batches for ns in batch.column("stamp").cast("int64").to_pylist()]


def test_a_recording_holds_the_memory(tmp_path, memory):
    pytest.importorskip("rerun")
    target = tmp_path / "memory.rrd"
    write_recording(memory, target)
    found = read(target)
    for item in memory.scene.objects():
        batches = found[f"/world/objects/{item.id.split(':')[1]}"]
        assert column(batches, "labels") == [[item.label]]
        half = column(batches, "half_sizes")[0][0]
        assert np.allclose(half, np.array(item.data["extent"]) / 2, atol=1e-5)
        assert np.allclose(column(batches, "centers")[0][0], item.position, atol=0.2)
        assert stamps(batches) == [item.first_seen_ns]
    frames = [k for k in memory.episodic.timeline() if k.kind == "keyframe"]
    places = column(found["/world/camera/agent"], "translation")
    expected = [memory.episodic.get_keyframe(k.id) for k in frames]
    assert np.allclose(sorted(p[0] for p in places), sorted([k.T_world_camera[:3, 3].tolist() for k in expected]))
    blobs = {bytes(blob[0]) for blob in column(found["/view/agent"], "blob")}
    assert blobs == {k.jpeg for k in expected}
    centres, _ = memory.spatial.octree.occupied()
    voxels = np.array(column(found["/world/map"], "positions")[0])
    assert len(centres) > 100 and np.allclose(voxels, centres, atol=1e-5)
    assert sorted(column(found["/world/rooms"], "labels")[0]) == sorted(r.label for r in memory.scene.rooms())
    assert "told: <script>alert('x')</script> & so on" in [t[0] for t in column(found["/events"], "text")]
    assert np.shape(column(found["/world/way/agent"], "strips")[0]) == (1, len(frames), 3)


def test_a_large_map_is_written_coarser(tmp_path, memory):
    pytest.importorskip("rerun")
    target = tmp_path / "memory.rrd"
    write_recording(memory, target, max_voxels=50)
    assert 0 < len(column(read(target)["/world/map"], "positions")[0]) <= 50


def test_unix_stamps_are_dates_and_an_empty_memory_is_a_recording(tmp_path):
    pytest.importorskip("rerun")
    with EmbodiedMemory() as memory:
        write_recording(memory, tmp_path / "empty.rrd")
        assert "/world" in read(tmp_path / "empty.rrd")
        stamp_ns = 1_714_644_903 * S
        memory.write(Event(stamp_ns=stamp_ns, kind="told", text="hello"))
        write_recording(memory, tmp_path / "one.rrd")
    events = read(tmp_path / "one.rrd")["/events"]
    assert stamps(events) == [stamp_ns] and "timestamp" in str(events[0].column("stamp").type)


def test_without_rerun_the_message_says_what_to_install(tmp_path, memory, monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(MissingDependency, match=r"embodmem\[viz\]"):
        write_recording(memory, tmp_path / "memory.rrd")
    assert not list(tmp_path.iterdir())


def test_bad_input(tmp_path, memory):
    with pytest.raises(InvalidInput, match="folder that exists"):
        write_recording(memory, tmp_path / "none" / "memory.rrd")
    with pytest.raises(InvalidInput, match="max_voxels"):
        write_recording(memory, tmp_path / "memory.rrd", max_voxels=0)
