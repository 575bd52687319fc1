"""PPO: what it makes of ends of episodes in every mode of autoreset, that it learns, and goes on bit for bit."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from torch import nn

from embodmem.errors import ConfigError, InvalidInput
from embodmem_policies.cell import tree_leaves
from embodmem_policies.evaluate import evaluate, evaluate_checkpoint
from embodmem_policies.ppo import PPO, PPOSettings, train
from embodmem_policies.running import env_bytes, env_from_bytes, load_checkpoint, parse

REPEAT = "embodmem_envs:EmbodMem/RepeatPrevious-v0"
MODES = list(AutoresetMode)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


class Count(gymnasium.Env):
    """Shows (steps so far, episode) / 100, pays the step; ends after `length` steps, terminated or truncated."""

    observation_space = spaces.Box(0.0, 10.0, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, length: int, truncates: bool) -> None:
        self.length, self.truncates, self.episode, self.count = length, truncates, 0, 0

    def _seen(self):
        return np.array([self.count, self.episode], dtype=np.float32) / 100

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count, self.episode = 0, self.episode + 1
        return self._seen(), {}

    def step(self, action):
        self.count += 1
        over = self.count >= self.length
        return self._seen(), float(self.count), over and not self.truncates, over and self.truncates, {}


def counting(mode: AutoresetMode) -> VectorEnv:
    """Three copies that end at different steps, one by termination and two by truncation."""
    made = [lambda a=a: Count(*a) for a in ((3, False), (4, True), (6, True))]
    return gymnasium.vector.SyncVectorEnv(made, autoreset_mode=mode)


def settings(**changes) -> PPOSettings:
    base = {"env": "count", "num_envs": 3, "rollout": 17, "hidden": 8, "minibatches": 1, "total_steps": 1000}
    return PPOSettings(**{**base, **changes})


def plain_advantages(ppo: PPO, episodes: list[list[dict]]) -> list[list[float]]:
    """Advantages of whole episodes and of one cut off by the end of the rollout, by the definition, backwards."""
    s = ppo.settings
    made = []
    for steps in episodes:
        ahead, rows = 0.0, []
        for step in reversed(steps):
            delta = step["reward"] + s.gamma * step["next_value"] - step["value"]
            ahead = delta + s.gamma * s.gae_lambda * ahead
            rows.append(ahead)
        made.append(rows[::-1])
    return made


@pytest.mark.parametrize("mode", MODES)
def test_advantages_and_starts_in_every_mode(mode: AutoresetMode) -> None:
    """Against episodes replayed one by one: memory, values, the bootstrap of what was cut off, and what is left out."""
    ppo = PPO(settings(), counting(mode))
    rollout = ppo.collect()
    with torch.no_grad():
        _, value = ppo.policy.scan(rollout.observation, rollout.state, rollout.start)
    advantage = ppo.advantages(rollout, value)
    for row, (length, truncates) in enumerate(((3, False), (4, True), (6, True))):
        t, episode = 0, 1
        while t < 17:
            count = min(length, 17 - t)
            # the last observation of an episode too, with the memory that it meets
            seen = torch.tensor([[c, episode] for c in range(count + 1)]).float()[:, None] / 100
            start = torch.zeros(count + 1, 1, dtype=torch.bool)
            with torch.no_grad():
                _, values = ppo.policy.scan(seen, ppo.policy.cell.initial_state(1), start)
            torch.testing.assert_close(rollout.observation[t : t + count, row], seen[:-1, 0])
            torch.testing.assert_close(value[t : t + count, row], values[:-1, 0])
            assert rollout.start[t : t + count, row].tolist() == [True] + [False] * (count - 1)
            assert rollout.valid[t : t + count, row].all()
            ends = count == length
            steps = [
                {
                    "reward": float(c + 1),
                    "value": float(values[c, 0]),
                    "next_value": 0.0 if ends and not truncates and c == count - 1 else float(values[c + 1, 0]),
                }
                for c in range(count)
            ]
            (expected,) = plain_advantages(ppo, [steps])
            torch.testing.assert_close(advantage[t : t + count, row], torch.tensor(expected), rtol=1e-4, atol=1e-4)
            t, episode = t + count, episode + 1
            if ends and mode is AutoresetMode.NEXT_STEP and t < 17:
                assert not rollout.valid[t, row], "the step that begins the next episode is not learned from"
                t += 1


@pytest.mark.parametrize("mode", MODES)
def test_rollouts_join(mode: AutoresetMode) -> None:
    """Many short rollouts see what one long one does: memory and starts go over from each to the next."""
    long, short = PPO(settings(rollout=24), counting(mode)), PPO(settings(rollout=4), counting(mode))
    one, many = long.collect(), [short.collect() for _ in range(6)]
    assert torch.equal(one.start, torch.cat([part.start for part in many]))
    assert torch.equal(one.valid, torch.cat([part.valid for part in many]))
    with torch.no_grad():
        values = [each.policy.scan(r.observation, r.state, r.start)[1] for each, r in ((short, r) for r in many)]
        _, expected = long.policy.scan(one.observation, one.state, one.start)
    torch.testing.assert_close(torch.cat(values), expected)
    assert [each[:2] for each in long.recent] == [each[:2] for each in short.recent]
    assert {each[:2] for each in long.recent} == {(6.0, 3), (10.0, 4), (21.0, 6)}


@pytest.mark.parametrize("cell", ["series", "gru", "ffm"])
@pytest.mark.parametrize("mode", MODES)
def test_what_acting_keeps_is_what_a_scan_says(cell: str, mode: AutoresetMode) -> None:
    """Log probabilities and values, over rollouts that cut episodes, by a policy that has learned a little."""
    ppo = PPO(settings(cell=cell, learning_rate=0.1), counting(mode))
    for _ in range(3):
        rollout = ppo.collect()
        with torch.no_grad():
            told, value = ppo.policy.scan(rollout.observation, rollout.state, rollout.start)
            log_p, _ = ppo.policy.head.log_prob(told, rollout.action, ppo.policy)
        torch.testing.assert_close(rollout.value, value, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(rollout.log_p, log_p, rtol=1e-4, atol=1e-5)
        ppo.update(rollout)


def gradient_of(ppo: PPO, rollout, part, advantage) -> tuple[torch.Tensor, dict[str, float]]:
    """All parameters' gradients, and the losses."""
    ppo.optimizer.zero_grad(set_to_none=False)
    losses = ppo._descend(rollout, part, advantage)
    return torch.cat([p.grad.flatten().clone() for p in ppo.policy.parameters()]), losses


def test_loss_is_over_the_steps_that_count() -> None:
    """Losses and gradients against eq. 7 and 9 over picked steps, by autograd; what stands at the others changes
    nothing, and none at all is no NaN."""
    ppo = PPO(settings(learning_rate=0.1), counting(AutoresetMode.NEXT_STEP))
    ppo.update(ppo.collect())
    r, part, s = ppo.collect(), torch.tensor([2, 0]), ppo.settings
    r.log_p += 0.3 * torch.randn(r.log_p.shape, generator=torch.Generator().manual_seed(0))  # so that the clip acts
    valid = r.valid[:, part]
    assert 0 < (~valid).sum() < valid.sum()
    advantage = ppo.advantages(r, r.value)
    target = advantage + r.value
    ours, losses = gradient_of(ppo, r, part, advantage)
    told, value = ppo.policy.scan(r.observation[:, part], tuple(leaf[part] for leaf in r.state), r.start[:, part])
    log_p, entropy = ppo.policy.head.log_prob(told, r.action[:, part], ppo.policy)
    a = advantage[:, part][valid]
    a = (a - a.mean()) / a.std(correction=0)
    log_ratio = (log_p - r.log_p[:, part])[valid]
    ratio = log_ratio.exp()
    assert ((ratio - 1.0).abs() > s.clip).any()
    gain = -torch.minimum(ratio * a, ratio.clamp(1.0 - s.clip, 1.0 + s.clip) * a).mean()
    error = 0.5 * (value - target[:, part])[valid].square().mean()
    ppo.optimizer.zero_grad(set_to_none=False)
    (gain + s.value * error - s.entropy * entropy[valid].mean()).backward()
    theirs = torch.cat([p.grad.flatten() for p in ppo.policy.parameters()])
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    expected = {"policy_loss": gain, "value_loss": error, "entropy": entropy[valid].mean()}
    expected["kl"] = (ratio - 1.0 - log_ratio).mean()
    assert losses == {name: pytest.approx(each.item(), rel=1e-4, abs=1e-6) for name, each in expected.items()}
    advantage[~r.valid], r.value[~r.valid] = 1e3, -1e3
    again, losses_again = gradient_of(ppo, r, part, advantage)
    torch.testing.assert_close(again, ours)
    assert losses_again == pytest.approx(losses)
    r.valid[:] = False
    none, losses = gradient_of(ppo, r, part, advantage)
    assert not none.any()
    assert set(losses.values()) == {0.0}


def test_the_noise_of_a_solved_task_is_not_blown_up() -> None:
    """The gradient shrinks with the advantages once these are small beside the largest seen."""
    ppo = PPO(settings(entropy=0.0, value=0.0), counting(AutoresetMode.NEXT_STEP))
    r, part = ppo.collect(), torch.arange(ppo.settings.num_envs)
    advantage = torch.randn(r.value.shape, generator=torch.Generator().manual_seed(0))

    def gradient(scale: float) -> float:
        return float(gradient_of(ppo, r, part, scale * advantage)[0].norm())

    whole = gradient(1.0)
    assert gradient(0.2) == pytest.approx(whole, rel=1e-4)
    assert gradient(1e-3) == pytest.approx(1e-2 * whole, rel=1e-3)


def test_learns_repeat_previous() -> None:
    """The default policy reaches 0.9 of 1 in 100,000 steps; without memory 0.25 * 2 - 1 = -0.5 is all there is."""
    ppo = PPO(PPOSettings(env=REPEAT, rollout=64, gamma=0.9, total_steps=50_000))
    while ppo.steps < 50_000:
        ppo.update(ppo.collect())
    assert ppo.statistics()["return"] > 0.9
    assert evaluate(ppo.policy, ppo.env, 32).summary()["return"] > 0.95


def test_parameters_are_parts_of_one() -> None:
    ppo = PPO(settings(), counting(AutoresetMode.NEXT_STEP))
    before = [p.clone() for p in ppo.policy.parameters()]
    ppo.update(ppo.collect())
    for each, old in zip(ppo.policy.parameters(), before, strict=True):
        assert not torch.equal(each, old)
    assert torch.equal(ppo._parameters, nn.utils.parameters_to_vector(ppo.policy.parameters()))
    assert torch.equal(ppo._gradient, torch.cat([p.grad.flatten() for p in ppo.policy.parameters()]))
    assert ppo._gradient.norm() <= ppo.settings.max_grad_norm * (1.0 + 1e-5)


def test_an_optimizer_of_an_older_version_is_told(tmp_path: Path) -> None:
    ppo = PPO(settings(), counting(AutoresetMode.NEXT_STEP))
    ppo.optimizer = torch.optim.Adam(ppo.policy.parameters())
    ppo.save(tmp_path / "old.pt")
    with pytest.raises(ConfigError, match="older version"):
        PPO(settings(), counting(AutoresetMode.NEXT_STEP)).load(tmp_path / "old.pt")


def small(**changes) -> PPOSettings:
    return PPOSettings(**{"env": REPEAT, "num_envs": 4, "rollout": 16, "hidden": 8, "total_steps": 64 * 6, **changes})


def test_resume_is_bit_equal(tmp_path: Path) -> None:
    whole = train(small(), tmp_path / "whole")
    train(small(total_steps=64 * 6, anneal=True, checkpoint_every=1), tmp_path / "parts", env=StopAfter(3))
    half = load_checkpoint(tmp_path / "parts" / "checkpoint.pt")
    assert half["counts"][1] == 3
    parts = train(small(), tmp_path / "parts", resume=True)
    for one, other in zip(whole.policy.parameters(), parts.policy.parameters(), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(tree_leaves(whole._state), tree_leaves(parts._state), strict=True):
        assert np.array_equal(one, other)
    rows = [list(csv.DictReader((tmp_path / name / "log.csv").open())) for name in ("whole", "parts")]
    assert [r["step"] for r in rows[0]] == [r["step"] for r in rows[1]] == [str(64 * i) for i in range(1, 7)]
    assert [r["policy_loss"] for r in rows[0]] == [r["policy_loss"] for r in rows[1]]


class StopAfter:
    """A real environment that sends this process a Ctrl-C in the step after so many rollouts."""

    def __new__(cls, rollouts: int):
        env = gymnasium.make_vec(REPEAT, num_envs=4)
        steps = 0
        plain = env.step

        def step(actions):
            nonlocal steps
            steps += 1
            if steps == 16 * rollouts - 5:
                del env.step  # so that what is pickled is the plain environment
                os.kill(os.getpid(), signal.SIGINT)
            return plain(actions)

        env.step = step
        return env


def test_environment_that_cannot_be_pickled_begins_anew(tmp_path: Path) -> None:
    env = counting(AutoresetMode.NEXT_STEP)
    assert env_from_bytes(env_bytes(env)) is None
    first = PPO(settings(), env)
    first.update(first.collect())
    first.save(tmp_path / "a.pt")
    again = PPO(settings(), counting(AutoresetMode.NEXT_STEP))
    assert again.load(tmp_path / "a.pt") is False
    assert again.steps == first.steps and all(map(torch.equal, first.policy.parameters(), again.policy.parameters()))
    again.update(again.collect())


def test_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    train(small(), tmp_path)
    with pytest.raises(ConfigError, match="gamma"):
        train(small(gamma=0.5), tmp_path, resume=True)
    with pytest.raises(ConfigError, match="resume"):
        train(small(), tmp_path)
    with pytest.raises(ConfigError, match="holds none"):
        train(small(), tmp_path / "none", resume=True)
    (tmp_path / "damaged.pt").write_bytes(b"PK nothing")
    with pytest.raises(ConfigError, match="checkpoint"):
        evaluate_checkpoint(tmp_path / "damaged.pt")


def test_evaluate_checkpoint(tmp_path: Path) -> None:
    train(small(), tmp_path)
    found = evaluate_checkpoint(tmp_path / "checkpoint.pt", episodes=10, num_envs=4)
    assert len(found.returns) == 12 and (found.lengths == 51).all() and set(found.success) <= {0.0, 1.0}
    longer = evaluate_checkpoint(tmp_path / "checkpoint.pt", episodes=2, env_settings={"decks": 2})
    assert (longer.lengths == 103).all()
    with pytest.raises(ConfigError, match="does not fit"):
        evaluate_checkpoint(tmp_path / "checkpoint.pt", env="embodmem_envs:EmbodMem/MemoryMaze-v0", env_settings={})


@pytest.mark.parametrize("mode", MODES)
def test_evaluate_counts_whole_episodes(mode: AutoresetMode) -> None:
    env = counting(mode)
    policy = PPO(settings(), env).policy
    found = evaluate(policy, env, 6)
    assert sorted(zip(found.returns, found.lengths, strict=True)) == [(6, 3)] * 2 + [(10, 4)] * 2 + [(21, 6)] * 2


def test_dict_memory_and_boxes() -> None:
    """A dict with the memory's rows, and actions in a box that is not symmetric."""

    class Reach(gymnasium.Env):
        observation_space = spaces.Dict(
            {
                "at": spaces.Box(-1, 1, (2,), np.float32),
                "mode": spaces.Discrete(3, start=1),
                "memory": spaces.Box(-9, 9, (4, 5)),
            }
        )
        action_space = spaces.Box(np.array([-1.0, 0.0]), np.array([1.0, 3.0]), dtype=np.float64)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.left = 5
            return self.observation_space.sample(), {}

        def step(self, action):
            assert self.action_space.contains(action)
            self.left -= 1
            return self.observation_space.sample(), float(action[0]), self.left == 0, False, {}

    ppo = PPO(settings(rollout=8), gymnasium.vector.SyncVectorEnv([Reach] * 3))
    before = [p.detach().clone() for p in ppo.policy.parameters()]
    ppo.update(ppo.collect())
    names = [name for name, _ in ppo.policy.named_parameters()]
    moved = {n: not torch.equal(a, b) for n, a, b in zip(names, before, ppo.policy.parameters(), strict=True)}
    assert moved["reader.query.weight"] and moved["log_std"]


def test_refuses_spaces_and_settings() -> None:
    class Images(Count):
        observation_space = spaces.Box(0, 255, (64, 64, 3), np.uint8)

    with pytest.raises(InvalidInput, match="images need an encoder"):
        PPO(settings(num_envs=1), gymnasium.vector.SyncVectorEnv([lambda: Images(3, True)]))
    with pytest.raises(ConfigError, match="minibatches"):
        settings(minibatches=4)
    with pytest.raises(ConfigError, match="3 environments"):
        PPO(settings(), gymnasium.vector.SyncVectorEnv([lambda: Count(3, True)]))
    with pytest.raises(ConfigError, match="Nothing-v0"):
        PPO(PPOSettings(env="Nothing-v0"))


def test_the_dataclass_is_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--env", "123", "--out", "o", "--gamma", "0.5", "--anneal", "false", "--env-settings", "{corridor: 3}"]
    made, out, resume, _ = parse(PPOSettings, "text", arguments)
    assert made == PPOSettings(env="123", gamma=0.5, anneal=False, env_settings={"corridor": 3})
    assert out == Path("o") and not resume
    with pytest.raises(SystemExit):
        parse(PPOSettings, "text", ["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "--total-steps" in shown and "Discount. [0.99]" in shown
    with pytest.raises(ConfigError, match="wanted int"):
        parse(PPOSettings, "text", ["--env", "a", "--out", "o", "--epochs", "many"])


def test_the_module_runs_and_stops_at_ctrl_c(tmp_path: Path) -> None:
    """The file as a program: Ctrl-C ends it in good order, and its checkpoint can be gone on from."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "embodmem_policies.ppo", "--env", REPEAT, "--out", str(tmp_path / "run")]
    path = os.pathsep.join(str(root / part) for part in (".", "envs", "policies"))
    run = subprocess.Popen(
        [*command, "--total-steps", "100000000"],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
    )
    log = tmp_path / "run" / "log.csv"
    deadline = time.monotonic() + 60
    while not (log.exists() and len(log.read_text().splitlines()) > 2) and time.monotonic() < deadline:
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=30)
    assert run.returncode == 0 and "steps_per_cpu_s" in errors and "Traceback" not in errors
    content = load_checkpoint(tmp_path / "run" / "checkpoint.pt", "ppo")
    assert content["counts"][0] == int(log.read_text().splitlines()[-1].split(",")[0])
