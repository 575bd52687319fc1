"""Small recordings in each form, for the tests of the datasets."""

from pathlib import Path

import numpy as np
from PIL import Image

from embodmem.geometry import look_at
from embodmem.types import Percept, PinholeCamera

CAMERA = PinholeCamera(width=32, height=24, fx=30.0, fy=31.0, cx=15.5, cy=11.5)
K_TEXT = "30 0 15.5\n0 31 11.5\n0 0 1\n"


def images(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Colour (24, 32, 3) uint8 and depth (24, 32) uint16, with values over the whole range."""
    random = np.random.default_rng(seed)
    rgb = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    depth = random.integers(0, 65535, (24, 32), dtype=np.uint16)
    depth[0, :4] = 0
    return rgb, depth


def pose(i: int) -> np.ndarray:
    return look_at([0.1 * i, 0.0, 1.0], [2.0, 0.5, 0.5])


def pose_text(T: np.ndarray) -> str:
    return "\n".join("\t".join(f"{value:.8f}" for value in row) for row in T) + "\n"


def percept(i: int, **more: object) -> Percept:
    rgb, depth = images(i)
    fields = {"stamp_ns": i * 100, "T_world_sensor": pose(i), "camera": CAMERA, "depth": depth, "rgb": rgb} | more
    return Percept(**fields)


def write_seven_scenes(folder: Path, numbers: tuple[int, ...] = (0, 1, 5), suffix: str = "png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        rgb, depth = images(number)
        depth[1, :4] = 65535
        Image.fromarray(rgb).save(folder / f"frame-{number:06d}.color.{suffix}")
        Image.fromarray(depth).save(folder / f"frame-{number:06d}.depth.png")
        (folder / f"frame-{number:06d}.pose.txt").write_text(pose_text(pose(number)))
    (folder / "camera-intrinsics.txt").write_text(K_TEXT)
    return folder


def write_tum(folder: Path, count: int = 3) -> Path:
    """Frame i at 1305031102.1 + i / 10 s; colour 4 ms earlier, poses every 5 ms."""
    for kind in ("rgb", "depth"):
        (folder / kind).mkdir(parents=True)
    rgb_lines, depth_lines, pose_lines = ["# timestamp filename"], ["# timestamp filename"], ["# timestamp pose"]
    for i in range(count):
        rgb, depth = images(i)
        rgb_s, depth_s = f"1305031102.{96 + 100 * i:03d}000", f"1305031102.{100 * (i + 1):03d}000"
        Image.fromarray(rgb).save(folder / "rgb" / f"{rgb_s}.png")
        Image.fromarray(depth).save(folder / "depth" / f"{depth_s}.png")
        rgb_lines.append(f"{rgb_s} rgb/{rgb_s}.png")
        depth_lines.append(f"{depth_s} depth/{depth_s}.png")
    for n in range(20 * count):
        # Turns about z by 0.01 rad and moves by 1 cm every 5 ms.
        angle = 0.01 * n
        pose_lines.append(f"1305031102.{95 + 5 * n:03d}001 {0.01 * n} 0 1 0 0 {np.sin(angle / 2)} {np.cos(angle / 2)}")
    for name, lines in (("rgb", rgb_lines), ("depth", depth_lines), ("groundtruth", pose_lines)):
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    (folder / "camera-intrinsics.txt").write_text(K_TEXT)
    return folder
