"""What bounds a report."""

from __future__ import annotations

from dataclasses import dataclass

from embodmem.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Bounds of a report; what is left out is said on the page.

    With the defaults and up to 20 questions a page stays below 10 MB, whatever the memory holds; it is usually below 2.

    Raises:
        ConfigError: A bound is below 0, or a size below 1.
    """

    max_keyframes: int = 60
    """Pictures in the gallery: those that answers and objects rest on (at most half), the rest spread over time."""
    max_objects: int = 500
    """Rows of the table of objects and dots on the map."""
    max_events: int = 500
    """Rows of the list of events, the latest; the timeline above it shows all."""
    max_facts: int = 500
    """Rows of the table of facts, the latest."""
    max_evidence: int = 10
    """Things that are listed under one answer."""
    max_text_chars: int = 300
    """Longer texts of the memory are cut."""
    picture_px: int = 320
    """Longer side of a picture, px."""
    picture_bytes: int = 18_000
    """A picture is compressed until it is no larger than this."""
    map_px: int = 640
    """Longer side of the raster of occupied cells, cells."""
    map_lower_m: float = 0.1
    """Voxels below this height are left out of the map from above (the floor), metres."""
    map_upper_m: float = 1.8
    """Voxels above this height are left out of the map from above (ceiling, lamps), metres."""

    def __post_init__(self) -> None:
        for name in ("max_keyframes", "max_objects", "max_events", "max_facts", "max_evidence"):
            if getattr(self, name) < 0:
                raise ConfigError(f"report: wanted {name} >= 0, got {getattr(self, name)}")
        for name in ("max_text_chars", "picture_px", "picture_bytes", "map_px"):
            if getattr(self, name) < 1:
                raise ConfigError(f"report: wanted {name} >= 1, got {getattr(self, name)}")
        if not self.map_lower_m < self.map_upper_m:
            raise ConfigError(
                f"report: wanted map_lower_m below map_upper_m, got {self.map_lower_m} and {self.map_upper_m}"
            )
