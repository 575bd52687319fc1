"""The configs and the commands: they load, they train, they say what is wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from embodmem import cli
from embodmem.errors import ConfigError
from embodmem_policies.commands import load_settings
from embodmem_policies.running import make_env

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs").glob("train_*.yaml"))


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["embodmem", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configs_load(path: Path) -> None:
    trainer, settings = load_settings(path)
    assert trainer == "ppo" and settings.total_steps > 0
    if "ObjectRecall" not in settings.env:  # that one drives its tours first
        make_env(settings.env, settings.num_envs, settings.env_settings)


def test_train_resume_and_eval(tmp_path, monkeypatch, capsys) -> None:
    config = tmp_path / "a.yaml"
    config.write_text("env: embodmem_envs:EmbodMem/TMaze-v0\nnum_envs: 4\nrollout: 16\nhidden: 8\ntotal_steps: 128\n")
    out = tmp_path / "run"
    more = ("--out", out, "--set", "env_settings.corridor=3", "--json")
    assert run(monkeypatch, "train", config, *more) == 0
    assert json.loads(capsys.readouterr().out)["step"] == 128
    assert run(monkeypatch, "train", config, *more, "--resume", "--set", "total_steps=256") == 0
    assert json.loads(capsys.readouterr().out)["step"] == 256
    assert run(monkeypatch, "eval-policy", out / "checkpoint.pt", "--episodes", 8, "--set", "corridor=5", "--json") == 0
    assert json.loads(capsys.readouterr().out)["episodes"] == 8


def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys) -> None:
    config = tmp_path / "a.yaml"
    config.write_text("env: x\ntotal_step: 3\n")
    assert run(monkeypatch, "train", config, "--out", tmp_path / "run") == 1
    assert "total_steps" in capsys.readouterr().err
    for text, wanted in (("trainer: sac\nenv: x\n", "sac"), ("[1]", "mapping"), ("gamma: 0.5\n", "env")):
        config.write_text(text)
        with pytest.raises(ConfigError, match=wanted):
            load_settings(config)
    assert run(monkeypatch, "eval-policy", tmp_path / "none.pt") == 1
