"""Settings of the episodic memory: keyframes, summaries, segments, notes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from embodmem.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class SummaryConfig:
    """Summaries of what happened, at several scales of time (`embodmem.episodic.summaries`)."""

    scales_s: tuple[float, ...] = (60.0, 3600.0, 86400.0)
    """Lengths of the windows that get a summary, seconds, each a multiple of the one before; (): none."""
    settle_s: float = 3600.0
    """Only a window that ended so long before is summarised, seconds."""
    min_parts: int = 3
    """A window of less is not summarised: the next longer one takes up what was in it."""
    central: int = 2
    """So many of the events that stand for the others are quoted."""
    surprising: int = 2
    """And so many of those that the ones before did not let expect."""
    max_chars: int = 400
    """Letters of a summary that quotes."""
    keep: float = 10080.0
    """A summary is kept for so many times its window (a minute's for a week, an hour's for 14 months, a segment's as a
    minute's); what rests on it then rests on its parts. The longest stay. 0: all do."""

    def __post_init__(self) -> None:
        scales = self.scales_s
        if not all(1.0 <= s <= 1e9 and s == round(s) for s in scales) or any(
            b <= a or b % a for a, b in zip(scales, scales[1:], strict=False)
        ):
            raise ConfigError(
                "episodic.summaries.scales_s: wanted whole seconds, each a multiple of the one before, "
                f"got {list(scales)}"
            )
        if min(self.min_parts, self.central) < 1 or self.surprising < 0 or self.max_chars < 40:
            raise ConfigError(
                "episodic.summaries: wanted min_parts and central >= 1, surprising >= 0 and max_chars >= 40, got "
                f"{self.min_parts}, {self.central}, {self.surprising} and {self.max_chars}"
            )
        if not (0 <= self.settle_s < 1e10 and 0 <= self.keep < 1e10):
            raise ConfigError(
                f"episodic.summaries: wanted settle_s and keep from 0 to 1e10, got {self.settle_s} and {self.keep}"
            )


@dataclass(frozen=True, kw_only=True)
class SegmentConfig:
    """Boundaries between events by surprise (`embodmem.episodic.segmenter`)."""

    enabled: bool = True
    """Whether segments are kept, each with a summary."""
    gamma: float = 1.0
    """A surprise of so many standard deviations above the mean begins a segment."""
    window: int = 64
    """Surprises of which mean and deviation are taken."""
    rate: float = 0.3
    """How fast what is expected follows what comes, 0..1."""
    min_events: int = 2
    """A segment by surprise has so many events at least."""
    max_events: int = 256
    """A segment is cut here; twice as many are held at most."""
    pause_s: float = 600.0
    """A gap of more than this ends a segment, seconds."""
    refine: str = "modularity"
    """What a boundary is moved by: "modularity", "conductance", or "none"."""
    min_modularity: float = 0.03
    """A boundary by surprise is left out where the cut has less."""

    def __post_init__(self) -> None:
        if self.refine not in ("modularity", "conductance", "none"):
            raise ConfigError(f"episodic.segments.refine: wanted modularity, conductance or none, got {self.refine!r}")
        if not (0 < self.rate <= 1 and 0 <= self.pause_s < 1e10 and math.isfinite(self.gamma + self.min_modularity)):
            raise ConfigError(
                "episodic.segments: wanted rate in 0..1, pause_s >= 0, gamma and min_modularity finite, got "
                f"{self.rate}, {self.pause_s}, {self.gamma} and {self.min_modularity}"
            )
        if not (self.min_events >= 1 and 2 * self.min_events <= self.max_events <= 4096 and self.window >= 8):
            raise ConfigError(
                "episodic.segments: wanted min_events >= 1, max_events from twice that to 4096 and window >= 8, got "
                f"{self.min_events}, {self.max_events} and {self.window}"
            )


@dataclass(frozen=True, kw_only=True)
class FragmentConfig:
    """The associative store over the newest events and views (`embodmem.episodic.associative`)."""

    store: str = "hopfield"
    """"hopfield" keeps the vectors themselves, "superposition" sparse codes in one matrix of links."""
    max_mib: float = 64.0
    """Bytes of vectors, MiB ("hopfield"); the oldest make way."""
    beta: float = 32.0
    """Inverse temperature ("hopfield"): the larger, the more one answer takes all."""
    units: int = 4096
    """Units of a code ("superposition"); the links take twice its square in bytes."""
    active: int = 48
    """How many of them are on in a code ("superposition")."""

    def __post_init__(self) -> None:
        if self.store not in ("hopfield", "superposition"):
            raise ConfigError(f"episodic.fragments.store: wanted hopfield or superposition, got {self.store!r}")
        if not (0.1 <= self.max_mib <= 65536 and 0 < self.beta < math.inf):
            raise ConfigError(
                f"episodic.fragments: wanted max_mib in 0.1..65536 and beta > 0, got {self.max_mib} and {self.beta}"
            )
        if not 2 <= self.active <= self.units // 2 <= 8192:
            raise ConfigError(
                f"episodic.fragments: wanted 2 <= active <= units / 2 <= 8192, got {self.active} and {self.units}"
            )


@dataclass(frozen=True, kw_only=True)
class NoteConfig:
    """Links between events that are alike (`embodmem.episodic.notes`)."""

    links: int = 4
    """An event is linked to so many earlier ones at most. 0: no links are made."""
    alike: float = 0.6
    """Cosine from which two events are alike."""
    among: int = 16384
    """So many newest events before it are looked at."""
    context: int = 16
    """So many linked notes, the closest, add their words to a note's context."""
    keywords: int = 24
    """Words of a context."""

    def __post_init__(self) -> None:
        if self.links < 0 or min(self.among, self.context, self.keywords) < 1 or not 0 < self.alike <= 1:
            raise ConfigError(
                "episodic.notes: wanted links >= 0, among, context and keywords >= 1 and alike in 0..1, got "
                f"{self.links}, {self.among}, {self.context}, {self.keywords} and {self.alike}"
            )


@dataclass(frozen=True, kw_only=True)
class EpisodicConfig:
    """Keyframes and events (`embodmem.episodic`)."""

    keyframe_distance_m: float = 0.5
    """A view farther than this from the last keyframe becomes one."""
    keyframe_angle_rad: float = 0.6
    """A view turned by more than this from the last keyframe becomes one."""
    keyframe_interval_s: float = 10.0
    """A view later than this after the last keyframe becomes one."""
    keep_depth: bool = False
    """Whether keyframes keep their depth (95 KB for 640x480), so that their poses can be corrected later."""
    summaries: SummaryConfig = field(default_factory=SummaryConfig)
    segments: SegmentConfig = field(default_factory=SegmentConfig)
    fragments: FragmentConfig = field(default_factory=FragmentConfig)
    notes: NoteConfig = field(default_factory=NoteConfig)
