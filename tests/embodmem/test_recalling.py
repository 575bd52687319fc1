"""Recall across memories: a second hop, what is not known, and a reranker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from embodmem import Config, EmbodiedMemory, Event, Query
from embodmem.config_recall import RecallConfig
from embodmem.encoders import HashingEncoder
from embodmem.errors import ConfigError, InvalidInput

DAY_NS = 86_400_000_000_000


@pytest.fixture
def memory() -> Iterator[EmbodiedMemory]:
    with EmbodiedMemory(encoder=HashingEncoder(512)) as made:
        made.write(Event(stamp_ns=DAY_NS, kind="told", text="Anna drinks from her favourite", objects=("blue beaker",)))
        made.write(Event(stamp_ns=9 * DAY_NS, kind="put", text="the beaker went into the cupboard"))
        made.write(Event(stamp_ns=20 * DAY_NS, kind="told", text="Bob rides a bicycle", objects=("bicycle",)))
        yield made


def asking(memory: EmbodiedMemory, **settings: float) -> None:
    memory.records.settings = RecallConfig(**settings)  # type: ignore[arg-type]


def test_a_hop_asks_for_what_the_first_answers_name(memory: EmbodiedMemory) -> None:
    question = Query(text="what does Anna drink from?", kinds=("event",))
    assert [item.text for item in memory.recall(question)] == ["Anna drinks from her favourite"]
    asking(memory, max_hops=1, sure_margin=2.0)
    found = memory.recall(question)
    assert [item.text for item in found] == ["Anna drinks from her favourite", "the beaker went into the cupboard"]
    assert found[1].why["hop1.episodic.words"] > 0
    assert not any(name.startswith("hop") and "words" in name for name in found[0].why)


def test_no_hop_when_the_first_answers_are_enough(memory: EmbodiedMemory) -> None:
    asking(memory, max_hops=3, sure_margin=0.0)
    found = memory.recall(Query(text="what does Anna drink from?", kinds=("event",)))
    assert [item.text for item in found] == ["Anna drinks from her favourite"]


def test_a_word_that_no_first_answer_holds_asks_on(memory: EmbodiedMemory) -> None:
    for i in range(4):
        memory.write(Event(stamp_ns=(30 + i) * DAY_NS, kind="told", text="Anna drinks", objects=("tea",)))
    memory.write(Event(stamp_ns=50 * DAY_NS, kind="told", text="green tea is hot and in the pot and on the table"))
    question = Query(text="Anna drinks in the cupboard", kinds=("event",))
    asking(memory, max_hops=1, sure_margin=0.0)
    assert any(name.startswith("hop1.") for item in memory.recall(question) for name in item.why)
    assert not any(name.startswith("hop2.") for item in memory.recall(question) for name in item.why)


def test_hops_end_where_nothing_new_is_named(memory: EmbodiedMemory) -> None:
    asking(memory, max_hops=50, sure_margin=2.0)
    found = memory.recall(Query(text="bicycle", kinds=("event",)))
    assert [item.text for item in found] == ["Bob rides a bicycle"]
    assert memory.recall("unheard") == []


def test_not_known_is_an_answer(memory: EmbodiedMemory) -> None:
    question = "bicycle of the mayor of London, painted yesterday"
    assert memory.recall(question)
    assert memory.recall_with_reason(question)[1] == ""
    asking(memory, not_known_below=0.9)
    found, reason = memory.recall_with_reason(question)
    assert found == memory.recall(question) == []
    assert "not_known_below 0.9" in reason
    assert memory.recall("bicycle")
    assert memory.recall(Query(kinds=("event",))), "what is only filtered is known"
    assert memory.recall_with_reason(Query(text="bicycle", labels=("unicorn",))) == ([], "nothing matches")


def grams(text: str, n: int = 3) -> set[str]:
    return {text[i : i + n] for i in range(len(text) - n + 1)}


class Grams:
    """The part of a question's letters in threes that a text holds."""

    def __init__(self) -> None:
        self.seen: list[Sequence[str]] = []

    def __call__(self, question: str, texts: Sequence[str]) -> list[float]:
        self.seen.append(texts)
        asked = grams(question.lower())
        return [len(asked & grams(text.lower())) / len(asked) for text in texts]


def test_a_reranker_orders_the_first_answers() -> None:
    with EmbodiedMemory(config=Config(recall=RecallConfig(rerank_depth=3)), encoder=HashingEncoder(512)) as memory:
        texts = ("lamp lamp lamp", "a lamp and a lampshade", "lamp", "the lampshade by the lamp of the lamplighter")
        for i, text in enumerate(texts):
            memory.write(Event(stamp_ns=i * DAY_NS, kind="told", text=text))
        question = Query(text="lamp lampshade", kinds=("event",))
        before = memory.recall(question)
        memory.reranker = scorer = Grams()
        after = memory.recall(question)
        assert scorer.seen == [[item.text for item in before[:3]]]
        wanted = sorted(before[:3], key=lambda item: -scorer(question.text or "", [item.text])[0])
        assert [item.id for item in after] == [*(item.id for item in wanted), before[3].id]
        assert [item.why.get("rerank") for item in after] == [
            *(scorer(question.text or "", [item.text])[0] for item in wanted),
            None,
        ]
        assert [item.score for item in after] == [item.score for item in before]
        memory.recall(Query(kinds=("event",)))
        assert len(scorer.seen) == 1 + 6, "without words there is nothing to rank by"


@pytest.mark.parametrize("scores", [[1.0], [np.nan] * 3])
def test_a_reranker_that_does_not_score_each_text_is_refused(memory: EmbodiedMemory, scores: list[float]) -> None:
    memory.reranker = lambda question, texts: scores
    with pytest.raises(InvalidInput, match="reranker: wanted . finite scores"):
        memory.recall("Anna Bob beaker")


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_hops": -1},
        {"hop_weight": 2.0},
        {"not_known_below": 1.5},
        {"rerank_depth": 0},
        {"moment_scale_s": 0.0},
        {"links": -1.0},
        {"spread": float("nan")},
    ],
)
def test_settings_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="recall"):
        RecallConfig(**wrong)  # type: ignore[arg-type]
