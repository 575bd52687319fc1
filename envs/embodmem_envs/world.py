"""One apartment with its robot: what moves in it, and the rules by which it moves."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import InvalidInput
from embodmem.types import Pose
from embodmem_envs.adapter import optical_from_mujoco
from embodmem_envs.grid import clearance
from embodmem_envs.layout import ROBOT_RADIUS_M, Layout, make_layout
from embodmem_envs.mjcf import CAMERA, import_mujoco, make_xml, quat_about_z
from embodmem_envs.placing import (
    HELD,
    Item,
    draw_spot,
    floor_blocks,
    item_in_reach,
    make_items,
    place_in_reach,
    surfaces_for,
)

Array = NDArray[np.float64]
SUBSTEP_M = 0.05
TRAY_M = 0.3
"""Height at which the robot carries an object, out of its camera's sight, metres."""


@dataclass(frozen=True, slots=True, eq=False)
class ObjectState:
    """The truth about one object.

    Attributes:
        id: Its name, unique in the apartment ("mug_2").
        label: Its class ("mug").
        position: (3,) centre of its box, metres in the world.
        extent: (3,) full size of its box along the world's axes, metres.
        room: Name of the room it is in.
        support: Label of what it lies on ("table", "floor"), or "robot" while it is carried.
        support_id: Id of that piece of furniture, "floor" or "robot".
        instance_id: Its number in the segmentation.
    """

    id: str
    label: str
    position: Array
    extent: Array
    room: str
    support: str
    support_id: str
    instance_id: int


class World:
    """An apartment, its objects and its robot, mirrored into a MuJoCo model.

    The robot is an upright cylinder that is moved, not simulated: a step ends where its circle would touch a wall,
    the box of a piece of furniture or an object on the floor.

    Args:
        seed: Of the apartment and of where its objects lie at first.
        n_objects: How many objects.
        fov_y_deg: Vertical field of view of the camera on the mast, degrees.
        mast_m: Height of the camera over the floor, metres.
        pitch_rad: How far the camera looks up at first (negative: down), radians.
    """

    def __init__(self, seed: int, n_objects: int, fov_y_deg: float, mast_m: float, pitch_rad: float) -> None:
        self.mujoco = import_mujoco()
        self.layout: Layout = make_layout(seed)
        self.items: dict[str, Item] = make_items(np.random.default_rng([seed, 2**31]), self.layout, n_objects)
        self.model = self.mujoco.MjModel.from_xml_string(make_xml(self.layout, self.items, fov_y_deg))
        self.data = self.mujoco.MjData(self.model)
        self.mast_m, self._level_rad = mast_m, pitch_rad
        self.held: Item | None = None
        self.to_start()

    @property
    def labels(self) -> dict[int, str]:
        """Instance id -> label of all furniture and objects."""
        labels = {piece.instance_id: piece.label for piece in self.layout.furniture}
        return labels | {item.instance_id: item.kind.label for item in self.items.values()}

    def instance_ids(self) -> NDArray[np.int32]:
        """(G,) instance id of every geom of the model; 0 for walls, floor, ceiling and the robot."""
        numbers = {piece.id: piece.instance_id for piece in self.layout.furniture}
        numbers |= {item.id: item.instance_id for item in self.items.values()}
        by_body = [numbers.get(self.model.body(body).name, 0) for body in range(self.model.nbody)]
        return np.asarray(np.array(by_body, dtype=np.int32)[self.model.geom_bodyid])

    def to_start(self) -> None:
        """Put the robot where it starts; what it carries goes back to where it took it."""
        if self.held is not None:
            self.items[self.held.id] = self.held
        self.held = None
        self.pose: Array = self.layout.start.copy()
        self.pitch_rad = self._level_rad
        self.update()

    def update(self) -> None:
        """Carry positions over to MuJoCo."""
        model, data = self.model, self.data
        robot = model.body("robot").mocapid[0]
        data.mocap_pos[robot] = [*self.pose[:2], 0.0]
        data.mocap_quat[robot] = quat_about_z(float(self.pose[2]))
        if self.held is not None:
            # A carried object rides inside the robot's circle, below what the camera sees.
            riding = replace(self.items[self.held.id], origin=np.r_[self.pose[:2], TRAY_M], room=self.room)
            self.items[self.held.id] = replace(riding, yaw_rad=float(self.pose[2]))
        for item in self.items.values():
            body = model.body(item.id).mocapid[0]
            data.mocap_pos[body] = item.origin
            data.mocap_quat[body] = quat_about_z(item.yaw_rad)
        # x right = -y of the robot, z back = -x of the robot, tilted by the pitch about the camera's x.
        half = (np.pi / 2 + self.pitch_rad) / 2
        about_x = np.array([np.cos(half), np.sin(half), 0.0, 0.0])
        camera = model.camera(CAMERA)
        camera.pos[:] = (0.0, 0.0, self.mast_m)
        self.mujoco.mju_mulQuat(camera.quat, np.array(quat_about_z(-np.pi / 2)), about_x)
        self.mujoco.mj_kinematics(model, data)
        self.mujoco.mj_camlight(model, data)

    @property
    def room(self) -> str:
        """Name of the room that the robot is in."""
        return self.layout.room_at(self.pose)

    @property
    def T_world_camera(self) -> Pose:
        """(4, 4) optical frame of the camera on the mast."""
        camera = self.data.camera(CAMERA)
        return optical_from_mujoco(camera.xpos, camera.xmat)

    @property
    def T_world_base(self) -> Pose:
        """(4, 4) the robot's frame at the floor: x to its front, z up."""
        pose = np.eye(4)
        c, s = np.cos(self.pose[2]), np.sin(self.pose[2])
        pose[:2, :2] = [[c, -s], [s, c]]
        pose[:2, 3] = self.pose[:2]
        return pose

    def objects(self) -> list[ObjectState]:
        """The truth about every object, by instance id."""
        names = {piece.id: piece.label for piece in self.layout.furniture}
        states = []
        for item in self.items.values():
            box = item.box
            support = names.get(item.support, item.support)
            states.append(
                ObjectState(
                    item.id, item.kind.label, box.mean(axis=0), box[1] - box[0], item.room, support, item.support,
                    item.instance_id,
                )
            )  # fmt: skip
        return states

    def drive(self, forward_m: float, turn_rad: float) -> bool:
        """Move along an arc in small steps; returns whether something was in the way.

        On a touch the robot stays where it last was free and goes on turning.
        """
        self.pose, blocked = driven(self.obstacles(), self.pose, forward_m, turn_rad)
        return blocked

    def obstacles(self) -> Array:
        """(R, 4) rectangles that stop the robot now, metres."""
        return np.concatenate([self.layout.obstacles, floor_blocks(self.items)])

    def pick(self) -> Item | None:
        """Pick up what is in reach; returns it as it lay, or None when nothing is or the robot carries something."""
        item = None if self.held else item_in_reach(self.layout, self.items, self.pose)
        if item is not None:
            self.held = item
            self.items[item.id] = replace(item, support=HELD)
        return item

    def place(self) -> Item | None:
        """Put down what is carried; returns it as it lies, or None when nothing is carried or no spot is free."""
        if self.held is None:
            return None
        laid = place_in_reach(self.layout, self.items, self.items[self.held.id], self.pose)
        if laid is not None:
            self.items[laid.id] = laid
            self.held = None
        return laid

    def move_object(self, rng: np.random.Generator, name: str, support: str | None = None) -> Item:
        """Lay an object somewhere else, as a person would between two visits of the robot.

        Args:
            rng: Draws the spot.
            name: Id of the object ("mug_1").
            support: Id ("table_1") or label ("table") of furniture, or "floor"; None: any other one that carries
                such things.

        Raises:
            InvalidInput: No such object or support, the robot carries it, or no spot is free there.
        """
        item = self.items.get(name)
        if item is None:
            raise InvalidInput(f"move: wanted one of the objects {', '.join(self.items)}; got {name!r}")
        if item.support == HELD:
            raise InvalidInput(f"move: {name} is carried by the robot; wanted one that lies somewhere")
        if support is None:
            usual = surfaces_for(self.layout, item.kind)
            # Rather on something else; where that is full, elsewhere on the same; where that is full too, anywhere.
            choices = [[s for s in usual if not lies_on(item, s.owner, s.room)], usual, list(self.layout.surfaces)]
        else:
            choices = [[s for s in self.layout.surfaces if support in (s.owner, s.label)]]
        if not any(choices):
            known = sorted({s.owner for s in self.layout.surfaces})
            raise InvalidInput(f"move: wanted one of {', '.join(known)} (or a label of them); got {support!r}")
        others = {key: value for key, value in self.items.items() if key != name}
        if self.held is not None:  # its place is kept, since a reset puts it back there
            others[self.held.id] = self.held
        places = self.layout.standing_places(floor_blocks(others))
        for surfaces in (choice for choice in choices for _ in range(3)):
            laid = draw_spot(rng, self.layout, others, item, surfaces, places)
            if laid is not None and (laid.support != "floor" or self._is_clear_of(laid)):
                self.items[name] = laid
                self.update()
                return laid
        raise InvalidInput(f"move: no free spot for {name} on {support or 'anything'}")

    def move_objects(self, rng: np.random.Generator, count: int) -> list[Item]:
        """Move `count` different objects that the robot does not carry; returns them as they lie now.

        Raises:
            InvalidInput: There are not so many, or one finds no other spot.
        """
        names = [item.id for item in self.items.values() if item.support != HELD]
        if not 0 <= count <= len(names):
            raise InvalidInput(f"move: wanted 0 to {len(names)} objects, got {count}")
        return [self.move_object(rng, str(name)) for name in rng.choice(names, count, replace=False)]

    def _is_clear_of(self, item: Item) -> bool:
        rectangle = item.box[:, :2].reshape(1, 4)
        return bool(clearance(rectangle, self.pose[None, :2])[0] > ROBOT_RADIUS_M + SUBSTEP_M)


def lies_on(item: Item, support: str, room: str) -> bool:
    """Whether an item lies on this piece of furniture, or on the floor of this room."""
    return item.support == support and item.room == room


def driven(obstacles: Array, pose: Array, forward_m: float, turn_rad: float) -> tuple[Array, bool]:
    """Where a robot at `pose` (x, y, yaw) gets among obstacles (R, 4), and whether something was in the way."""
    count = max(1, int(np.ceil(abs(forward_m) / SUBSTEP_M)))
    # Each small step goes along the heading in its middle (the midpoint rule).
    yaws = pose[2] + (np.arange(count) + 0.5) * turn_rad / count
    steps = forward_m / count * np.stack([np.cos(yaws), np.sin(yaws)], axis=1)
    path = pose[:2] + np.cumsum(steps, axis=0)
    touch = clearance(obstacles, path) < ROBOT_RADIUS_M if forward_m else np.zeros(count, dtype=bool)
    free = int(np.argmax(touch)) if touch.any() else count
    yaw = (pose[2] + turn_rad + np.pi) % (2 * np.pi) - np.pi
    xy = path[free - 1] if free and forward_m else pose[:2]
    return np.r_[xy, yaw], free < count
