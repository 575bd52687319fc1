"""Names left out, generalised and found again."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.procedural.lift import Generaliser, fill, generalise, ground, mask, match, rename, roles

names = st.lists(st.sampled_from(["mug", "red mug", "cup", "table", "a", "x1"]), min_size=2, max_size=2, unique=True)


def test_names_are_whole_and_the_longest_counts() -> None:
    known = ("mug", "red mug")
    assert mask("pick the Red Mug from mugs", known, {"red mug": "{0}"}) == "pick the {0} from mugs"
    assert mask("pick mug", known, {}) == "pick _"
    assert mask("PICK it", (), {}) == "pick it"
    assert roles("put mug by red mug by mug", known) == {"mug": "{0}", "red mug": "{1}"}
    assert rename("Put Mug on table", {"mug": "cup"}) == "Put cup on table"


def test_templates_match_what_they_were_filled_with() -> None:
    assert match("bring {a} to {b}", "bring the red mug to the sink") == {"a": "the red mug", "b": "the sink"}
    assert match("swap {a} and {a}", "swap cup and cup") == {"a": "cup"}
    assert match("swap {a} and {a}", "swap cup and mug") is None
    assert match("bring {a}", "fetch mug") is None
    assert match("(?) [{a}]", "(?) [cup]") == {"a": "cup"}  # what means something to a pattern means itself


@settings(max_examples=200, deadline=None)
@given(st.lists(names, min_size=2, max_size=4))
def test_a_generalisation_gives_back_each_text(pairs: list[list[str]]) -> None:
    texts = [f"put {thing} on {place} beside {thing}" for thing, place in pairs]
    general = Generaliser(pairs)
    made = general.texts(texts)
    for i, text in enumerate(texts):
        bound = {variable[1:-1]: name for name, vs in general.bound(i).items() for variable in vs}
        assert fill(made, bound) == text
        assert match(made, text) is not None
        assert made.lower() in generalise([text], pairs[i], general.bound(i))  # a fact in the same words, too


def test_grounding_follows_what_has_a_name() -> None:
    state = ("mug on table", "cup on shelf", "table in kitchen", "shelf in hall")
    facts = ("{c} in {d}", "{a} on {c}", "{x} on {y}")
    assert ground(facts, state, {"a": "cup"}) == {"a": "cup", "c": "shelf", "d": "hall"}
    assert ground(facts, state, {"a": "hat"}) == {"a": "hat"}
    assert ground((), state, {"a": "hat"}) == {"a": "hat"}


def test_grounding_prefers_what_makes_most_hold() -> None:
    state = ("mug on table", "mug on tray", "tray clean")
    assert ground(("{a} on {c}", "{c} clean"), state, {"a": "mug"}) == {"a": "mug", "c": "tray"}
