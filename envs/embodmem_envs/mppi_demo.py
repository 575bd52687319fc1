"""An example of a planner on the map: MPPI drives the house robot to a place, through rooms it sees on the way.

    python -m embodmem_envs.mppi_demo --seed 0

Model predictive path integral control (Williams et al., ICRA 2017) is pytorch-mppi's; the costs are the memory's: the
distance field says how near obstacles are, the cost to go over an inflated slice of the map where the goal lies.
Nothing of the simulator's truth is used but the robot's pose.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import gymnasium as gym
import numpy as np
import typer
from numpy.typing import ArrayLike, NDArray

from embodmem.embodied import EmbodiedMemory
from embodmem.errors import InvalidInput, MissingDependency
from embodmem.planning import Costmap, DistanceField, as_torch, cost_to_go, height_slice, inflate
from embodmem.planning.costmap import INSCRIBED_COST
from embodmem_envs.adapter import HouseAdapter
from embodmem_envs.house import HouseEnv
from embodmem_envs.layout import ROBOT_RADIUS_M

if TYPE_CHECKING:
    import torch

Array = NDArray[np.float64]

REACHED_M = 0.3
SAFE_M = ROBOT_RADIUS_M + 0.06
"""Distance from the robot's axis to the middle of an occupied voxel below which it may touch: a surface lies up to
half a voxel's diagonal (0.043 m) in front of that middle."""
HEIGHTS_M = (0.35, 0.6, 0.85, 1.1, 1.35)
"""Where the robot's axis is looked at; what is lower is in the slice of the map."""
SLICE_M = (0.06, 1.4)
_PARTS = 4
_WALL_COST = 100.0


@dataclass
class Drive:
    """What came of a drive.

    Attributes:
        reached: Whether the robot got within `REACHED_M` of the goal.
        collided: How often something was in its way, by the simulator's truth.
        path: (N, 3) x, y, yaw after each step, the start first.
        plan: The map at the end, with costs.
    """

    reached: bool = False
    collided: int = 0
    path: list[Array] = field(default_factory=list)
    plan: Costmap | None = None


class Planner:
    """MPPI over the memory's map.

    Args:
        memory: Where the robot's views are written to.
        goal: (2,) metres in the world.
        step_s: How long an action lasts, seconds.
        seed: Of the noise.

    Raises:
        MissingDependency: pytorch-mppi is not installed.
    """

    def __init__(self, memory: EmbodiedMemory, goal: ArrayLike, step_s: float, seed: int = 0) -> None:
        try:
            import torch
            from pytorch_mppi import MPPI
        except ImportError as error:
            raise MissingDependency("pytorch-mppi", "dev", "the MPPI example") from error
        logging.getLogger("pytorch_mppi").setLevel(logging.WARNING)
        torch.manual_seed(seed)
        self.goal: Array = np.asarray(goal, dtype=np.float64)
        self.field = DistanceField(memory.spatial.octree, 1.0)
        self.plan = Costmap(np.empty((0, 0), np.int8), np.zeros(2), memory.spatial.config.voxel_size_m)
        self._octree, self._torch, self._step_s = memory.spatial.octree, torch, step_s
        self._to_go: torch.Tensor = torch.zeros((0, 0))
        self._mppi: Any = MPPI(
            self._after,
            self._cost,
            nx=3,
            noise_sigma=torch.diag(torch.tensor([0.35, 0.6])) ** 2,
            num_samples=300,
            horizon=10,
            lambda_=0.3,
            u_min=torch.tensor([0.0, -1.5]),
            u_max=torch.tensor([0.8, 1.5]),
        )

    def update(self, pose: Array) -> None:
        """Take in what was seen since the last step."""
        self.field.update()
        places = np.stack([pose[:2], self.goal])
        plan = height_slice(self._octree, *SLICE_M).covering(places)
        self.plan = inflate(plan, ROBOT_RADIUS_M + 0.04, 0.6, cost_scaling=5.0)
        costs = cost_to_go(self.plan, self._target(), unknown_cost=50)
        # In a wall, the way out is what counts: it costs the more the farther the goal.
        worst = float(costs[np.isfinite(costs)].max()) if np.isfinite(costs).any() else 0.0
        self._to_go = self._torch.from_numpy(np.where(np.isfinite(costs), costs, worst + 2.0).astype(np.float32))

    def _target(self) -> Array:
        """(2,) the middle of the cell nearest to the goal that the robot may stand in, as far as is known."""
        open_cells = np.argwhere(self.plan.cells < INSCRIBED_COST)
        away = ((open_cells - self.plan.cell_of(self.goal[None])) ** 2).sum(axis=1)
        return np.asarray(self.plan.centres(open_cells[away.argmin()][None])[0])

    def act(self, pose: Array) -> Array:
        """(2,) speed m/s and turn rate rad/s for the next step from a pose (x, y, yaw)."""
        state = self._torch.as_tensor(pose, dtype=self._torch.float32)
        action = self._mppi.command(state)
        if self._hits(state[None], action[None]).item():  # the mean of good ways may be none: turn, and look
            way = -self._slope(pose)
            turn = (np.arctan2(way[1], way[0]) - pose[2] + np.pi) % (2 * np.pi) - np.pi
            self._mppi.reset()
            return np.array([0.0, np.clip(turn / self._step_s, -1.5, 1.5) if abs(turn) > 0.1 else 1.0])
        return np.asarray(action.numpy(), dtype=np.float64)

    def _slope(self, pose: Array) -> Array:
        """(2,) how the cost to go changes along x and y around a place."""
        row, column = self.plan.cell_of(pose[None, :2])[0]
        reach = 4
        around = self._to_go[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]
        if min(around.shape) < 2:
            return np.array([-1.0, 0.0])
        down, right = np.gradient(around.numpy())
        return np.array([right.mean(), down.mean()])

    def _after(self, state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Poses (K, 3) after actions (K, 2): an arc, along its heading in the middle."""
        middle = state[:, 2] + action[:, 1] * self._step_s / 2
        way = action[:, 0] * self._step_s
        x, y = state[:, 0] + way * middle.cos(), state[:, 1] + way * middle.sin()
        return self._torch.stack([x, y, state[:, 2] + action[:, 1] * self._step_s], dim=1)

    def _places(self, state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """(K, parts, 2) where the robot's axis is on its way to poses (K, 3) that actions (K, 2) led to."""
        heading = state[:, 2] - action[:, 1] * self._step_s / 2
        back = self._torch.stack([heading.cos(), heading.sin()], dim=1) * (action[:, :1] * self._step_s)
        parts = self._torch.arange(_PARTS) / _PARTS
        return state[:, None, :2] - parts[:, None] * back[:, None]

    def _axis(self, places: torch.Tensor) -> torch.Tensor:
        """(K * parts * heights, 3) points on the robot's axis at places (K, parts, 2)."""
        heights = self._torch.tensor(HEIGHTS_M)
        wide = places[:, :, None].expand(-1, -1, len(heights), -1)
        return self._torch.cat([wide, heights.expand(*wide.shape[:2], -1)[..., None]], dim=-1).reshape(-1, 3)

    def _cells(self, values: torch.Tensor, places: torch.Tensor, outside: float) -> torch.Tensor:
        """Values (H, W) of the plan's cells at places (..., 2)."""
        height, width = values.shape
        column, row = (
            ((places - self._torch.tensor(self.plan.origin)) / self.plan.resolution_m).floor().long().unbind(-1)
        )
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        found = values[row.clamp(0, height - 1), column.clamp(0, width - 1)].float()
        chosen: torch.Tensor = found.masked_fill(~inside, outside)
        return chosen

    def _cost(self, state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """(K,) what being at poses (K, 3) costs, and getting there by actions (K, 2)."""
        places = self._places(state, action)
        metres = self.field.distance(self._axis(places), interpolate=True).view(len(state), -1).min(dim=1).values
        walls = self._cells(as_torch(self.plan), places, 0.0).amax(dim=1) >= INSCRIBED_COST
        close = (0.45 - metres).clamp(min=0) * 3
        to_go = self._cells(self._to_go, state[:, :2], float(self._to_go.max()) + 2.0)
        cost: torch.Tensor = to_go + close + _WALL_COST * ((metres < SAFE_M) | walls)
        return cost

    def _hits(self, state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """(K,) whether the robot would touch an occupied voxel on its way by actions (K, 2) from poses (K, 3)."""
        places = self._places(self._after(state, action), action)
        hits: torch.Tensor = self.field.collides(self._axis(places), ROBOT_RADIUS_M).view(len(state), -1).any(dim=1)
        return hits


def drive(env: HouseEnv, memory: EmbodiedMemory, goal: ArrayLike, max_steps: int = 400, seed: int = 0) -> Drive:
    """Look around, then drive to a goal while the map grows.

    Args:
        env: `EmbodMem/House-v0` with continuous actions, after a reset.
        memory: Takes the robot's views.
        goal: (2,) metres in the world, where the robot can stand.
        max_steps: Give up after this many.
        seed: Of the planner's noise.

    Raises:
        InvalidInput: The environment has discrete actions.
        MissingDependency: pytorch-mppi is not installed.
    """
    house: HouseEnv = getattr(env, "unwrapped", env)
    if house.config.action_type != "continuous":
        raise InvalidInput(f"drive: wanted action_type 'continuous', got {house.config.action_type!r}")
    adapter, done = HouseAdapter(step_s=house.config.step_s), Drive(path=[house.robot_pose])
    planner = Planner(memory, goal, house.config.step_s, seed)
    turns = int(np.ceil(2 * np.pi / (1.5 * house.config.step_s)))
    for step in range(max_steps):
        pose = house.robot_pose
        action = np.array([0.0, 1.5])
        if step > turns:
            planner.update(pose)
            done.reached = bool(np.hypot(*(pose[:2] - planner.goal)) <= REACHED_M)
            if done.reached:
                break
            action = planner.act(pose)
        obs, _, _, truncated, info = env.step(np.r_[action, 0.0, 0.0].astype(np.float32))
        memory.write(adapter.percept(obs, info))
        done.path.append(house.robot_pose)
        done.collided += bool(info["collided"])
        if truncated:
            break
    done.plan = planner.plan
    return done


def main(
    seed: Annotated[int, typer.Option(help="the apartment, and the planner's noise")] = 0,
    room: Annotated[str, typer.Option(help="where to drive to; the farthest room if none is named")] = "",
) -> None:
    """Drive from the robot's start to the middle of a room, by what it sees on the way."""
    env: Any = gym.make("EmbodMem/House-v0", action_type="continuous")
    env.reset(seed=seed)
    house: HouseEnv = env.unwrapped
    with EmbodiedMemory() as memory:
        done = drive(env, memory, goal_in(house, room), seed=seed)
    length = float(np.linalg.norm(np.diff(np.array(done.path)[:, :2], axis=0), axis=1).sum())
    said = "reached" if done.reached else "did not reach"
    typer.echo(f"{said} the goal after {len(done.path) - 1} steps and {length:.1f} m; {done.collided} collisions")
    env.close()
    raise typer.Exit(not done.reached)


def goal_in(house: HouseEnv, room: str = "") -> Array:
    """(2,) a place in a room where the robot can stand, nearest to the room's middle; "" is the farthest room.

    Raises:
        InvalidInput: There is no such room.
    """
    start = house.robot_pose[:2]
    middles = {r.name: (r.lower + r.upper)[:2] / 2 for r in house.rooms}
    if room and room not in middles:
        raise InvalidInput(f"room: wanted one of {', '.join(middles)}, got {room!r}")
    name = room or max(middles, key=lambda n: float(np.linalg.norm(middles[n] - start)))
    inside = house.world.layout.standing_places(house.world.obstacles())[name]
    return np.asarray(inside[np.linalg.norm(inside - middles[name], axis=1).argmin()], dtype=np.float64)


if __name__ == "__main__":
    typer.run(main)
