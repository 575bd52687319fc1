"""A stand-in for AI2-THOR's player: speaks its protocol over two named pipes, and shows our house.

    python thor_player.py [--fail KIND:N]

KIND is what goes wrong at the N-th action after Initialize: crash, half (ends in the middle of a message), field (a
type of field that there is none of), size (an image of another size), nohorizon (metadata without cameraHorizon),
sequence (the answer to another action), hang; or start:0, which ends at once. All of Unity's conventions are made here
anew, from the house's truth, so that the adapter is tested against them and not against itself.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import sys
import time
from typing import Any

import msgpack
import numpy as np

from embodmem_envs.render import RayRenderer, camera_of
from embodmem_envs.world import World

HEADER = struct.Struct("!BI")
METADATA, ACTION, RGB, DEPTH, IDS, END = 1, 2, 4, 5, 9, 255
HOUSE, OBJECTS, MAST_M, FOV_Y_DEG = 3, 12, 1.25, 60.0
SCENES = ["FloorPlan1_physics", "FloorPlan201_physics"]


def read(pipe: Any, size: int) -> bytes:
    body: bytes = pipe.read(size)
    if len(body) < size:  # the client has gone
        sys.exit(0)
    return body


class Stand:
    def __init__(self, fail: str, width: int, height: int) -> None:
        self.kind, _, count = fail.partition(":")
        self.countdown = int(count or -1)
        self.width, self.height, self.is_begun = width, height, False
        self.world = World(HOUSE, OBJECTS, FOV_Y_DEG, MAST_M, 0.0)
        self.scene = SCENES[0]
        labels = self.world.labels
        self.names = {number: f"{title(label)}|{number:+06.2f}|+00.00|+00.00" for number, label in labels.items()}
        self.types = {self.names[number]: title(label) for number, label in labels.items()}
        rng = np.random.default_rng(0)
        spread = rng.choice(256**3 - 1, len(self.names) + 1, replace=False) + 1
        self.colours = {number: spread[i] for i, number in enumerate([0, *self.names])}
        self.said: dict[str, Any] = {"lastAction": "", "lastActionSuccess": True, "errorMessage": "", "errorCode": ""}
        self.returned: Any = None

    def do(self, action: dict[str, Any]) -> None:
        name, world, good, code = action["action"], self.world, True, ""
        self.returned = None
        x, y, yaw = world.pose
        if name == "GetScenesInBuild":
            self.returned = SCENES
        elif name == "Reset":
            self.scene = action["sceneName"]
            world.to_start()
        elif name == "Initialize":
            self.is_begun = True
            self.returned = {"cameraNearPlane": 0.1, "cameraFarPlane": 20.0}
        elif name == "ChangeResolution":
            self.width, self.height = int(action["x"]), int(action["y"])
        elif name in ("MoveAhead", "MoveBack"):
            good = not world.drive(0.25 if name == "MoveAhead" else -0.25, 0.0)
        elif name in ("RotateLeft", "RotateRight"):
            step = np.deg2rad(float(action.get("degrees", 90.0)))
            world.drive(0.0, step if name == "RotateLeft" else -step)
        elif name in ("LookUp", "LookDown"):
            world.pitch_rad += np.deg2rad(30.0) * (1 if name == "LookUp" else -1)
        elif name == "TeleportFull":
            # Unity: x right, y up, z ahead; its yaw runs clockwise from z.
            world.pose = np.array([action["x"], action["z"], np.pi / 2 - np.deg2rad(action["rotation"]["y"])])
            world.pitch_rad = -np.deg2rad(action["horizon"])
        elif name == "PickupObject":
            good = world.pick() is not None
        elif name == "PutObject":
            good = world.place() is not None
        elif name != "Pass":
            good, code = False, "InvalidAction"
        world.update()
        message = "" if good else f"{name} cannot be done"
        self.said = {"lastAction": name, "lastActionSuccess": good, "errorMessage": message, "errorCode": code}

    def metadata(self, sequence: int) -> dict[str, Any]:
        world = self.world
        x, y, yaw = world.pose
        eye = world.T_world_camera[:3, 3]
        held = [] if world.held is None else [self.names[world.held.instance_id]]
        agent = {
            "position": {"x": float(x), "y": 0.9, "z": float(y)},
            "rotation": {"x": 0.0, "y": float(90.0 - np.rad2deg(yaw)) % 360.0, "z": 0.0},
            "cameraHorizon": float(-np.rad2deg(world.pitch_rad)),
        }
        layout = world.layout
        middle, size = (layout.lower + layout.upper) / 2, layout.upper - layout.lower
        data = {
            **self.said,
            "agentId": 0,
            "sceneName": self.scene,
            "screenWidth": self.width,
            "screenHeight": self.height,
            "actionReturn": self.returned,
            "agent": agent,
            "cameraPosition": {"x": float(eye[0]), "y": float(eye[2]), "z": float(eye[1])},
            "fov": FOV_Y_DEG,
            "depthFormat": "Meters",
            "objects": [{"objectId": n, "objectType": t, "visible": True} for n, t in self.types.items()],
            "inventoryObjects": [{"objectId": name, "objectType": self.types[name]} for name in held],
            "colors": [{"name": self.names[n], "color": rgb(c)} for n, c in self.colours.items() if n],
            "thirdPartyCameras": [],
            "sceneBounds": {
                "center": {"x": float(middle[0]), "y": 1.3, "z": float(middle[1])},
                "size": {"x": float(size[0]), "y": 2.6, "z": float(size[1])},
            },
        }
        if self.fails("nohorizon"):
            del data["agent"]["cameraHorizon"]
        number = sequence + 1 if self.fails("sequence") else sequence
        return {"agents": [data], "thirdPartyCameras": [], "sequenceId": number, "activeAgentId": 0}

    def images(self) -> list[tuple[int, bytes]]:
        """Rows bottom-up, colours of objects with an alpha of 255."""
        fov_x = 2 * np.rad2deg(np.arctan(np.tan(np.deg2rad(FOV_Y_DEG) / 2) * self.width / self.height))
        world, camera = self.world, camera_of(self.width, self.height, float(fov_x))
        frame = RayRenderer(world.mujoco, world.model, world.data, camera, world.instance_ids()).render(
            world.T_world_camera
        )
        lookup = np.zeros(max(self.colours) + 1, dtype=np.int64)
        lookup[list(self.colours)] = list(self.colours.values())
        packed = lookup[frame.segmentation]
        ids = np.stack([packed >> 16, packed >> 8 & 255, packed & 255, np.full_like(packed, 255)], axis=-1)
        depth = np.where(frame.depth > 0, frame.depth, 20.0).astype(np.float32)
        shown = [(RGB, frame.rgb), (DEPTH, depth), (IDS, ids.astype(np.uint8))]
        rows = [(kind, np.ascontiguousarray(image[::-1]).tobytes()) for kind, image in shown]
        if self.fails("size"):
            rows[1] = (DEPTH, rows[1][1][: -4 * self.width])
        return rows

    def fails(self, kind: str) -> bool:
        return self.kind == kind and self.countdown == 0

    def answer(self, pipe: Any, sequence: int) -> None:
        parts = [(METADATA, msgpack.packb(self.metadata(sequence))), *self.images()]
        if self.fails("field"):
            parts.insert(2, (77, b"what is this"))
        if self.fails("hang"):
            time.sleep(600)
        if self.fails("crash"):
            os._exit(3)
        for number, (kind, body) in enumerate(parts):
            half = self.fails("half") and number == 2
            pipe.write(HEADER.pack(kind, len(body)) + (body[: len(body) // 2] if half else body))
            if half:
                pipe.flush()
                os.abort()
        pipe.write(HEADER.pack(END, 0))
        pipe.flush()
        if self.is_begun:
            self.countdown -= 1


def title(label: str) -> str:
    return "".join(word.capitalize() for word in label.split())


def rgb(colour: int) -> list[int]:
    return [int(colour) >> 16, int(colour) >> 8 & 255, int(colour) & 255]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fail", default="")
    parser.add_argument("-screen-width", type=int, default=300)
    parser.add_argument("-screen-height", type=int, default=300)
    given, _ = parser.parse_known_args()
    if given.fail == "start:0":
        sys.exit(4)
    stand = Stand(given.fail, given.screen_width, given.screen_height)
    with open(os.environ["AI2THOR_FIFO_SERVER_PIPE_PATH"], "wb") as server:
        stand.answer(server, 0)
        with open(os.environ["AI2THOR_FIFO_CLIENT_PIPE_PATH"], "rb") as client:
            while True:
                kind, size = HEADER.unpack(read(client, HEADER.size))
                action = json.loads(read(client, size))
                assert kind == ACTION and HEADER.unpack(read(client, HEADER.size)) == (END, 0)
                stand.do(action)
                stand.answer(server, action["sequenceId"])


if __name__ == "__main__":
    main()
