"""Settings: defaults in code, overrides in YAML, and a clear word about every mistake."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.config import Config, SpatialConfig, config_from, config_to_plain, config_to_yaml, load_config
from embodmem.errors import ConfigError


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_nothing_overrides_nothing(tmp_path: Path) -> None:
    assert load_config(written(tmp_path / "empty.yaml", "# only a comment\n")) == Config()
    assert config_from({}) == config_from(None) == Config()


def test_overrides_leave_the_rest(tmp_path: Path) -> None:
    text = "spatial:\n  voxel_size_m: 0.1\n  max_range_m: 8\nencoder: hashing\nsemantic:\n  exclusive: [[a, b], [c]]\n"
    config = load_config(written(tmp_path / "some.yaml", text))
    assert config.spatial == dataclasses.replace(SpatialConfig(), voxel_size_m=0.1, max_range_m=8.0)
    assert type(config.spatial.max_range_m) is float
    assert config.encoder == "hashing"
    assert config.semantic.exclusive == (("a", "b"), ("c",))
    assert config.scene == Config().scene


def test_yaml_comes_back_equal(tmp_path: Path) -> None:
    config = config_from({"spatial": {"voxel_size_m": 2e-3, "device": "cuda:0"}, "semantic": {"single_valued": ["on"]}})
    for made in (Config(), config):
        assert load_config(written(tmp_path / "all.yaml", config_to_yaml(made))) == made
        assert config_from(config_to_plain(made)) == made
    assert load_config(written(tmp_path / "all.yaml", config_to_yaml(Config()))) == Config()


def _leaves(kind: Any = Config, prefix: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    leaves = []
    for field in dataclasses.fields(kind):
        value = getattr(kind(), field.name)
        if dataclasses.is_dataclass(value):
            leaves += _leaves(type(value), (*prefix, field.name))
        else:
            leaves.append(((*prefix, field.name), value))
    return leaves


LEAVES = _leaves()


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_setting_can_be_overridden_and_comes_back(data: st.DataObject) -> None:
    where, default = data.draw(st.sampled_from(LEAVES))
    values = {
        float: st.floats(allow_nan=False, allow_infinity=False),
        int: st.integers(-(10**9), 10**9),
        str: st.text(),
        tuple: st.just(default),
        bool: st.booleans(),
        dict: st.just(default),
    }
    value = data.draw(values[type(default)])
    plain: Any = value
    for name in reversed(where):
        plain = {name: plain}
    try:
        config = config_from(plain)
    except ConfigError as error:  # out of the bounds of its section, and the message says which
        sections = ("store", "spatial", "scene", "payloads", "procedural", "guard", "semantic", "working", "lifecycle")
        assert where[0] in (*sections, "recall", "episodic", "index") and str(error).startswith(where[0])
        return
    got: Any = config
    for name in where:
        got = getattr(got, name)
    assert got == value and type(got) is type(default)
    import yaml

    assert config_from(yaml.safe_load(config_to_yaml(config))) == config


@pytest.mark.parametrize("where, default", LEAVES, ids=[".".join(where) for where, _ in LEAVES])
def test_a_misspelt_key_names_the_right_one(where: tuple[str, ...], default: Any) -> None:
    wrong: Any = {where[-1] + "x": default}
    for name in reversed(where[:-1]):
        wrong = {name: wrong}
    with pytest.raises(ConfigError, match=f"{'.'.join(('config', *where[:-1]))}: unknown key '{where[-1]}x'") as caught:
        config_from(wrong)
    assert f"did you mean {where[-1]!r}?" in str(caught.value)


@pytest.mark.parametrize(
    "values, words",
    [
        ({"qqqq": 1}, "unknown key 'qqqq'; known: store, spatial"),
        ({3: 1}, "unknown key 3"),
        ({"spatial": {"voxel_size": 0.1}}, "did you mean 'voxel_size_m'"),
        ({"spatial": {"voxel_size_m": "0.1"}}, "config.spatial.voxel_size_m: wanted float, got '0.1'"),
        ({"spatial": {"voxel_size_m": True}}, "wanted float, got True"),
        ({"spatial": {"threads": 1.5}}, "wanted int, got 1.5"),
        ({"spatial": {"threads": True}}, "wanted int, got True"),
        ({"spatial": {"device": 0}}, "wanted str, got 0"),
        ({"spatial": {"voxel_size_m": None}}, "wanted float, got None"),
        ({"spatial": 3}, "config.spatial: wanted a mapping of settings, got 3"),
        ({"spatial": [1]}, "wanted a mapping"),
        ([], "wanted a mapping"),
        ("text", "wanted a mapping"),
        ({"semantic": {"exclusive": 3}}, "config.semantic.exclusive: wanted"),
        ({"semantic": {"single_valued": 3}}, "config.semantic.single_valued: wanted"),
        ({"semantic": {"relations": {"on": {"keep": "newest"}}}}, "semantic.relations.on: unknown key.*'keeps'"),
        ({"semantic": {"relations": {"on": {"keeps": "strong"}}}}, "got 'strong'; perhaps 'strongest'"),
        ({"semantic": {"relations": {"on": {"min_confidence": 2}}}}, "wanted min_confidence in 0..1, got 2"),
        ({"semantic": {"relations": {"on": 3}}}, "config.semantic.relations.on: wanted a mapping"),
        ({"semantic": {"relations": {"on": {"symmetric": True}}}}, "'on' is symmetric; wanted it neither"),
        ({"semantic": {"relations": {True: {}}}}, "YAML takes on.*put them in quotes"),
        ({"semantic": {"relations": [1]}}, "config.semantic.relations: wanted a mapping of names"),
        ({"semantic": {"relations": {"a": {"inverse_of": "b"}, "b": {"inverse_of": "a"}}}}, "an inverse itself"),
        ({"semantic": {"relations": {"a": {"inverse_of": "b", "symmetric": True}}}}, "wanted inverse_of or symmetric"),
        ({"semantic": {"trust": {"ann": 2}}}, "semantic.trust: wanted 0..1, got 2"),
        ({"semantic": {"trust": {"ann": "much"}}}, "config.semantic.trust: wanted"),
    ],
)
def test_mistakes(values: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config_from(values)


@pytest.mark.parametrize("values", [{"single_valued": "on"}, {"single_valued": [3]}, {"exclusive": ["on", "in"]}])
def test_a_word_is_no_list_of_words(values: Any) -> None:
    with pytest.raises(ConfigError, match="config.semantic"):
        config_from({"semantic": values})


def test_on_is_a_truth_value_in_yaml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"got \[True, 'in'\]; YAML takes on.*put them in quotes"):
        load_config(written(tmp_path / "on.yaml", "semantic: {single_valued: [on, in]}"))
    config = load_config(written(tmp_path / "on.yaml", "semantic: {single_valued: ['on', in]}"))
    assert config.semantic.single_valued == ("on", "in")


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none.yaml: wanted a YAML file"):
        load_config(tmp_path / "none.yaml")
    for text in ("a: [1", "\t- x: :", "a: b: c"):
        with pytest.raises(ConfigError, match="wanted a YAML file"):
            load_config(written(tmp_path / "bad.yaml", text))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match="wanted a YAML file"):
        load_config(tmp_path / "binary.yaml")
    with pytest.raises(ConfigError, match="wanted a YAML file"):
        load_config(tmp_path)
    with pytest.raises(ConfigError, match=r"odd\.yaml\.spatial: unknown key"):
        load_config(written(tmp_path / "odd.yaml", "spatial: {voxelsize: 1}"))
    # YAML can make objects; a file of settings cannot.
    with pytest.raises(ConfigError):
        load_config(written(tmp_path / "object.yaml", "encoder: !!python/object/apply:os.getcwd []"))
