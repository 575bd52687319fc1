"""Scripts from experiences, by rules: what the plans of several successes have in common, with variables.

Memp (Fang et al., 2025) distils trajectories into scripts with a language model; here the common subsequence of the
steps takes its place, and the contrast of successes with failures gives what must hold before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from embodmem.procedural.lift import Generaliser, generalise, mask, match, roles
from embodmem.procedural.types import Experience


@dataclass(frozen=True, slots=True)
class Script:
    """What is distilled of one way to do one kind of task.

    Attributes:
        task: The task, with variables.
        steps: The steps, with the same variables.
        preconditions: See `types.Skill`, as all that follow.
        context: What held whether it went well or not.
        unless: What speaks against it.
        adds: What holds afterwards.
        removes: What holds no more.
        constants: Names that stand in it as they are.
        successes: Row ids of the experiences that it was distilled from.
        failures: Row ids of experiences that did the same and failed.
    """

    task: str
    steps: tuple[str, ...]
    preconditions: tuple[str, ...]
    context: tuple[str, ...]
    unless: tuple[str, ...]
    adds: tuple[str, ...]
    removes: tuple[str, ...]
    constants: tuple[str, ...]
    successes: tuple[int, ...]
    failures: tuple[int, ...]


def signature(experience: Experience) -> str:
    """The task with its names as numbered places: equal for tasks of one kind."""
    return mask(experience.task, experience.objects, roles(experience.task, experience.objects))


def outline(experience: Experience) -> tuple[str, ...]:
    """Its steps with the names of the task as numbered places, and other names as blanks."""
    places = roles(experience.task, experience.objects)
    return tuple(mask(step, experience.objects, places) for step in experience.plan)


def common(a: Sequence[str], b: Sequence[str]) -> list[str]:
    """The longest common subsequence."""
    best = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(len(a) - 1, -1, -1):
        for j in range(len(b) - 1, -1, -1):
            best[i][j] = best[i + 1][j + 1] + 1 if a[i] == b[j] else max(best[i + 1][j], best[i][j + 1])
    made, i, j = [], 0, 0
    while i < len(a) and j < len(b):
        if a[i] == b[j]:
            made.append(a[i])
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            i += 1
        else:
            j += 1
    return made


def positions(part: Sequence[str], whole: Sequence[str]) -> list[int] | None:
    """Where a subsequence stands in a sequence, leftmost; None where it is none."""
    found, at = [], 0
    for item in part:
        while at < len(whole) and whole[at] != item:
            at += 1
        if at == len(whole):
            return None
        found.append(at)
        at += 1
    return found


def distil(experiences: Mapping[int, Experience], min_successes: int, overlap: float) -> list[Script]:
    """The scripts of experiences that are at least so many successes strong.

    Successes of one kind of task whose plans are alike step by step make one script; what is left over makes scripts of
    their common steps, where plans share at least `overlap` of the longest.

    Args:
        experiences: Row id -> experience.
        min_successes: Successes that a script needs.
        overlap: Part of the longest plan that is shared, 0..1.
    """
    kinds: dict[str, list[int]] = {}
    for number, experience in experiences.items():
        kinds.setdefault(signature(experience), []).append(number)
    scripts = []
    for numbers in kinds.values():
        good = [n for n in numbers if experiences[n].success and experiences[n].plan]
        bad = [n for n in numbers if not experiences[n].success]
        for steps, members in _ways({n: outline(experiences[n]) for n in good}, min_successes, overlap):
            scripts.append(_script(experiences, steps, members, bad))
    return scripts


def _ways(
    outlines: Mapping[int, tuple[str, ...]], min_successes: int, overlap: float
) -> list[tuple[tuple[str, ...], list[int]]]:
    """Common steps, and the experiences that took them."""
    alike: dict[tuple[str, ...], list[int]] = {}
    for number, steps in outlines.items():
        alike.setdefault(steps, []).append(number)
    ways = [(steps, members) for steps, members in alike.items() if len(members) >= min_successes]
    pools: list[tuple[list[str], list[int], int]] = []
    for steps, members in alike.items():
        if len(members) >= min_successes:
            continue
        for i, (shared, pooled, longest) in enumerate(pools):
            both, most = common(shared, steps), max(longest, len(steps))
            if len(both) >= max(1.0, overlap * most):
                pools[i] = (both, pooled + members, most)
                break
        else:
            pools.append((list(steps), list(members), len(steps)))
    return ways + [(tuple(shared), pooled) for shared, pooled, _ in pools if len(pooled) >= min_successes]


def _script(
    experiences: Mapping[int, Experience], steps: tuple[str, ...], members: Sequence[int], bad: Sequence[int]
) -> Script:
    same = [n for n in bad if positions(steps, outline(experiences[n])) is not None]
    everyone = [*members, *same]
    lives = [experiences[n] for n in everyone]
    names = [tuple(name.lower() for name in life.objects) for life in lives]
    # What varies among the successes is a variable; a failure with other names must not make more of them.
    general = Generaliser(names[: len(members)])
    where = [positions(steps, outline(life)) or [] for life in lives]
    task = general.texts([life.task for life in lives[: len(members)]])
    made = tuple(
        general.texts([life.plan[at[i]] for life, at in zip(lives[: len(members)], where, strict=False)])
        for i in range(len(steps))
    )
    bound = [general.bound(i) for i in range(len(members))]
    before = [generalise(life.state, known, b) for life, known, b in zip(lives, names, bound, strict=False)]
    after = [generalise(life.after, known, b) for life, known, b in zip(lives, names, bound, strict=False)]
    failed = [
        _failed(task, made, life, at) for life, at in zip(lives[len(members) :], where[len(members) :], strict=True)
    ]
    held = set.intersection(*before)
    always_failed = set.intersection(*failed) if failed else set[str]()
    seen = [fact for facts in failed for fact in facts]
    known_after = all(life.after for life in lives[: len(members)])
    return Script(
        task=task,
        steps=made,
        # A fact that every failure had, too, does not tell success from failure.
        preconditions=_sorted(held - always_failed),
        context=_sorted(held & always_failed),
        unless=_sorted({f for f in seen if seen.count(f) >= 2} - set().union(*before)),
        adds=_sorted(set.intersection(*(a - b for a, b in zip(after, before, strict=True)))) if known_after else (),
        removes=_sorted(set.intersection(*(b - a for a, b in zip(after, before, strict=True)))) if known_after else (),
        constants=tuple(sorted(general.constants)),
        successes=tuple(members),
        failures=tuple(same),
    )


def _failed(task: str, steps: Sequence[str], life: Experience, at: Sequence[int]) -> set[str]:
    """What held before a failure, in the variables of the script that it followed."""
    bound: dict[str, list[str]] = {}
    for template, text in zip((task, *steps), (life.task, *(life.plan[i] for i in at)), strict=True):
        for variable, name in (match(template, text) or {}).items():
            known = bound.setdefault(name.lower(), [])
            if f"{{{variable}}}" not in known:
                known.append(f"{{{variable}}}")
    return generalise(life.state, tuple(name.lower() for name in life.objects), bound)


def _sorted(facts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(facts))
