"""The command line as its users meet it: a process with an exit code, answers on stdout, all else on stderr."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from embodmem.config import Config, config_to_plain, load_config
from tests.embodmem.small import (
    FRAMES,
    MUG_LATER,
    assert_same,
    command,
    embodmem,
    environment,
    frames_kept,
    write_recording,
)
from tests.embodmem.spatial.kitchen_objects import KITCHEN

OBJECT_KEYS = {"id", "label", "position", "extent", "sightings", "first_seen_ns", "last_seen_ns"}
ANSWER_KEYS = {
    *("kind", "id", "label", "text", "position", "score", "first_seen_ns", "last_seen_ns", "evidence", "why"),
}
COMMANDS: dict[str, tuple[tuple[str, ...], str]] = {
    "ask": (("ask", "room.mem", "where is the mug?"), "The mug is at "),
    "ask of the unknown": (("ask", "room.mem", "where is the piano?"), "not known: "),
    "objects": (("objects", "room.mem"), "mug"),
    "info": (("info", "room.mem"), f"{FRAMES} of {FRAMES} frames"),
    "report": (("report", "room.mem", "--out", "room.html", "--ask", "where is the mug?"), "room.html: "),
    "forget": (("forget", "copy.mem", "--label", "book"), "forgot "),
    "config": (("config",), "voxel_size_m: 0.05"),
    "build": (("build", "room", "--out", "room.mem", "--resume"), "all 40 frames were in it already"),
}


def one_json(done: subprocess.CompletedProcess[str]) -> Any:
    """The value of a run that went well and whose whole stdout is one JSON document."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def failed(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a run said which failed as it should."""
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("build ")]
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    return lines[0]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the commands run: a recording "room"."""
    folder = tmp_path_factory.mktemp("cli")
    write_recording(folder / "room")
    return folder


@pytest.fixture(scope="module")
def built(folder) -> subprocess.CompletedProcess[str]:
    """The run that made "room.mem", the first of all on its machine: it compiles the kernels."""
    return embodmem("build", "room", "--out", "room.mem", "--json", cwd=folder, WARP_CACHE_PATH=str(folder / "kernels"))


@pytest.fixture
def home(folder, built) -> Path:
    """The folder, with the memory "room.mem" and a copy of it to change."""
    assert built.returncode == 0, built.stderr
    shutil.copy(folder / "room.mem", folder / "copy.mem")
    return folder


def test_build_says_what_it_did(built, folder):
    summary = one_json(built)
    assert any((folder / "kernels").rglob("*.o")) or any((folder / "kernels").rglob("*.so")), "no kernel was compiled"
    assert set(summary) == {
        *("path", "frames", "total", "resumed_at", "skipped", "seconds", "frames_per_s", "records"),
    }
    assert (summary["path"], summary["frames"], summary["total"]) == ("room.mem", FRAMES, FRAMES)
    assert (summary["resumed_at"], summary["skipped"]) == (0, 0)
    assert summary["frames_per_s"] == pytest.approx(FRAMES / summary["seconds"], rel=0.02)
    assert summary["records"]["object"] == 3
    assert "40/40" in built.stderr and "frames/s" in built.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_in_words_and_as_json(home, name):
    words, wanted = COMMANDS[name]
    text = embodmem(*words, cwd=home)
    assert text.returncode == 0, text.stderr
    assert wanted in text.stdout
    assert "Traceback" not in text.stderr
    if name == "forget":
        shutil.copy(home / "room.mem", home / "copy.mem")
    one_json(embodmem(*words, "--json", cwd=home))


def test_answers_as_json(home):
    answers = one_json(embodmem("ask", "room.mem", "where is the mug?", "--json", cwd=home))
    assert [set(answer) for answer in answers] == [ANSWER_KEYS]
    (mug,) = answers
    assert (mug["kind"], mug["label"]) == ("object", "mug")
    assert np.linalg.norm(np.subtract(mug["position"], MUG_LATER)) < 0.05
    known = one_json(embodmem("info", "room.mem", "--json", cwd=home))
    assert 0 == mug["first_seen_ns"] < mug["last_seen_ns"] <= known["last_ns"]
    assert mug["evidence"] and mug["why"]


def test_the_best_answers_come_first_and_k_bounds_them(home):
    question = "what did you see?"
    answers = one_json(embodmem("ask", "room.mem", question, "--json", cwd=home))
    assert len(answers) > 2 and all(set(answer) == ANSWER_KEYS for answer in answers)
    scores = [answer["score"] for answer in answers]
    assert scores == sorted(scores, reverse=True)
    assert one_json(embodmem("ask", "room.mem", question, "-k", 2, "--json", cwd=home)) == answers[:2]


def test_what_is_not_known(home):
    assert one_json(embodmem("ask", "room.mem", "where is the piano?", "--json", cwd=home)) == []
    text = embodmem("ask", "room.mem", "where is the piano?", cwd=home).stdout
    assert text.startswith("not known") and "piano" in text and text.count("\n") == 1


def test_objects_as_json(home):
    items = one_json(embodmem("objects", "room.mem", "--json", cwd=home))
    assert sorted(item["label"] for item in items) == ["book", "mug", "table"]
    for item in items:
        assert set(item) == OBJECT_KEYS
        assert len(item["position"]) == len(item["extent"]) == 3 and min(item["extent"]) > 0
        assert 0 <= item["first_seen_ns"] <= item["last_seen_ns"] == (FRAMES - 1) * 100_000_000
        assert item["sightings"] > 5
    only = one_json(embodmem("objects", "room.mem", "--label", "mug", "--json", cwd=home))
    assert only == [item for item in items if item["label"] == "mug"]
    assert one_json(embodmem("objects", "room.mem", "--label", "piano", "--json", cwd=home)) == []


def test_reading_leaves_the_file_as_it_is(home):
    before = digest(home / "room.mem")
    for words, _ in COMMANDS.values():
        if words[0] in ("ask", "objects", "info", "report"):
            assert embodmem(*words, cwd=home).returncode == 0
    assert digest(home / "room.mem") == before


def test_what_was_forgotten_is_not_known(home):
    assert b"book" in (home / "copy.mem").read_bytes()
    gone = one_json(embodmem("forget", "copy.mem", "--label", "book", "--json", cwd=home))
    assert gone["by_kind"]["object"] == 1
    assert gone["forgotten"] >= sum(gone["by_kind"].values()) > 1
    assert one_json(embodmem("ask", "copy.mem", "where is the book?", "--json", cwd=home)) == []
    assert embodmem("ask", "copy.mem", "where is the book?", cwd=home).stdout.startswith("not known")
    labels = {item["label"] for item in one_json(embodmem("objects", "copy.mem", "--json", cwd=home))}
    assert labels == {"mug", "table"}
    again = embodmem("forget", "copy.mem", "--label", "book", cwd=home)
    assert (again.returncode, again.stdout) == (0, "forgot nothing\n")


def test_one_thing_can_be_forgotten_by_its_id(home):
    (mug,) = one_json(embodmem("objects", "copy.mem", "--label", "mug", "--json", cwd=home))
    gone = one_json(embodmem("forget", "copy.mem", "--id", mug["id"], "--json", cwd=home))
    assert gone["by_kind"]["object"] == 1
    assert one_json(embodmem("objects", "copy.mem", "--label", "mug", "--json", cwd=home)) == []


def test_config_prints_what_load_config_reads(tmp_path):
    (tmp_path / "all.yaml").write_text(embodmem("config").stdout)
    assert load_config(tmp_path / "all.yaml") == Config()
    (tmp_path / "some.yaml").write_text("spatial: {voxel_size_m: 0.1}\n")
    shown = one_json(embodmem("config", tmp_path / "some.yaml", "--json"))
    wanted = config_to_plain(Config())
    wanted["spatial"]["voxel_size_m"] = 0.1
    assert shown == wanted
    assert yaml.safe_load(embodmem("config", tmp_path / "some.yaml").stdout) == wanted


def test_settings_come_from_a_file_and_from_the_line(folder, tmp_path):
    (tmp_path / "some.yaml").write_text("spatial: {voxel_size_m: 0.2}\nencoder: hashing\n")
    options = ("--config", tmp_path / "some.yaml", "--set", "spatial.max_range_m=3", "--set", "scene.min_sightings=5")
    one_json(embodmem("build", folder / "room", "--out", tmp_path / "room.mem", *options, "--json"))
    known = one_json(embodmem("info", tmp_path / "room.mem", "--json"))
    assert (known["map"]["voxel_size_m"], known["encoder"]) == (0.2, "hashing-512")
    from embodmem import EmbodiedMemory

    with EmbodiedMemory(tmp_path / "room.mem", "r") as memory:
        assert (memory.config.spatial.max_range_m, memory.config.scene.min_sightings) == (3.0, 5)


def test_an_existing_file_is_not_overwritten_by_mistake(home):
    before = digest(home / "copy.mem")
    said = failed(embodmem("build", "room", "--out", "copy.mem", cwd=home))
    assert "copy.mem: it exists; go on with --resume, replace it with --overwrite" in said
    wrong = embodmem("build", "room", "--out", "copy.mem", "--overwrite", "--set", "spatial.voxl_size=1", cwd=home)
    assert "did you mean 'voxel_size_m'?" in failed(wrong)
    assert digest(home / "copy.mem") == before
    (home / "notes.txt").write_text("not a memory")
    assert "wanted an embodmem memory" in failed(
        embodmem("build", "room", "--out", "notes.txt", "--overwrite", cwd=home)
    )
    assert (home / "notes.txt").read_text() == "not a memory"


def test_overwriting_starts_anew(home):
    embodmem("forget", "copy.mem", "--label", "book", cwd=home)
    summary = one_json(embodmem("build", "room", "--out", "copy.mem", "--overwrite", "--json", cwd=home))
    assert (summary["frames"], summary["resumed_at"]) == (FRAMES, 0)
    assert_same(home / "room.mem", home / "copy.mem")


def test_bad_frames_are_named_and_left_out_when_asked(home, tmp_path):
    shutil.copytree(home / "room", tmp_path / "room")
    image = tmp_path / "room" / "depth" / "000021.png"
    image.write_bytes(image.read_bytes()[:100])
    options = ("build", tmp_path / "room", "--out", tmp_path / "room.mem", "--resume", "--json")
    assert "000021.png" in failed(embodmem(*options))
    assert frames_kept(tmp_path / "room.mem") == 21
    done = embodmem(*options, "--skip-bad")
    summary = one_json(done)
    assert (summary["resumed_at"], summary["frames"], summary["skipped"]) == (21, FRAMES - 22, 1)
    assert re.search(r"^skipped frame 21: .*000021\.png: ", done.stderr, re.M)


def test_mistakes_in_the_command_are_usage_errors(home):
    for words in (("frobnicate",), ("ask", "room.mem"), ("build", "room"), ("objects", "room.mem", "--frob")):
        done = embodmem(*words, cwd=home)
        assert (done.returncode, done.stdout) == (2, ""), words
        assert "Usage: " in done.stderr and "Traceback" not in done.stderr
    helped = embodmem("build", "--help")
    assert helped.returncode == 0 and "--resume" in helped.stdout


def test_ctrl_c_stops_a_build_that_can_be_resumed(home, tmp_path):
    for attempt in range(8):  # on a busy machine a build of two seconds can be over before the signal comes
        path = tmp_path / f"room{attempt}.mem"
        process = subprocess.Popen(
            command("build", home / "room", "--out", path, "--json"),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while frames_kept(path) < 8 and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        if process.returncode:
            break
    assert (process.returncode, out) == (130, ""), err
    assert err.rstrip().endswith("stopped") and "Traceback" not in err
    assert 8 <= frames_kept(path) < FRAMES
    summary = one_json(embodmem("build", home / "room", "--out", path, "--resume", "--json"))
    assert summary["frames"] + summary["resumed_at"] == FRAMES
    assert_same(home / "room.mem", path)


def test_asking_while_a_build_runs(home, tmp_path):
    path = tmp_path / "room.mem"
    words = command("build", home / "room", "--out", path)
    with subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        while frames_kept(path) < 8 and run.poll() is None:
            time.sleep(0.002)
        run.send_signal(signal.SIGSTOP)  # somewhere in its work, so that it cannot be over before it is asked
        try:
            answers = one_json(embodmem("ask", path, "where is the book?", "--json"))
            refused = embodmem("build", home / "room", "--out", path, "--resume")
            kept = frames_kept(path)
        finally:
            run.send_signal(signal.SIGCONT)
        later = embodmem("ask", path, "where is the book?", "--json")
        run.communicate(timeout=120)
    assert 8 <= kept < FRAMES
    assert [answer["label"] for answer in answers] == ["book"] == [answer["label"] for answer in one_json(later)]
    assert "another process has it open for writing" in failed(refused)
    assert run.returncode == 0
    assert_same(home / "room.mem", path)


@pytest.fixture(scope="module")
def kitchen(shared_data, tmp_path_factory) -> Path:
    """A memory of the whole kitchen recording."""
    path = tmp_path_factory.mktemp("kitchen") / "kitchen.mem"
    summary = one_json(embodmem("build", shared_data / "seven_scenes_kitchen", "--out", path, "--json"))
    assert summary["frames"] == 250
    return path


def test_kitchen_where_is_the_mug(kitchen):
    answers = one_json(embodmem("ask", kitchen, "where is the mug?", "--json"))
    places = sorted(
        (answer["position"] for answer in answers if answer["kind"] == "object"), key=lambda place: place[0]
    )
    assert len(places) == len(answers) == 2
    assert np.linalg.norm(np.subtract(places, [(-0.68, 1.77, 0.77), (0.30, 1.65, 0.75)]), axis=1).max() < 0.20


def test_kitchen_objects(kitchen):
    items = one_json(embodmem("objects", kitchen, "--json"))
    assert len(items) == len(KITCHEN) == 17
    for truth in KITCHEN:
        near = [
            item
            for item in items
            if item["label"] == truth.label and np.linalg.norm(np.subtract(item["position"], truth.position)) <= 0.20
        ]
        assert len(near) == 1, truth.name


def test_the_module_runs_as_the_console_script_does():
    script = Path(sys.executable).parent / "embodmem"
    if not script.is_file():
        pytest.skip("the package is not installed here, only on the path")
    done = subprocess.run([script, "config"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, embodmem("config").stdout)
