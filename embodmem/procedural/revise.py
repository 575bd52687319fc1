"""A plan revised step by step by what was retrieved for each step.

RAT (Wang et al., 2024): each step of a draft is revised in turn, with a query made of the task, the steps revised so
far and the step itself. There a language model revises; here, unless one is passed, the retrieved cases vote.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from embodmem.errors import InvalidInput
from embodmem.procedural.distil import common
from embodmem.procedural.memory import ProceduralMemory
from embodmem.procedural.types import Case, RevisedPlan, RevisedStep, check_lines

Reviser = Callable[[str, Sequence[str], str, Sequence[Case]], Sequence[str]]
"""(task, steps so far, step, cases) -> the steps to put in its place: one that is the same keeps it, none drops it."""

LONGEST = 64
"""Steps of a revised plan at most."""


def revise(
    plan: Sequence[str],
    task: str,
    state: Sequence[str],
    memory: ProceduralMemory,
    *,
    k: int = 8,
    reviser: Reviser | None = None,
    objects: Sequence[str] | None = None,
) -> RevisedPlan:
    """Revise a plan step by step by the experiences that fit.

    By rule, the cases that went well vote on what comes next, each with the weight of its value times its similarity:
    a step that more than `min_support` of the weight takes next is kept; one that they take later has what they take
    before it put in front; one that they do not take gives way to what they take instead, or is dropped where that is
    planned for later; and after the last step comes what they still do. Where no case is found, the plan stays.

    Args:
        plan: The draft.
        task: What it is for.
        state: What holds now.
        memory: Where to look.
        k: Cases for each step.
        reviser: Revises a step instead of the rule, a language model, say.
        objects: Names in the task; None lets the memory find them.

    Raises:
        InvalidInput: The plan or the state is no tuple of texts, or the task is empty.
    """
    draft, now = list(check_lines("plan", plan)), check_lines("state", state)
    if not task.strip():
        raise InvalidInput("revise: wanted a task in words, got an empty one")
    done: list[str] = []
    made: list[RevisedStep] = []
    for i, step in enumerate(draft):
        cases = _cases(memory, task, now, (*done, step), k, objects)
        if reviser is not None:
            new = _by_reviser(reviser(task, tuple(done), step, cases), step, cases)
        else:
            new = _by_vote(_votes(cases, done), step, draft[i + 1 :], memory.config.min_support)
        made += new
        done += [entry.text for entry in new if entry.text]
    while reviser is None and len(done) < LONGEST:
        votes = _votes(_cases(memory, task, now, tuple(done), k, objects), done)
        text, support, ids = _next(votes)
        if not text or support <= memory.config.min_support:
            break
        made.append(RevisedStep(text=text, action="insert", was="", evidence=ids, support=support))
        done.append(text)
    return RevisedPlan(task=task, revised=tuple(made))


def suggest(
    task: str, done: Sequence[str], state: Sequence[str], memory: ProceduralMemory, *, k: int = 8
) -> tuple[str, float, tuple[str, ...]]:
    """The next step that like cases took after these: its text ("" where they were done), its support, their ids."""
    past, now = check_lines("done", done), check_lines("state", state)
    return _next(_votes(_cases(memory, task, now, past, k, None), past))


def _cases(
    memory: ProceduralMemory,
    task: str,
    state: Sequence[str],
    steps: Sequence[str],
    k: int,
    objects: Sequence[str] | None,
) -> list[Case]:
    return memory.retrieve(task, state, k, success=True, steps=steps, objects=objects)


_Votes = list[tuple[float, tuple[str, ...], str]]
"""Weight, the steps that are left after what was done, and id of each case."""


def _votes(cases: Sequence[Case], done: Sequence[str]) -> _Votes:
    best = max((case.score for case in cases), default=1.0)
    votes = []
    for case in cases:
        weight = max(case.value, 0.0) * case.score / best
        if weight > 0 and case.plan:
            votes.append((weight, _left(case.plan, done), case.id))
    return votes


def _left(plan: Sequence[str], done: Sequence[str]) -> tuple[str, ...]:
    """What a plan does after the last of the steps that it has in common with what was done."""
    low = [step.lower() for step in plan]
    shared, at = common(low, [step.lower() for step in done]), 0
    for step in shared:
        at = low.index(step, at) + 1
    return tuple(plan[at:])


def _next(votes: _Votes) -> tuple[str, float, tuple[str, ...]]:
    """What most of the weight does next, that part of the weight, and who says so."""
    weight, names, who = defaultdict[str, float](float), dict[str, str](), defaultdict[str, list[str]](list)
    for w, left, case in votes:
        text = left[0] if left else ""
        weight[text.lower()] += w
        names.setdefault(text.lower(), text)
        who[text.lower()].append(case)
    if not weight:
        return "", 0.0, ()
    best = max(weight, key=lambda text: weight[text])
    return names[best], weight[best] / sum(weight.values()), tuple(who[best])


def _by_vote(votes: _Votes, step: str, later: Sequence[str], limit: float) -> list[RevisedStep]:
    whole, low = sum(w for w, _, _ in votes), step.lower()
    for_it = [(w, left, case) for w, left, case in votes if low in (text.lower() for text in left)]
    support = sum(w for w, _, _ in for_it) / whole if whole else 0.0
    ids = tuple(case for _, _, case in for_it)
    keep = RevisedStep(text=step, action="keep", was=step, evidence=ids, support=support)
    if not votes:
        return [keep]
    if support > limit:  # taken, now or later: what they take before it comes first
        made: list[RevisedStep] = []
        while len(made) < LONGEST:
            text, part, who = _next(votes)
            if text.lower() in ("", low) or part <= limit:
                break
            made.append(RevisedStep(text=text, action="insert", was="", evidence=who, support=part))
            votes = [(w, left[1:] if left and left[0].lower() == text.lower() else left, c) for w, left, c in votes]
        return [*made, keep]
    text, part, who = _next(votes)
    if part <= limit:
        return [keep]  # they do not agree on anything else
    if not text or text.lower() in (other.lower() for other in later):
        return [RevisedStep(text="", action="drop", was=step, evidence=who, support=part)]
    return [RevisedStep(text=text, action="replace", was=step, evidence=who, support=part)]


def _by_reviser(new: Sequence[str], step: str, cases: Sequence[Case]) -> list[RevisedStep]:
    texts, ids = check_lines("reviser", new), tuple(case.id for case in cases)
    if not texts:
        return [RevisedStep(text="", action="drop", was=step, evidence=ids, support=1.0)]
    made = []
    for text in texts:
        same = text.lower() == step.lower()
        action = "keep" if same else "replace" if len(texts) == 1 else "insert"
        was = "" if action == "insert" else step
        made.append(RevisedStep(text=text, action=action, was=was, evidence=ids, support=1.0))  # type: ignore[arg-type]
    return made
