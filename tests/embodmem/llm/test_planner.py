"""A planner that asks a model: what it tells, what it understands, and the loop driven by a scripted endpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from embodmem.errors import ConfigError, LlmBadAnswer, LlmRefused
from embodmem.loop import Fetch, GiveUp, Situation, Step, Thing, run_loop
from tests.embodmem.llm.stand_in import DONE, StandIn, completion, piece, stand_in, status, stream
from tests.embodmem.loop.test_loop import NOW_NS, Room, memory, mugs  # noqa: F401

pytest.importorskip("openai", reason="the extra llm is not installed")
from embodmem.embodied import EmbodiedMemory  # noqa: E402
from embodmem.llm import Answer, LlmClient, LlmPlanner, LlmSettings, ToolCall  # noqa: E402

MUG = Thing("object:1", "mug", "kitchen", True, "mug on table in the kitchen", 5)
HERE = Situation(
    task="bring the mug to the table",
    now_ns=9,
    things=(MUG,),
    rooms=("kitchen", "office"),
    here="office",
    holding="object:1",
    searched=("office",),
    done=("go office: done",),
    forbidden={"pick object:1": "the hand holds object:1"},
)


def planner_of(server: StandIn, streams: bool = False) -> LlmPlanner:
    settings = LlmSettings(base_url=server.url, model="m", timeout_s=5.0, backoff_s=0.0, stream=streams)
    return LlmPlanner(LlmClient(settings))


@pytest.fixture
def idle() -> Iterator[LlmPlanner]:
    """A planner that asks nobody."""
    with LlmClient(LlmSettings(base_url="http://127.0.0.1:1/v1", model="m")) as client:
        yield LlmPlanner(client, advice=("Mugs are usually in the kitchen.",))


def test_what_the_model_is_told(idle: LlmPlanner) -> None:
    told = idle.tell(HERE)
    for words in (
        "bring the mug to the table",
        "Mugs are usually",
        "in the office and holds object:1 (mug on table",
        "Rooms: kitchen, office",
        "Searched: office",
        "- object:1: mug on table in the kitchen",
        "- go office: done",
        "- pick object:1: the hand holds object:1",
    ):
        assert words in told
    nothing = idle.tell(Situation(task="x", now_ns=1))
    assert "holds nothing" in nothing and "Refused" not in nothing
    names = {tool["function"]["name"]: tool["function"]["parameters"]["required"] for tool in idle.tools()}
    assert names == {"go": ["room"], "pick": ["thing"], "place": ["furniture"], "give_up": ["reason"]}


@pytest.mark.parametrize(
    ("answer", "step"),
    [
        (Answer(text="", calls=(ToolCall("1", "pick", '{"thing": "object:1"}'),)), Step("pick", ("object:1",))),
        (Answer(text="", calls=(ToolCall("1", "go", '{"room": " living room "}'),)), Step("go", ("living room",))),
        (Answer(text="I think\n"[2:] + "", calls=(ToolCall("1", "give_up", '{"reason": "no"}'),)), GiveUp("no")),
        (Answer(text="pick object:1\nbecause it is near"), Step("pick", ("object:1",))),
        (Answer(text="\n go living room "), Step("go", ("living room",))),
        (Answer(text="give_up it is gone"), GiveUp("it is gone")),
    ],
)
def test_what_is_understood(idle: LlmPlanner, answer: Answer, step: Step | GiveUp) -> None:
    assert idle.understand(answer) == step


@pytest.mark.parametrize(
    "answer",
    [
        Answer(text=""),
        Answer(text="I would look in the kitchen."),
        Answer(text="", calls=(ToolCall("1", "fly", "{}"),)),
        Answer(text="", calls=(ToolCall("1", "pick", "{}"),)),
        Answer(text="", calls=(ToolCall("1", "pick", '{"thing": 3}'),)),
        Answer(text="", calls=(ToolCall("1", "pick", '{"thing": "a", "room": "b"}'),)),
        Answer(text="", calls=(ToolCall("1", "pick", "object:1"),)),
    ],
)
def test_what_is_not_understood(idle: LlmPlanner, answer: Answer) -> None:
    with pytest.raises(LlmBadAnswer, match="wanted"):
        idle.understand(answer)


def test_the_model_is_told_what_was_wrong_and_asked_again() -> None:
    with stand_in(completion("Let me think."), completion(None, ("pick", '{"thing": "object:1"}'))) as server:
        assert planner_of(server).propose(replace(HERE, holding="")) == Step("pick", ("object:1",))
        again = server.requests[1][2]["messages"]
        assert [message["role"] for message in again] == ["system", "user", "assistant", "user"]
        assert (
            again[2]["content"] == "Let me think." and "wanted one of go, pick, place, give_up" in again[3]["content"]
        )
    with stand_in(completion("Hm.")) as server:
        given = planner_of(server).propose(HERE)
        assert isinstance(given, GiveUp) and "no step in 3 answers" in given.reason and len(server.requests) == 3
    with stand_in(status(401)) as server, pytest.raises(LlmRefused):
        planner_of(server).propose(HERE)


@pytest.mark.parametrize("streams", [False, True])
def test_the_same_loop_and_the_same_critic(memory: EmbodiedMemory, streams: bool) -> None:  # noqa: F811
    """A model that errs: it names nothing that there is, then one name of two things; the critic tells it so."""
    first = mugs(memory)[0]
    (shelf,) = (item.id for item in memory.scene.objects("shelf"))
    said = [("pick", "piano"), ("pick", "mug"), ("pick", first), ("place", shelf)]
    takes = {"pick": "thing", "place": "furniture"}
    calls = [(verb, json.dumps({takes[verb]: name})) for verb, name in said]
    whole = [completion(None, call) for call in calls]
    parts = [
        stream(
            piece(
                tool_calls=[{"index": 0, "id": "1", "type": "function", "function": {"name": v, "arguments": a[:5]}}]
            ),
            piece(tool_calls=[{"index": 0, "function": {"arguments": a[5:]}}]),
            piece("tool_calls"),
            DONE,
        )
        for v, a in calls
    ]
    task = Fetch("mug", "shelf")
    with stand_in(*(parts if streams else whole)) as server:
        planner = planner_of(server, streams)
        result = run_loop(memory, Room(memory), planner, str(task), task.is_done, now_ns=NOW_NS)
        told = [request[2]["messages"][1]["content"] for request in server.requests]
    assert result.success and [str(step) for step in result.steps] == [f"pick {first}", f"place {shelf}"]
    assert [turn.by for turn in result.refusals] == ["critic", "critic"]
    assert "no piano was ever seen" in told[1] and "2 things bear the name mug" in told[2] and first in told[2]
    assert f"holds {first}" in told[3]


def test_settings_that_are_refused(idle: LlmPlanner) -> None:
    with pytest.raises(ConfigError, match="max_asks"):
        LlmPlanner(idle._client, max_asks=0)
