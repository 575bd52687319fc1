"""The loop itself: propose, check against the memory, act, observe, write, and force a change where nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from embodmem.checks import check_stamp
from embodmem.embodied import EmbodiedMemory
from embodmem.errors import ConfigError
from embodmem.loop.breaker import Breaker
from embodmem.loop.critic import FETCH_RULES, Critic, Verb
from embodmem.loop.situation import Situation, advised, read_situation
from embodmem.loop.types import Body, GiveUp, HasSubgoals, Outcome, Planner, Step
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
    advise: bool = True
    """Tell the planner what procedural memory advises for the task."""
    subgoals: bool = True
    """Keep the task, and below it the planner's subgoals, as subgoals of working memory; what is over folds."""

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
        self.advice: tuple[str, ...] = ()
        self._subgoal = ""
        self._forbidden: dict[str, dict[str, str]] = {}  # state -> step -> why
        self._in_a_row = 0
        self._stalled = ""

    def look(self) -> Situation:
        """The situation as the memory has it, with what was refused in this state before."""
        seen = read_situation(self.memory, self.task, self.begun_ns, self.now_ns)
        return replace(seen, forbidden=dict(self._forbidden.get(seen.key, {})), advice=self.advice)

    def begin(self) -> Situation:
        """The situation at the beginning, with what procedural memory advises; the task is at hand from now on."""
        if self.config.subgoals:
            self.memory.working.begin_subgoal(self.task, self.now_ns)
        if self.config.advise:
            self.advice = advised(self.memory, self.task, self._state(self.look()))
        return self.look()

    def work_at(self, subgoal: str) -> None:
        """Be at a subgoal of the planner; the one before, if it was another, is over and folds into a line."""
        if not self.config.subgoals or subgoal == self._subgoal:
            return
        working = self.memory.working
        with self.memory.store.transaction():
            if self._subgoal:
                working.end_subgoal("done", self.now_ns, who="loop")
            if subgoal:
                working.begin_subgoal(subgoal, self.now_ns)
        self._subgoal = subgoal

    def _state(self, situation: Situation) -> tuple[str, ...]:
        return tuple(thing.text for thing in situation.things if thing.label in self.task)

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
            if self.config.subgoals:
                self.memory.working.note_action(self._words(step), begun_ns)
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

    def fold(self, success: bool, reason: str) -> None:
        """The task is no longer at hand: what was noted under it folds into a line."""
        if not self.config.subgoals:
            return
        with self.memory.store.transaction():
            for _ in range(2 if self._subgoal else 1):
                self.memory.working.end_subgoal(reason, self.now_ns, success=success, who="loop")
        self._subgoal = ""

    def end(self, success: bool, reason: str, before: Situation) -> LoopResult:
        """Keep what was learnt."""
        done = [turn for turn in self.turns if turn.outcome is not None]
        kept = ""
        self.fold(success, reason)
        if self.config.learn:
            wrong = next((i for i, turn in enumerate(done) if turn.outcome and not turn.outcome.done), None)
            kept = self.memory.procedural.add(
                Experience(
                    stamp_ns=self.begun_ns,
                    until_ns=self.now_ns,
                    task=self.task,
                    state=self._state(before),
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
    begin = run.begin()
    try:
        success, reason = _work(run, body, planner, is_done, begin)
    except Exception as error:  # the caller gets it; the task must not stay at hand
        run.fold(False, f"stopped by an error: {error}")
        raise
    return run.end(success, reason, begin)


def _work(
    run: _Run, body: Body, planner: Planner, is_done: Callable[[Situation], bool], situation: Situation
) -> tuple[bool, str]:
    """The turns of a task; whether it is done, and why it ended."""
    while not is_done(situation):
        if len([turn for turn in run.turns if turn.outcome is not None]) >= run.config.max_steps:
            return False, f"the limit of {run.config.max_steps} steps is reached"
        if run.stuck:
            return False, run.stuck
        if isinstance(planner, HasSubgoals):
            run.work_at(planner.subgoal(situation))
        step = planner.propose(situation)
        if isinstance(step, GiveUp):
            return False, step.reason
        acts = not run.refuse(step, situation)
        if acts:
            run.act(step, situation, body)
        situation = run.look()
        if acts:
            run.judge(situation)
    return True, "done"
