"""The loop itself: propose, check against the memory, act, observe, write, and force a change where nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from embodmem.checks import check_stamp
from embodmem.embodied import EmbodiedMemory
from embodmem.errors import ConfigError
from embodmem.loop.breaker import Breaker
from embodmem.loop.critic import FETCH_RULES, Critic, Verb
from embodmem.loop.situation import Situation, read_situation
from embodmem.loop.types import Body, GiveUp, Outcome, Planner, Step
from embodmem.procedural import Experience
from embodmem.types import Event


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How the loop runs."""

    max_steps: int = 40
    """Steps that may be done."""
    max_refusals: int = 6
    """Proposals that may be refused in a row before the loop gives up."""
    critic: bool = True
    """Check each step's preconditions against the memory."""
    breaker: bool = True
    """Refuse steps that go in circles."""
    max_repeats: int = 2
    """How often one step may be done in one state."""
    max_period: int = 6
    """Longest cycle looked for, steps."""
    patience: int = 8
    """Steps in a row that may bring nothing new."""
    learn: bool = True
    """Keep the attempt as an experience of procedural memory."""

    def __post_init__(self) -> None:
        if self.max_steps < 1 or self.max_refusals < 1:
            raise ConfigError(
                f"loop: wanted max_steps and max_refusals of 1 or more, got {self.max_steps}, {self.max_refusals}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One proposal and what became of it.

    Attributes:
        state: Digest of the situation.
        step: What was proposed.
        refused: Why it was not done, "" where it was.
        by: Who refused it: "critic", "breaker" or "".
        outcome: What came of it, None where it was not done.
    """

    state: str
    step: Step
    refused: str = ""
    by: str = ""
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopResult:
    """How a task ended.

    Attributes:
        success: Whether the task is done, as the memory believes.
        reason: Why the loop ended.
        turns: All proposals, in order.
        begun_ns: When it began, ns.
        ended_ns: When it ended, ns.
        experience: Id of the experience that was kept, or "".
    """

    success: bool
    reason: str
    turns: list[Turn] = field(default_factory=list)
    begun_ns: int = 0
    ended_ns: int = 0
    experience: str = ""

    @property
    def steps(self) -> list[Step]:
        """What was done."""
        return [turn.step for turn in self.turns if turn.outcome is not None]

    @property
    def refusals(self) -> list[Turn]:
        """What was refused."""
        return [turn for turn in self.turns if turn.refused]


class _Run:
    """One task on its way; `run_loop` drives it."""

    def __init__(self, memory: EmbodiedMemory, task: str, now_ns: int, config: LoopConfig, critic: Critic) -> None:
        self.memory, self.task, self.config = memory, task, config
        self.begun_ns = self.now_ns = now_ns
        self.critic = critic
        self.breaker = Breaker(config.max_repeats, config.max_period, patience=config.patience)
        self.turns: list[Turn] = []
        self._forbidden: dict[str, dict[str, str]] = {}  # state -> step -> why
        self._in_a_row = 0
        self._stalled = ""

    def look(self) -> Situation:
        """The situation as the memory has it, with what was refused in this state before."""
        seen = read_situation(self.memory, self.task, self.begun_ns, self.now_ns)
        forbidden = self._forbidden.get(seen.key)
        if not forbidden:
            return seen
        return read_situation(self.memory, self.task, self.begun_ns, self.now_ns, forbidden=forbidden)

    def refuse(self, step: Step, situation: Situation) -> bool:
        """Whether a step is refused; it is then forbidden in this state, and the planner must choose another."""
        why, by = situation.forbidden.get(str(step), ""), "breaker"
        if not why and self.config.critic:
            why, by = self.critic.check(step, situation), "critic"
        if not why and self.config.breaker:
            why, by = self.breaker.check(situation.key, str(step)), "breaker"
        if not why:
            self._in_a_row = 0
            return False
        self._forbidden.setdefault(situation.key, {})[str(step)] = why
        self.turns.append(Turn(state=situation.key, step=step, refused=why, by=by))
        self._in_a_row += 1
        return True

    @property
    def stuck(self) -> str:
        """Why it goes no further, or ""."""
        if self._stalled:
            return self._stalled
        if self._in_a_row < self.config.max_refusals:
            return ""
        last = self.turns[-1]
        return f"{self._in_a_row} proposals in a row were refused, the last ({last.step}): {last.refused}"

    def act(self, step: Step, situation: Situation, body: Body) -> None:
        """Do a step, and write what was seen, what came of it and what the body knows."""
        begun_ns, outcome = self.now_ns, body.act(step)
        self.now_ns = check_stamp(outcome.stamp_ns, "outcome: stamp_ns")
        note = Event(
            stamp_ns=begun_ns,
            until_ns=self.now_ns,
            kind="step",
            text=str(step),
            outcome="done" if outcome.done else outcome.text,
            objects=step.objects,
            source="loop",
        )
        with self.memory.store.transaction():
            self.memory.write_batch([note, *outcome.seen])
            for subject, relation, other in outcome.facts:
                names = (self._name(subject), self._name(other))
                self.memory.semantic.assert_fact(subject, relation, other, valid_from_ns=self.now_ns, names=names)
        self.breaker.note(situation.key, str(step))
        self.turns.append(Turn(state=situation.key, step=step, outcome=outcome))

    def _name(self, name: str) -> str:
        return self.memory.records.get_id(name).label if name.startswith("object:") else name

    def judge(self, situation: Situation) -> None:
        """After a step: whether it brought anything new."""
        if self.config.breaker:
            self._stalled = self.breaker.stalled(situation.progress)

    def end(self, success: bool, reason: str, before: Situation) -> LoopResult:
        """Keep what was learnt."""
        done = [turn for turn in self.turns if turn.outcome is not None]
        kept = ""
        if self.config.learn:
            wrong = next((i for i, turn in enumerate(done) if turn.outcome and not turn.outcome.done), None)
            kept = self.memory.procedural.add(
                Experience(
                    stamp_ns=self.begun_ns,
                    until_ns=self.now_ns,
                    task=self.task,
                    state=tuple(thing.text for thing in before.things if thing.label in self.task),
                    plan=tuple(self._words(turn.step) for turn in done),
                    success=success,
                    error="" if success else reason,
                    failed_step=None if success else wrong,
                    source="loop",
                )
            )
        return LoopResult(
            success=success,
            reason=reason,
            turns=self.turns,
            begun_ns=self.begun_ns,
            ended_ns=self.now_ns,
            experience=kept,
        )

    def _words(self, step: Step) -> str:
        known = {record.id: record.label for record in self.memory.scene.objects()}
        return " ".join((step.verb, *(known.get(name, name) for name in step.objects)))


def run_loop(
    memory: EmbodiedMemory,
    body: Body,
    planner: Planner,
    task: str,
    is_done: Callable[[Situation], bool],
    *,
    now_ns: int,
    config: LoopConfig | None = None,
    rules: tuple[Verb, ...] = FETCH_RULES,
) -> LoopResult:
    """Work on a task until it is done, or until nothing more can be done.

    Before each step the situation is read from the memory. A step that the critic or the breaker refuses is forbidden
    in that state and the planner must choose another; what is forbidden is forgotten when the state changes.

    Args:
        memory: What is known; all that happens is written to it.
        body: Acts.
        planner: Proposes.
        task: What is to be done, in words.
        is_done: Whether the task is done, by what the memory believes.
        now_ns: Now, ns; later moments come from the body.
        config: Limits, and which parts take part.
        rules: The verbs that the body knows, with their preconditions.

    Returns:
        How it ended; success only where `is_done` says so.

    Raises:
        StampError: The body's clock went backwards.
    """
    config = config or LoopConfig()
    run = _Run(memory, task, check_stamp(now_ns, "now_ns"), config, Critic(rules))
    begin = situation = run.look()
    while not is_done(situation):
        if len([turn for turn in run.turns if turn.outcome is not None]) >= config.max_steps:
            return run.end(False, f"the limit of {config.max_steps} steps is reached", begin)
        if run.stuck:
            return run.end(False, run.stuck, begin)
        step = planner.propose(situation)
        if isinstance(step, GiveUp):
            return run.end(False, step.reason, begin)
        acts = not run.refuse(step, situation)
        if acts:
            run.act(step, situation, body)
        situation = run.look()
        if acts:
            run.judge(situation)
    return run.end(True, "done", begin)
