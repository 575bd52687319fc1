"""The closed loop in the house: a robot that remembers a tour brings things, though some were moved since."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from embodmem.config import Config
from embodmem.embodied import EmbodiedMemory
from embodmem.errors import InvalidInput
from embodmem.loop import Fetch, FetchPlanner, LoopConfig, Step, run_loop
from embodmem.types import Query

pytest.importorskip("mujoco")
from embodmem_envs.fetch import ForgetfulBody, HouseBody  # noqa: E402
from embodmem_envs.house import HouseEnv  # noqa: E402

SEED = 0
Home = tuple[EmbodiedMemory, HouseBody, int]


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    """A toured apartment on the next day, when eight things lie elsewhere."""
    env = HouseEnv(width=96, height=72, max_steps=10**6)
    with EmbodiedMemory(config=Config(encoder="hashing")) as memory:
        body = HouseBody(env, memory)
        body.begin(seed=SEED)
        body.tour()
        yield memory, body, body.begin(move=8)
    env.close()


def test_fetching_in_a_home_that_changed(home: Home) -> None:
    memory, body, now_ns = home
    before = {item.id for item in body.env.objects if (item.label, item.support) == ("mug", "desk")}
    task = Fetch("mug", "desk")
    result = run_loop(memory, body, FetchPlanner(task), str(task), task.is_done, now_ns=now_ns)
    after = {item.id for item in body.env.objects if (item.label, item.support) == ("mug", "desk")}
    assert result.success and after - before, result.reason  # the simulator's truth says so, too
    assert body.moves < 1000 and result.ended_ns > now_ns
    steps = memory.episodic.timeline(Query(kinds=("step",)))
    assert [step.text for step in steps] == [str(step) for step in result.steps]
    assert memory.procedural.experience(result.experience).success

    # What is not to be had is given up, with a reason.
    last = memory.newest_stamp()
    assert last is not None
    nothing = Fetch("piano", "desk")
    config = LoopConfig(max_steps=3)
    lost = run_loop(memory, body, FetchPlanner(nothing), str(nothing), nothing.is_done, now_ns=last, config=config)
    assert not lost.success and [step.verb for step in lost.steps] == ["go"] * 3

    # A body that forgets knows after a step what that step showed, and no more.
    forgetful = ForgetfulBody(body)
    outcome = forgetful.act(Step("go", ("bedroom",)))
    assert outcome.done and memory.scene.objects() == [] and len(memory.scene.rooms()) == len(body.env.rooms)
    memory.write_batch(outcome.seen)
    seen = {item.data["room"] for item in memory.scene.objects()}
    assert seen and len(memory.scene.objects()) < len(body.env.objects) + len(body.env.furniture)


def test_steps_that_cannot_be_done_are_outcomes() -> None:
    env = HouseEnv(width=32, height=24, n_objects=4, max_steps=10**6)
    with EmbodiedMemory(config=Config(encoder="hashing")) as memory:
        body = HouseBody(env, memory)
        body.begin(seed=1)
        for step, why in (
            (Step("go", ("attic",)), "attic"),
            (Step("pick", ("object:99",)), "nobody knows where object:99 is"),
            (Step("place", ("object:99",)), "nothing is held"),
            (Step("fly", ("hall",)), "this robot cannot fly"),
        ):
            outcome = body.act(step)
            assert not outcome.done and why in outcome.text, outcome.text
        with pytest.raises(InvalidInput, match="look_every"):
            HouseBody(env, memory, look_every=0)
        assert np.isfinite(body.env.robot_pose).all()
    env.close()
