"""Behaviour cloning for policies with memory, in one file (Pomerleau, NIPS 1988): do what was shown.

    python -m embodmem_policies.bc --env embodmem_envs:EmbodMem/RepeatPrevious-v0 --data shown.npz --out runs/bc

Whole episodes are laid end to end in lanes; a window over all lanes is one scan, and the memory goes on from window to
window, so that an episode may be longer than what gradients pass through.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from torch import Tensor, nn

from embodmem.errors import ConfigError, DatasetError
from embodmem_policies.cell import detach, tree_map
from embodmem_policies.policy import Observation, Policy, index, policy_for, to_tensors
from embodmem_policies.running import Interrupt, Log, make_env, parse


@dataclass(frozen=True, kw_only=True)
class BCSettings:
    """Everything that a run depends on; also its command line."""

    env: str
    """Id of the environment that was acted in; it gives the spaces, and evaluation runs in it."""
    data: str
    """NPZ file of `Demonstrations`."""
    env_settings: dict[str, Any] = field(default_factory=dict)
    """What the environment is made with."""
    num_envs: int = 16
    """Environments side by side in evaluation."""
    cell: str = "series"
    """Memory cell, see `make_cell`."""
    cell_settings: dict[str, Any] = field(default_factory=dict)
    """What the cell takes besides."""
    hidden: int = 64
    """Width of encoder and cell."""
    lanes: int = 16
    """Episodes learned from side by side."""
    window: int = 128
    """Steps that gradients pass through."""
    epochs: int = 20
    """Passes over the data."""
    learning_rate: float = 2e-3
    """Of Adam."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    seed: int = 0
    """Of everything."""
    threads: int = 1
    """Of torch."""

    def __post_init__(self) -> None:
        for name in ("num_envs", "hidden", "lanes", "window", "epochs", "threads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"bc: wanted {name} of 1 or more, got {getattr(self, name)}")


@dataclass(frozen=True)
class Demonstrations:
    """S steps of episodes, one after another.

    Attributes:
        observation: (S, ...) array, or a dict of such.
        action: (S, ...) what was done at each.
        start: (S,) bool, True where an episode begins; the first is one.
    """

    observation: Any
    action: NDArray[Any]
    start: NDArray[np.bool_]

    def __post_init__(self) -> None:
        lengths = {len(part) for part in (*_parts(self.observation).values(), self.action, self.start)}
        if len(lengths) != 1 or lengths == {0}:
            raise DatasetError(f"demonstrations: wanted arrays of one length above 0, got lengths {sorted(lengths)}")
        if self.start.dtype != np.bool_ or not self.start[0]:
            raise DatasetError("demonstrations: wanted start as bool with True first")

    def save(self, path: str | Path) -> None:
        """Write an NPZ file: `action`, `start`, and `observation` or one `observation.<key>` for each part."""
        arrays: dict[str, Any] = {"action": self.action, "start": self.start, **_parts(self.observation)}
        np.savez_compressed(path, **arrays)

    @staticmethod
    def load(path: str | Path) -> Demonstrations:
        """Read what `save` wrote.

        Raises:
            DatasetError: The file is missing or is none of these.
        """
        try:
            with np.load(path, allow_pickle=False) as held:
                arrays = dict(held)
            action, start = arrays.pop("action"), arrays.pop("start")
            parts = {name.partition("observation.")[2]: value for name, value in arrays.items()}
            observation = arrays.get("observation", parts)
        except Exception as error:
            raise DatasetError(f"{path}: wanted an NPZ file of observation, action and start: {error!r}") from error
        return Demonstrations(observation, action, start)

    def lanes(self, count: int) -> tuple[Observation, Tensor, Tensor, Tensor]:
        """Whole episodes laid out in `count` lanes, each next one in the shortest.

        Returns:
            observation (T, count, ...), action (T, count, ...), start (T, count), and held (T, count), False where a
            lane has ended.
        """
        begins = np.flatnonzero(self.start)
        ends = np.append(begins[1:], len(self.start))
        fill = np.zeros(count, dtype=np.int64)
        rows: list[list[NDArray[np.int64]]] = [[] for _ in range(count)]
        for i in np.argsort(begins - ends, kind="stable"):  # the longest first
            lane = int(fill.argmin())
            rows[lane].append(np.arange(begins[i], ends[i]))
            fill[lane] += ends[i] - begins[i]
        which = np.zeros((int(fill.max()), count), dtype=np.int64)  # 0 stands in where a lane has ended
        for lane, parts in enumerate(rows):
            which[: fill[lane], lane] = np.concatenate(parts) if parts else ()
        held = torch.from_numpy(np.arange(len(which))[:, None] < fill)
        observation = tree_map(lambda part: part[torch.from_numpy(which)], to_tensors(self.observation))
        return observation, torch.from_numpy(self.action[which]), torch.from_numpy(self.start[which]), held


def _parts(observation: Any) -> dict[str, NDArray[Any]]:
    if isinstance(observation, dict):
        return {f"observation.{name}": np.asarray(value) for name, value in observation.items()}
    return {"observation": np.asarray(observation)}


class BC:
    """A policy and its optimizer; each `epoch` goes once over the demonstrations.

    Args:
        settings: See `BCSettings`.
        shown: What to imitate; `settings.data` is read when None.
        env: An environment for the spaces; made when None.

    Raises:
        ConfigError: The environment cannot be made.
        DatasetError: The demonstrations cannot be read.
    """

    def __init__(
        self,
        settings: BCSettings,
        shown: Demonstrations | None = None,
        env: VectorEnv[Any, Any, Any] | None = None,
    ) -> None:
        self.settings = settings
        shown = Demonstrations.load(settings.data) if shown is None else shown
        self.env = make_env(settings.env, settings.num_envs, settings.env_settings) if env is None else env
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.policy: Policy = policy_for(asdict(settings), self.env)
        self.optimizer = torch.optim.Adam(self.policy.parameters(), lr=settings.learning_rate, fused=True)
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.steps = 0
        self._shown = shown.lanes(settings.lanes)
        self._first = getattr(self.policy.head, "first", 0)

    def epoch(self) -> dict[str, float]:
        """One pass; returns the mean negative log probability of what was done, and how often it was the likeliest."""
        s, head = self.settings, self.policy.head
        order = torch.randperm(s.lanes, generator=self.generator)
        observation, action, start, held = tree_map(lambda part: part[:, order], self._shown)
        state = self.policy.cell.initial_state(s.lanes)
        sums = np.zeros(3)
        for begin in range(0, len(start), s.window):
            at = slice(begin, begin + s.window)
            now, weight = index(observation, at), held[at].float()
            features, state = self.policy.cell.scan(self.policy.encode(now), detach(state), start[at])
            told = self.policy.actor(features)
            done = (action[at] - self._first).to(head.dtype)
            done = done.reshape(*done.shape[:2], *head.shape)
            log_p = head.log_prob(told, done, self.policy)[0] * weight
            loss = -log_p.sum() / weight.sum()
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.policy.parameters(), s.max_grad_norm)
            self.optimizer.step()
            right = (head.mode(told) == done).reshape(*weight.shape, -1).all(-1) * weight
            sums += (-log_p.sum().item(), right.sum().item(), weight.sum().item())
        self.steps += int(sums[2])
        return {"loss": sums[0] / sums[2], "agreement": sums[1] / sums[2]}

    def save(self, path: str | Path) -> None:
        """Write a checkpoint for `evaluate_checkpoint` and `embodmem eval-policy`."""
        content = {"kind": "bc", "settings": asdict(self.settings), "policy": self.policy.state_dict()}
        whole = Path(path)
        torch.save(content, whole.with_suffix(".part"))
        whole.with_suffix(".part").replace(whole)


def train(
    settings: BCSettings,
    out: str | Path,
    *,
    shown: Demonstrations | None = None,
    resume: bool = False,
    progress: Callable[[dict[str, float]], None] | None = None,
) -> BC:
    """Imitate for all epochs, with `checkpoint.pt` and `log.csv` in `out`; Ctrl-C ends the run after the epoch in hand.

    Args:
        settings: See `BCSettings`.
        out: Folder; made when missing.
        shown: What to imitate; `settings.data` is read when None.
        resume: Not for this trainer, whose runs are short.
        progress: Called after each epoch with what is logged.

    Raises:
        ConfigError: `out` holds a run already, or `resume` is asked for.
    """
    folder = Path(out)
    if resume or (folder / "checkpoint.pt").exists():
        raise ConfigError(f"{folder}: behaviour cloning begins anew; wanted a folder without a run, and no --resume")
    torch.set_num_threads(settings.threads)
    bc = BC(settings, shown)
    begin = time.process_time()
    with Log(folder, asdict(settings)) as log, Interrupt() as interrupt:
        for epoch in range(1, settings.epochs + 1):
            result = bc.epoch()
            rate = bc.steps / max(1e-9, time.process_time() - begin)
            row = {"step": bc.steps, "epoch": epoch, **result, "steps_per_cpu_s": rate}
            log.write(row)
            if progress is not None:
                progress(row)
            if interrupt.wanted:
                break
        bc.save(folder / "checkpoint.pt")
    return bc


def main() -> None:
    """The command line: one option for each setting."""
    settings, out, resume, progress = parse(BCSettings, __doc__ or "")
    done = train(settings, out, resume=resume, progress=progress)
    print(f"{out / 'checkpoint.pt'}: {done.steps:,} steps")


if __name__ == "__main__":
    main()
