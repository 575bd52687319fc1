"""Reading images, matrices and intrinsics from files; every error names its file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embodmem.datasets.base import Room
from embodmem.errors import DatasetError
from embodmem.geometry import Pose, check_pose
from embodmem.types import PinholeCamera

if TYPE_CHECKING:
    from PIL.Image import Image

_CAMERA_KEYS = ("width", "height", "fx", "fy", "cx", "cy")
_CAMERA_FILES = ("camera.json", "camera.yaml", "camera-intrinsics.txt")


def _open_image(path: Path) -> Image:
    from PIL import Image

    try:
        return Image.open(path)
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: the image is missing") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DatasetError(f"{path}: wanted an image: {error}") from error


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) in px from the header of an image.

    Raises:
        DatasetError: It is missing or no image.
    """
    with _open_image(path) as image:
        return (image.width, image.height)


def _pixels(path: Path, image: Image) -> NDArray[Any]:
    """A writable array of the image; the file is decoded here."""
    try:
        return np.array(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise DatasetError(f"{path}: the image is damaged or truncated: {error}") from error


def _check_size(path: Path, image: Image, camera: PinholeCamera) -> None:
    if image.size != (camera.width, camera.height):
        raise DatasetError(
            f"{path}: wanted the camera's size {camera.width}x{camera.height} px, got {image.width}x{image.height}"
        )


def read_rgb(path: Path, camera: PinholeCamera) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 of a colour image (grey and palette images are turned into colour).

    Raises:
        DatasetError: It is missing, damaged, or of another size than the camera.
    """
    with _open_image(path) as image:
        _check_size(path, image, camera)
        try:
            colour = image if image.mode == "RGB" else image.convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:
            raise DatasetError(f"{path}: the image is damaged or truncated: {error}") from error
        return _pixels(path, colour)


def read_uint16(path: Path, camera: PinholeCamera) -> NDArray[np.uint16]:
    """(H, W) uint16 of a grey image with 16 bits a pixel.

    Raises:
        DatasetError: It is missing, damaged, of another size than the camera, or not 16 bits grey.
    """
    with _open_image(path) as image:
        _check_size(path, image, camera)
        # Pillow gives 16 bits grey as "I;16", in older versions as "I".
        if image.mode not in ("I;16", "I;16B", "I;16L", "I"):
            raise DatasetError(f"{path}: wanted a grey image with 16 bits a pixel, got mode {image.mode!r}")
        return _pixels(path, image).astype(np.uint16, copy=False)


def read_depth(path: Path, camera: PinholeCamera, depth_scale: float, no_return: int = 0) -> NDArray[Any]:
    """Depth image as `Percept` takes it, 0 = no return.

    Args:
        path: A 16-bit grey PNG.
        camera: Its intrinsics.
        depth_scale: Units of the file in a metre.
        no_return: Value of the file that means no return, besides 0.

    Returns:
        (H, W) uint16 millimetres for a depth_scale of 1000, else float32 metres.

    Raises:
        DatasetError: As for `read_uint16`.
    """
    raw = read_uint16(path, camera)
    if no_return:
        raw[raw == no_return] = 0
    return raw if depth_scale == 1000 else raw.astype(np.float32) / np.float32(depth_scale)


def read_mask(path: Path, camera: PinholeCamera) -> NDArray[np.bool_]:
    """(H, W) bool of a black and white image: what is not black.

    Raises:
        DatasetError: It is missing, damaged, or of another size than the camera.
    """
    with _open_image(path) as image:
        _check_size(path, image, camera)
        return np.asarray(_pixels(path, image) != 0)


def read_array(path: Path) -> NDArray[Any]:
    """An array of a .npy file.

    Raises:
        DatasetError: It is missing or damaged.
    """
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{path}: wanted an array in .npy: {error}") from error


def read_text(path: Path) -> str:
    """Text of a file.

    Raises:
        DatasetError: It is missing or no UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: the file is missing") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: wanted a text file: {error}") from error


def read_json(path: Path) -> Any:
    """Value of a JSON file.

    Raises:
        DatasetError: It is missing or no JSON.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DatasetError(f"{path}: wanted JSON: {error}") from error


def read_matrix(path: Path) -> NDArray[np.float64]:
    """(R, C) float64 of a text file with a row in each line.

    Raises:
        DatasetError: It is missing, not numbers, or its rows differ in length.
    """
    rows = [line.replace(",", " ").split() for line in read_text(path).splitlines() if line.strip()]
    try:
        return np.array([[float(word) for word in row] for row in rows], dtype=np.float64)
    except ValueError as error:
        raise DatasetError(f"{path}: wanted a matrix of numbers, a row in each line: {error}") from error


def read_pose(path: Path) -> Pose:
    """(4, 4) rigid transform of a text file.

    Raises:
        DatasetError: The file is missing or no matrix.
        PoseError: The matrix is no rigid transform.
    """
    return check_pose(read_matrix(path), str(path))


def camera_from(values: Any, where: str) -> PinholeCamera:
    """Camera of a mapping with exactly width, height, fx, fy, cx, cy.

    Raises:
        DatasetError: A key is missing or unknown, or a value is no number or out of range.
    """
    if not isinstance(values, dict) or set(values) != set(_CAMERA_KEYS):
        raise DatasetError(f"{where}: wanted a camera with {', '.join(_CAMERA_KEYS)}, got {values!r}")
    try:
        width, height = int(values["width"]), int(values["height"])
        fx, fy, cx, cy = (float(values[key]) for key in ("fx", "fy", "cx", "cy"))
        return PinholeCamera(width=width, height=height, fx=fx, fy=fy, cx=cx, cy=cy)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{where}: wanted a camera: {error}") from error


def read_rooms(folder: Path) -> tuple[Room, ...]:
    """Rooms of `rooms.json`, {"kitchen": [[x0, y0, z0], [x1, y1, z1]]} in metres, world; () where there is none.

    Raises:
        DatasetError: The file is damaged, or the corners of a room are no box.
    """
    path = folder / "rooms.json"
    if not path.is_file():
        return ()
    content = read_json(path)
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: wanted an object name -> two corners, got {content!r:.80}")
    rooms = []
    for name, corners in content.items():
        try:
            box = np.array(corners, dtype=np.float64)
        except (TypeError, ValueError):
            box = np.empty(0)
        if box.shape != (2, 3) or not np.isfinite(box).all() or not (box[1] > box[0]).all() or not name.strip():
            raise DatasetError(
                f"{path}: room {name!r}: wanted [[x0, y0, z0], [x1, y1, z1]] with each second number larger, "
                f"got {corners!r}"
            )
        rooms.append(Room(name, box[0], box[1]))
    return tuple(rooms)


def read_camera(
    folders: tuple[Path, ...],
    image: Path | None,
    default: tuple[float, float, float, float] | None,
    depth_scale: float,
) -> tuple[PinholeCamera, float]:
    """The intrinsics that lie beside a recording.

    The first of these that one of the folders holds counts: `camera.json` or `camera.yaml` (fx, fy, cx, cy and
    optionally width, height, depth_scale), `camera-intrinsics.txt` (3x3 matrix K). The size is that of `image` unless
    the file gives one.

    Args:
        folders: Where to look, in order.
        image: An image of the recording.
        default: fx, fy, cx, cy of the format for images of 640x480 px.
        depth_scale: Units of a depth image in a metre, unless the file says otherwise.

    Returns:
        The camera and the depth scale.

    Raises:
        DatasetError: The file is damaged, or there is none and the default does not fit.
    """
    values: dict[str, Any] = {"depth_scale": depth_scale}
    size = image_size(image) if image is not None else None
    if size is not None:
        values |= {"width": size[0], "height": size[1]}
    path = next((f / n for f in folders for n in _CAMERA_FILES if (f / n).is_file()), None)
    if path is not None:
        values |= _camera_values(path)
    elif default is not None and size == (640, 480):
        path, values = folders[0], values | dict(zip(("fx", "fy", "cx", "cy"), default, strict=True))
    else:
        raise DatasetError(
            f"{folders[0]}: wanted intrinsics in one of {', '.join(_CAMERA_FILES)}; without them only a known format "
            f"with images of 640x480 px is read, got {size and 'x'.join(map(str, size))} px"
        )
    scale = values.pop("depth_scale")
    if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not (np.isfinite(scale) and scale > 0):
        raise DatasetError(f"{path}: wanted depth_scale > 0 (units in a metre), got {scale!r}")
    return camera_from(values, str(path)), float(scale)


def _camera_values(path: Path) -> dict[str, Any]:
    if path.suffix == ".txt":
        K = read_matrix(path)
        if K.shape != (3, 3) or K[2].tolist() != [0, 0, 1] or K[1, 0] != 0 or K[0, 1] != 0:
            raise DatasetError(f"{path}: wanted a 3x3 matrix fx 0 cx / 0 fy cy / 0 0 1, got\n{K}")
        return {"fx": K[0, 0], "fy": K[1, 1], "cx": K[0, 2], "cy": K[1, 2]}
    if path.suffix == ".json":
        values = read_json(path)
    else:
        import yaml

        try:
            values = yaml.safe_load(read_text(path))
        except yaml.YAMLError as error:
            raise DatasetError(f"{path}: wanted YAML: {error}") from error
    if not isinstance(values, dict):
        raise DatasetError(f"{path}: wanted a mapping with fx, fy, cx, cy, got {values!r}")
    return values
