"""A house in words: things on furniture, some of it closed; what a plan does to it, and experiences of that."""

from __future__ import annotations

from collections.abc import Sequence

from embodmem.procedural import Experience


def carry(thing: str, source: str, target: str, opened: bool) -> tuple[str, ...]:
    """The plan that brings a thing from one piece of furniture to another."""
    open_it = (f"open {source}",) if opened else ()
    return (f"goto {source}", *open_it, f"pick {thing}", f"goto {target}", f"place {thing} on {target}")


def run(plan: Sequence[str], state: Sequence[str]) -> tuple[bool, int | None, str, tuple[str, ...]]:
    """Whether all steps worked, the index of the one that did not, its error, and what holds afterwards."""
    facts, at, held = set(state), "", ""
    for i, step in enumerate(plan):
        verb, _, rest = step.partition(" ")
        thing, _, target = rest.partition(" on ")
        if verb == "goto":
            at = rest
        elif verb == "open" and at == rest:
            facts.discard(f"{rest} closed")
        elif verb == "pick" and f"{thing} on {at}" in facts and f"{at} closed" not in facts and not held:
            facts.discard(f"{thing} on {at}")
            held = thing
        elif verb == "place" and held == thing and at == target:
            facts.add(f"{thing} on {target}")
            held = ""
        else:
            why = f"{at} is closed" if f"{at} closed" in facts else f"cannot {step}"
            return False, i, why, tuple(sorted(facts))
    return True, None, "", tuple(sorted(facts))


def lived(
    stamp_ns: int, thing: str, source: str, target: str, *, closed: bool, opened: bool, agent: str = ""
) -> Experience:
    """An attempt to bring a thing, as it comes out."""
    state = (f"{thing} on {source}", "lamp on", *((f"{source} closed",) if closed else ()))
    plan = carry(thing, source, target, opened)
    done, failed, error, after = run(plan, state)
    return Experience(
        stamp_ns=stamp_ns,
        task=f"bring {thing} to {target}",
        state=state,
        plan=plan,
        success=done,
        after=after,
        error=error,
        failed_step=failed,
        objects=(thing, source, target),
        agent=agent,
    )


THINGS = (("mug", "table", "sink"), ("blue book", "shelf", "desk"), ("cup", "desk", "sink"), ("pen", "sofa", "table"))
HIDDEN = (("fork", "drawer", "sink"), ("milk", "fridge", "table"), ("coat", "wardrobe", "sofa"))


def some_life() -> list[Experience]:
    """Four open and three closed places mastered, and two failures for want of opening."""
    open_ones = [lived(i, *names, closed=False, opened=False) for i, names in enumerate(THINGS)]
    closed_ones = [lived(10 + i, *names, closed=True, opened=True) for i, names in enumerate(HIDDEN)]
    failures = [lived(20 + i, *names, closed=True, opened=False) for i, names in enumerate(HIDDEN[:2])]
    return [*open_ones, *closed_ones, *failures]
