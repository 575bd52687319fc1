"""A scripted robot that knows the apartment: it tours the rooms, fetches objects and puts them down."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import InvalidInput
from embodmem_envs.grid import CELL_M, Grid, clearance
from embodmem_envs.house import Action, HouseEnv
from embodmem_envs.layout import MARGIN_M, ROBOT_RADIUS_M
from embodmem_envs.placing import GRASP_M, GRIPPER_M, free_grid, gripper_point, item_in_reach, place_in_reach
from embodmem_envs.world import driven

Array = NDArray[np.float64]
Goal = Callable[[Array], bool]
_Key = tuple[float, int, int, int]

VIEW_M = 1.9
"""A stop of a tour counts as near enough to furniture within this distance, metres."""
_MAX_EXPANSIONS = 30_000
_HASTE = 1.2


class Guide:
    """Makes actions from the truth about an apartment; every method is a generator to step the environment with.

    It plans anew at each leg from where the environment then stands, so step the environment with every action
    before asking for the next one.

    Args:
        env: `EmbodMem/House-v0` with discrete actions, wrapped or not, after a reset.

    Raises:
        InvalidInput: It is another environment, or its actions are continuous.

    Example:
        >>> for action in Guide(env).tour():
        ...     obs, reward, terminated, truncated, info = env.step(action)
    """

    def __init__(self, env: Any) -> None:
        house = getattr(env, "unwrapped", env)
        if not isinstance(house, HouseEnv):
            raise InvalidInput(f"guide: wanted EmbodMem/House-v0, got {house!r}")
        if house.config.action_type != "discrete":
            raise InvalidInput(f"guide: wanted action_type 'discrete', got {house.config.action_type!r}")
        self._house = house
        self._forward_m = house.config.forward_m
        self._turn_rad = float(np.deg2rad(house.config.turn_deg))

    def tour(self) -> Iterator[Action]:
        """Visit every room, the nearest next, and at each stop in it turn once around."""
        left = [room.name for room in self._house.rooms]
        while left:
            steps = self._grid().flood(self._house.robot_pose[:2], ROBOT_RADIUS_M + MARGIN_M)
            grid, stops = self._grid(), {name: self.stops(name) for name in left}
            ways = {name: min(steps[grid.cell(stop)] for stop in stops[name]) for name in left}
            name = min(left, key=lambda room: (float(ways[room]), room))
            left.remove(name)
            todo = list(stops[name])
            while todo:
                steps = grid.flood(self._house.robot_pose[:2], ROBOT_RADIUS_M + MARGIN_M)
                nearest = int(np.argmin([steps[grid.cell(stop)] for stop in todo]))
                yield from self.go_to(todo.pop(nearest))
                yield from self.look_around()

    def look_around(self) -> Iterator[Action]:
        """Turn once around on the spot."""
        for _ in range(int(np.ceil(2 * np.pi / self._turn_rad - 1e-9))):
            yield Action.TURN_LEFT

    def go_to(self, point: Any, within_m: float = 0.2) -> Iterator[Action]:
        """Drive to within `within_m` of a point (2,) where the robot can stand.

        Raises:
            InvalidInput: No way leads there.
        """
        target = np.asarray(point, dtype=np.float64)[:2]
        yield from self._drive(target, lambda pose: bool(np.hypot(*(pose[:2] - target)) <= within_m), "the point")

    def pick(self, name: str) -> Iterator[Action]:
        """Drive to an object, face it and pick it up.

        Raises:
            InvalidInput: No such object, the robot carries something, or it cannot be got at, be it that no way leads
                there or that another object in front of it is always nearer to the gripper.
        """
        world = self._house.world
        item = world.items.get(name)
        if item is None or world.held is not None:
            carried = f"while {world.held.id} is carried" if world.held else f"of {', '.join(world.items)}"
            raise InvalidInput(f"guide: wanted to pick an object with empty hands, got {name!r} {carried}")
        spot = item.origin[:2]

        def in_hand(pose: Array) -> bool:
            offset = spot - pose[:2]
            if np.hypot(*offset) > GRIPPER_M + GRASP_M or not self._faces(pose, offset):
                return False
            found = item_in_reach(world.layout, world.items, pose)
            return found is not None and found.id == name

        yield from self._drive(self._beside(spot, item.room), in_hand, name)
        yield Action.PICK

    def place(self, support: str) -> Iterator[Action]:
        """Drive to a piece of furniture (id or label) and put down there what is carried.

        Raises:
            InvalidInput: Nothing is carried, nothing of that name carries things, or no free spot of it is in reach.
        """
        world = self._house.world
        tops = [s for s in world.layout.surfaces if support in (s.owner, s.label) and s.owner != "floor"]
        if world.held is None or not tops:
            raise InvalidInput(f"guide: wanted to carry something and a piece of furniture with a top, got {support!r}")
        held, owners = world.items[world.held.id], {top.owner for top in tops}
        here = self._house.robot_pose[None, :2]
        nearest = min(tops, key=lambda top: float(clearance(top.rectangle[None], here)[0]))
        yaws = np.arange(0.0, 2 * np.pi - 1e-6, self._turn_rad) + self._house.robot_pose[2]
        spots = np.concatenate([free_grid(world.layout, world.items, held, top, yaws) for top in tops])
        if len(spots) == 0:
            raise InvalidInput(f"guide: no free spot for {held.id} on {support}")

        def put_down(pose: Array) -> bool:
            if np.hypot(*(spots - gripper_point(pose)).T).min() > GRASP_M + 0.05:
                return False
            laid = place_in_reach(world.layout, world.items, held, pose)
            return laid is not None and laid.support in owners

        middle = (nearest.rectangle[:2] + nearest.rectangle[2:]) / 2
        towards = spots[np.argmin(np.hypot(*(spots - middle).T))]
        yield from self._drive(self._beside(towards, world.layout.room_at(towards)), put_down, support)
        yield Action.PLACE

    def stops(self, room: str) -> list[Array]:
        """Few places (2,) in a room from which all of its furniture and its middle are near."""
        world = self._house.world
        inside = next(r for r in world.layout.rooms if r.name == room)
        places = self._places(room)
        middle = (inside.lower + inside.upper)[:2] / 2
        targets = np.array([middle, *(f.position[:2] for f in world.layout.furniture if f.room == room)])
        # A place in the open sees more than one in a corner, so ties go to what is nearer to the middle.
        central = np.linalg.norm(places - middle, axis=1)
        away = np.linalg.norm(places[:, None] - targets[None], axis=2)
        limit = np.maximum(VIEW_M, away.min(axis=0) + 1e-9)
        near = away <= limit
        chosen: list[Array] = []
        while near.any():
            best = int(np.argmax(near.sum(axis=1) - 0.01 * central))
            chosen.append(places[best])
            near[:, near[best]] = False
        return chosen

    # ---------------------------------------------------------------- planning

    def _grid(self) -> Grid:
        world = self._house.world
        return Grid.over(world.layout.lower, world.layout.upper, world.obstacles())

    def _places(self, room: str) -> Array:
        """(N, 2) where the robot can stand in a room; all places it can reach when there is none."""
        grid = self._grid()
        places = grid.centres(np.isfinite(grid.flood(self._house.robot_pose[:2], ROBOT_RADIUS_M + MARGIN_M)))
        layout = self._house.world.layout
        index = [r.name for r in layout.rooms].index(room)
        inside = places[layout.rooms_at(places) == index]
        return inside if len(inside) else places

    def _beside(self, point: Array, room: str) -> Array:
        """(2,) the place of a room that is nearest to a point."""
        places = self._places(room)
        return np.asarray(places[np.argmin(np.linalg.norm(places - point, axis=1))])

    def _faces(self, pose: Array, offset: Array) -> bool:
        """Whether something at `offset` (2,) is straight ahead, up to the angle of one turn."""
        bearing = np.arctan2(offset[1], offset[0]) - pose[2]
        return bool(abs((bearing + np.pi) % (2 * np.pi) - np.pi) <= self._turn_rad)

    def _drive(self, towards: Array, goal: Goal, name: str) -> Iterator[Action]:
        yield from self._search(self._house.robot_pose, towards, goal, name)

    def _search(self, start: Array, towards: Array, goal: Goal, name: str) -> list[Action]:
        """The actions that lead from `start` to a pose that meets `goal`.

        A* (Hart et al., IEEE Trans. SSC 1968) over what the discrete actions do exactly; poses with one heading in
        one cell are taken as one. The distance left is that of a flood fill from `towards`, which overrates it
        somewhat: the way found is not always the shortest, but it is found soon.
        """
        obstacles, grid = self._house.world.obstacles(), self._grid()
        steps = grid.flood(towards, ROBOT_RADIUS_M - CELL_M)  # wider than the robot, so that every pose is on it
        actions = (Action.FORWARD, Action.TURN_LEFT, Action.TURN_RIGHT)
        turns = {Action.TURN_LEFT: self._turn_rad, Action.TURN_RIGHT: -self._turn_rad}

        def ahead(pose: Array) -> float:
            return float(steps[grid.cell(pose)]) * CELL_M / self._forward_m * _HASTE

        count = round(2 * np.pi / self._turn_rad)

        def key(pose: Array) -> _Key:
            cell = CELL_M if np.hypot(*(pose[:2] - towards)) > 1.0 else CELL_M / 2  # finer where the goal is
            return cell, round(pose[0] / cell), round(pose[1] / cell), round(pose[2] / self._turn_rad) % count

        if not np.isfinite(ahead(start)):
            raise InvalidInput(f"guide: no way to {name} from {np.round(start, 2).tolist()} (x, y, yaw)")
        order = itertools.count()
        queue = [(ahead(start), next(order), 0, start)]
        came: dict[_Key, tuple[_Key, Action] | None] = {key(start): None}
        while queue and len(came) < _MAX_EXPANSIONS:
            _, _, cost, pose = heapq.heappop(queue)
            if goal(pose):
                return _unwind(came, key(pose))
            for action in actions:
                forward = self._forward_m if action == Action.FORWARD else 0.0
                then, blocked = driven(obstacles, pose, forward, turns.get(action, 0.0))
                if blocked or key(then) in came:
                    continue
                came[key(then)] = (key(pose), action)
                heapq.heappush(queue, (cost + 1 + ahead(then), next(order), cost + 1, then))
        raise InvalidInput(
            f"guide: no way to {name} from {np.round(start, 2).tolist()} (x, y, yaw): the way is blocked, or from "
            f"everywhere something else is nearer"
        )


def _unwind(came: dict[Any, Any], key: Any) -> list[Action]:
    actions: list[Action] = []
    while came[key] is not None:
        key, action = came[key]
        actions.append(action)
    return actions[::-1]
