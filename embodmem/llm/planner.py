"""A planner that asks a language model, for the same loop and the same critic as the planner by rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from embodmem.errors import ConfigError, InvalidInput, LlmBadAnswer
from embodmem.llm.client import Answer, LlmClient
from embodmem.loop.critic import FETCH_RULES, Verb
from embodmem.loop.situation import Situation
from embodmem.loop.types import GiveUp, Step

_SYSTEM = (
    "You plan for a robot in a home, one step at a time, from what its memory holds. Call exactly one tool for the "
    "next step. Name things by their ids, such as object:3. A step that was refused is not to be proposed again in the "
    "same state. Call give_up only when nothing more can be done."
)


class LlmPlanner:
    """Proposes what a language model says; what it says is parsed here and checked by the loop's critic.

    Args:
        client: Asks the model.
        verbs: What the body can do.
        max_asks: How often the model is asked for one step when its answers cannot be understood.
        advice: Lines that stand before the situation, such as lessons of procedural memory.

    Raises:
        ConfigError: `max_asks` is below 1.
    """

    def __init__(
        self,
        client: LlmClient,
        verbs: Sequence[Verb] = FETCH_RULES,
        max_asks: int = 3,
        advice: Sequence[str] = (),
    ) -> None:
        if max_asks < 1:
            raise ConfigError(f"planner: wanted max_asks of 1 or more, got {max_asks}")
        self._client = client
        self._verbs = {verb.name: verb for verb in verbs}
        self._max_asks = max_asks
        self._advice = tuple(advice)

    def propose(self, situation: Situation) -> Step | GiveUp:
        """The next step, as the model says.

        Raises:
            LlmError: The model cannot be asked.
        """
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": _SYSTEM},
            {"role": "user", "content": self.tell(situation)},
        ]
        problem = ""
        for _ in range(self._max_asks):
            answer = self._client.chat(messages, self.tools())
            try:
                return self.understand(answer)
            except (LlmBadAnswer, InvalidInput) as error:
                problem = str(error)
                said = (
                    answer.text or ", ".join(f"{call.name}({call.arguments})" for call in answer.calls) or "(nothing)"
                )
                messages.append({"role": "assistant", "content": said})
                messages.append({"role": "user", "content": f"That is no step: {problem}. Call one tool."})
        return GiveUp(f"the model gave no step in {self._max_asks} answers; the last: {problem}")

    def tools(self) -> list[dict[str, Any]]:
        """The verbs as tools that a model may call."""
        made = [_tool(verb.name, verb.says, verb.takes) for verb in self._verbs.values()]
        return [*made, _tool("give_up", "end the task, for a reason in words", ("reason",))]

    def understand(self, answer: Answer) -> Step | GiveUp:
        """The step that an answer holds: its first tool call, or without one its first line ("pick object:3").

        Raises:
            LlmBadAnswer: It holds none.
        """
        if answer.calls:
            call = answer.calls[0]
            values = call.values()
            if call.name == "give_up":
                return GiveUp(str(values.get("reason") or "the model gives up"))
            verb = self._verb(call.name)
            missing = [name for name in verb.takes if not isinstance(values.get(name), str)]
            if missing or set(values) - set(verb.takes):
                raise LlmBadAnswer(f"{verb.name}: wanted {', '.join(verb.takes)} as texts, got {call.arguments[:200]}")
            return Step(verb.name, tuple(str(values[name]).strip() for name in verb.takes))
        line = next((line.strip() for line in answer.text.splitlines() if line.strip()), "")
        name, _, rest = line.partition(" ")
        if name == "give_up":
            return GiveUp(rest or "the model gives up")
        verb = self._verb(name)
        words = [rest] if len(verb.takes) == 1 and rest else rest.split()
        return Step(verb.name, tuple(words))

    def _verb(self, name: str) -> Verb:
        verb = self._verbs.get(name)
        if verb is None:
            raise LlmBadAnswer(f"wanted one of {', '.join((*self._verbs, 'give_up'))}, got {name!r}")
        return verb

    def tell(self, situation: Situation) -> str:
        """A situation in words, as the model gets it."""
        held = next((f"{t.id} ({t.text})" for t in situation.things if t.id == situation.holding), situation.holding)
        things = [f"- {thing.id}: {thing.text}" for thing in situation.things]
        refused = [f"- {step}: {why}" for step, why in situation.forbidden.items()]
        parts = [
            f"Task: {situation.task}",
            *self._advice,
            *situation.advice,
            f"The robot is in the {situation.here or '(unknown room)'} and holds {held or 'nothing'}.",
            f"Rooms: {', '.join(situation.rooms) or 'none known'}.",
            f"Searched: {', '.join(situation.searched) or 'none'}.",
            "Things that it knows:",
            *(things or ["- none"]),
            "Done so far:",
            *([f"- {line}" for line in situation.done] or ["- nothing"]),
            *(["Refused in this state, choose another step:", *refused] if refused else []),
        ]
        return "\n".join(parts)


def _tool(name: str, says: str, takes: Sequence[str]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {argument: {"type": "string"} for argument in takes},
        "required": list(takes),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "description": says, "parameters": schema}}
