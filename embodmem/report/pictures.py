"""Pictures inside the page: thumbnails as JPEG, the map's raster as PNG, both as data URIs; which views to show."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray

_QUALITIES = (78, 60, 42, 25)
_LEVELS = 15


def data_uri(content: bytes, kind: str) -> str:
    """Bytes as a data URI of a media type such as "image/png"."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def thumbnail(jpeg: bytes, side_px: int, max_bytes: int) -> tuple[str, int, int]:
    """A smaller JPEG of an image that is at most `max_bytes` long.

    Args:
        jpeg: The image.
        side_px: Its longer side will be at most this, px.
        max_bytes: Quality, then size go down until it is no longer than this (or 16 px wide).

    Returns:
        Data URI, width and height in px.
    """
    from PIL import Image

    image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    while True:
        image.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
        for quality in _QUALITIES:
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=quality, optimize=True)
            if buffer.tell() <= max_bytes or (side_px <= 16 and quality == _QUALITIES[-1]):
                return data_uri(buffer.getvalue(), "image/jpeg"), image.width, image.height
        side_px = max(image.size) * 2 // 3


def shade_uri(strength: NDArray[np.float64]) -> str:
    """A grey image whose opacity is a strength.

    Args:
        strength: (H, W) in 0..1, row 0 on top; 0 is fully transparent.

    Returns:
        Data URI of a PNG with a palette, at most half a byte a cell.
    """
    from PIL import Image

    levels = np.where(strength > 0, np.clip(np.ceil(strength * _LEVELS), 1, _LEVELS), 0).astype(np.uint8)
    image = Image.fromarray(levels, "P")
    image.putpalette([125, 130, 140] * (_LEVELS + 1))
    alpha = bytes([0, *(round(50 + 190 * i / _LEVELS) for i in range(1, _LEVELS + 1))])
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=alpha, bits=4, optimize=True)
    return data_uri(buffer.getvalue(), "image/png")


def spread(stamps_ns: NDArray[np.int64], count: int, first: list[int]) -> list[int]:
    """Choose views evenly over time, some of them beforehand.

    Args:
        stamps_ns: (N,) when each view was taken, in order.
        count: How many to choose.
        first: Indices of those wanted most, best first; at most half of `count` are taken from these.

    Returns:
        The chosen indices, in order.
    """
    if len(stamps_ns) <= count:
        return list(range(len(stamps_ns)))
    if count < 1:
        return []
    chosen = set(first[: max(count // 2, 1)])
    targets = np.linspace(stamps_ns[0], stamps_ns[-1], max(count - len(chosen), 1))
    after = np.clip(np.searchsorted(stamps_ns, targets), 1, len(stamps_ns) - 1)
    nearest = np.where(targets - stamps_ns[after - 1] < stamps_ns[after] - targets, after - 1, after)
    chosen.update(nearest[: count - len(chosen)].tolist())
    rest = [i for i in range(len(stamps_ns)) if i not in chosen]
    lacking = count - len(chosen)
    if lacking > 0:
        chosen.update(rest[i] for i in np.linspace(0, len(rest) - 1, lacking).round().astype(int).tolist())
    return sorted(chosen)
