"""All settings, with their defaults, in dataclasses. YAML only overrides; an unknown key is refused."""

from __future__ import annotations

import dataclasses
import difflib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from embodmem.config_agent import LifecycleConfig as LifecycleConfig
from embodmem.config_agent import ProceduralConfig as ProceduralConfig
from embodmem.config_agent import WorkingConfig as WorkingConfig
from embodmem.config_episodic import EpisodicConfig as EpisodicConfig
from embodmem.config_episodic import FragmentConfig as FragmentConfig
from embodmem.config_episodic import NoteConfig as NoteConfig
from embodmem.config_episodic import SegmentConfig as SegmentConfig
from embodmem.config_episodic import SummaryConfig as SummaryConfig
from embodmem.config_recall import IndexConfig as IndexConfig
from embodmem.config_recall import RecallConfig as RecallConfig
from embodmem.config_semantic import RelationRule as RelationRule
from embodmem.config_semantic import RoutineConfig as RoutineConfig
from embodmem.config_semantic import SemanticConfig as SemanticConfig
from embodmem.errors import ConfigError

_T = TypeVar("_T")

LONGEST_VOXELS = 4096
"""Most voxels that a ray or a view may reach; bounds the work of one image."""


@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """The memory's file."""

    jpeg_quality: int = 85
    """Quality of keyframe images, 1..95."""
    check_below_mib: int = 512
    """Files up to this size are checked for damage whenever they are opened."""
    max_text_bytes: int = 2**20
    """A longer label or text of one record is refused; bytes of UTF-8."""

    def __post_init__(self) -> None:
        if self.max_text_bytes < 1:
            raise ConfigError(f"store.max_text_bytes: wanted 1 or more, got {self.max_text_bytes}")


SLOTS_PER_BLOCK = 4
"""Bricks that the map knows for each one that has voxels of its own; most of free space is uniform."""

_BLOCK, _SLOT, _PLACE, _MARKS = 3076, 52, 12, 64
"""Bytes of the brick pool: the voxels of a brick, what is kept of any brick, a place of the hash table, and one bit a
voxel for each worker. A test holds `octree.pool` to them."""
PAINT_BYTES = 4
"""Bytes of a voxel's colour, and of its label, where they are kept."""
_BRICK_PAINT = 512 * PAINT_BYTES


def table_places(slots: int) -> int:
    """Places of the hash table: a power of two, at least two a slot."""
    return 1 << (2 * slots - 1).bit_length()


def map_bytes(blocks: int, workers: int, paints: int = 0) -> int:
    """Bytes of a map that has voxels for so many bricks; `paints` of colour and label are kept."""
    slots = SLOTS_PER_BLOCK * blocks
    return (
        blocks * (_BLOCK + paints * _BRICK_PAINT)
        + slots * _SLOT
        + table_places(slots) * _PLACE
        + 12
        + workers * (blocks + 1) * _MARKS
    )


def bricks_within(budget: int, workers: int, paints: int = 0) -> int:
    """The largest number of blocks with which a map takes no more bytes than the budget."""
    low, high = 0, budget // _BLOCK + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if map_bytes(middle, workers, paints) <= budget else (low, middle)
    return low


@dataclass(frozen=True, kw_only=True)
class SpatialConfig:
    """The brick octree (`embodmem.spatial`)."""

    voxel_size_m: float = 0.05
    """Edge of a voxel at the finest depth, metres."""
    min_range_m: float = 0.1
    """Nearer depth is taken for no return, metres along the optical axis (along the ray for lidar points)."""
    max_range_m: float = 5.0
    """Farther surfaces are not mapped, but the way to them is free up to here; metres, measured as `min_range_m`."""
    log_odds_hit: float = 0.85
    """Added to a voxel that holds a surface (Hornung et al., Autonomous Robots 2013, section 3.2)."""
    log_odds_miss: float = -0.4
    """Added to a voxel that was seen through."""
    log_odds_min: float = -2.0
    """Lower clamp."""
    log_odds_max: float = 3.5
    """Upper clamp."""
    log_odds_occupied: float = 0.0
    """Above this a voxel counts as occupied, at or below it as free."""
    budget_mib: float = 128.0
    """Memory that the map may take, MiB, reserved once: about 3.5 KiB for each brick of 8x8x8 voxels that are not all
    alike. What is worth least goes to the file when there is no room for more."""
    colour: bool = False
    """Keep the colour of occupied voxels, from images and coloured points: 2 KiB more a brick."""
    labels: bool = False
    """Keep a label of occupied voxels, from segmentations and labelled points: 2 KiB more a brick."""
    half_life_s: float = 0.0
    """Log-odds halve when a voxel was not seen for so long, seconds; what fades away is unknown again. 0: nothing."""
    fade_in_view_only: bool = False
    """Let only what is in view of the camera fade, and keep what it does not look at."""
    window_m: float = 0.0
    """Forget what lies farther than this from the sensor along an axis of the world, metres. 0: nothing."""
    transient_s: float = 0.0
    """What appears in free space is forgotten when it was not seen for so long, until it has settled; and what is seen
    to be gone is cleared after a few views and reported as an event (`embodmem.spatial.layers`). 0: one layer."""
    settle_s: float = 5.0
    """What appeared in free space and is still there after so long is there to stay, seconds."""
    device: str = "cpu"
    """Where the map lives: "cpu" or "cuda:0"."""
    threads: int = 2
    """Worker threads of one integration on a CPU."""

    def __post_init__(self) -> None:
        size, near, far = self.voxel_size_m, self.min_range_m, self.max_range_m
        if not (math.isfinite(size) and size > 0):
            raise ConfigError(f"spatial.voxel_size_m: wanted metres > 0, got {size}")
        if not (0 < near < far and far / size <= LONGEST_VOXELS):
            raise ConfigError(
                f"spatial: wanted 0 < min_range_m < max_range_m <= {LONGEST_VOXELS} voxels of {size} m, "
                f"got {near} and {far}"
            )
        low, high = self.log_odds_min, self.log_odds_max
        if not (self.log_odds_miss < 0 < self.log_odds_hit and low <= self.log_odds_occupied < high and low < 0):
            raise ConfigError(
                "spatial: wanted log_odds_miss < 0 < log_odds_hit and log_odds_min <= log_odds_occupied < "
                f"log_odds_max with log_odds_min < 0, got {self}"
            )
        times = (self.half_life_s, self.window_m, self.transient_s, self.settle_s)
        if not all(0 <= value < math.inf for value in times):
            raise ConfigError(
                "spatial: wanted half_life_s, window_m, transient_s and settle_s >= 0 (0 turns the first three off), "
                f"got {', '.join(map(str, times))}"
            )
        if not 0 < self.budget_mib <= 65536 or self.threads < 1 or self.capacity_bricks < 1:
            raise ConfigError(
                "spatial: wanted 0.005 <= budget_mib <= 65536 (room for one brick) and threads >= 1, got "
                f"{self.budget_mib} and {self.threads}"
            )

    @property
    def capacity_bricks(self) -> int:
        """How many bricks of voxels that are not all alike fit into the budget."""
        return bricks_within(int(self.budget_mib * 2**20), self.threads, self.colour + self.labels)


@dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """Object nodes (`embodmem.spatial.scene`)."""

    min_score: float = 0.3
    """Detections below this confidence are ignored."""
    min_sightings: int = 3
    """An object seen less often is not yet reported."""
    min_points: int = 10
    """A detection with fewer pixels of depth (of at most about a thousand that are looked at) is ignored."""
    max_range_m: float = 6.0
    """Farther depth is ignored, metres along the optical axis."""
    position_sigma_m: float = 0.03
    """What poses and calibration are good for: standard deviation of a place, metres."""
    gate_sigma: float = 3.5
    """A detection farther than this from an object (in standard deviations of the two) is another object."""
    merge_ratio: float = 0.5
    """Two nodes of a label nearer than this part of their size, and never seen at once, are one object."""
    moved_distance_m: float = 0.3
    """An object whose instance id is known has moved when it is seen this far from its place, metres."""
    large_m: float = 0.45
    """Something larger has moved only when its old place is seen empty: views of it mostly show parts, metres."""
    size_ratio: float = 2.0
    """A vanished object can turn up elsewhere as one that is at most this many times larger or smaller."""
    tentative_misses: int = 5
    """An object not yet reported is dropped after being in plain view but not detected this many times in a row."""
    vanish_misses: int = 5
    """A reported object is gone after its place was seen through, without it, this many times in a row."""
    max_views: int = 32
    """Sightings kept per object to place it by: the bound on its memory."""
    max_tentative: int = 256
    """Objects not yet reported that are kept; the one seen longest ago goes first."""

    def __post_init__(self) -> None:
        for name in ("min_sightings", "max_views", "tentative_misses", "vanish_misses"):
            if getattr(self, name) < 1:
                raise ConfigError(f"scene.{name}: wanted at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class PayloadConfig:
    """Vectors at octree nodes and landmarks (`embodmem.spatial.payloads`)."""

    dtype: str = "float16"
    """How numbers are kept: "float16" or "float32". A file keeps what it was first written with."""
    max_bytes: int = 64 << 20
    """Bytes of vectors kept; the oldest go first."""

    def __post_init__(self) -> None:
        if self.dtype not in ("float16", "float32") or self.max_bytes < 1:
            raise ConfigError(
                f"payloads: wanted dtype float16 or float32 and max_bytes >= 1, got {self.dtype!r} and {self.max_bytes}"
            )


@dataclass(frozen=True, kw_only=True)
class GuardConfig:
    """Whom the memory believes (`embodmem.guard`)."""

    enabled: bool = True
    """Whether anything is examined and ordered at all."""
    trusted: tuple[str, ...] = ("", "user", "robot", "scene", "spatial", "mined", "loop", "remembr")
    """Sources that are trusted from the start, for as long as no claim of theirs was found wrong: people and robots of
    one's own, and what this library writes by itself."""
    derived: tuple[str, ...] = ("llm", "planner", "recall")
    """Sources that say what they read in this memory: what they repeat is not stored again."""
    claims: tuple[str, ...] = ("told",)
    """Kinds of events that are claims, which may be echoes of a question."""
    proven_trust: float = 0.8
    """From this trust on, what a source says counts by itself."""
    quarantine_below: float = 0.2
    """What a source of less trust says is kept apart."""
    quarantine_unproven: bool = False
    """Keep apart what any unproven source says."""
    quorum: int = 3
    """So many unproven sources that say the same are as good as a trusted one."""
    max_per_source: int = 3
    """Most answers of an unproven source beside those of trusted ones."""
    alike: float = 0.8
    """Two texts that share this part of their words say the same."""
    echo_words: int = 3
    """A claim of fewer words than this is no echo of a question."""
    echo_new: float = 0.1
    """A claim is an echo when at most this part of its words is not in the question."""
    max_speed_m_s: float = 0.0
    """An agent that moved faster than this since its last pose was not there. 0: any speed."""
    slack_m: float = 0.5
    """What localisation may jump, metres."""
    check_map: bool = False
    """Whether a body can stand where the map is occupied: if set, it cannot."""
    check_detections: bool = False
    """Keep apart detections behind what the map holds for occupied, in space that it knows to be free, or too large."""
    size_factor: float = 4.0
    """A detection so many times larger than the largest known thing of its label is too large. 0: none is."""

    def __post_init__(self) -> None:
        shares = (self.proven_trust, self.quarantine_below, self.alike, self.echo_new)
        if not all(0.0 <= share <= 1.0 for share in shares):
            raise ConfigError(f"guard: wanted proven_trust, quarantine_below, alike and echo_new in 0..1, got {shares}")
        if min(self.quorum, self.max_per_source, self.echo_words) < 1 or not all(
            0.0 <= limit < math.inf for limit in (self.max_speed_m_s, self.slack_m, self.size_factor)
        ):
            raise ConfigError(
                "guard: wanted quorum, max_per_source and echo_words >= 1, max_speed_m_s, slack_m and size_factor "
                f">= 0, got {self.quorum}, {self.max_per_source}, {self.echo_words}, {self.max_speed_m_s}, "
                f"{self.slack_m}, {self.size_factor}"
            )


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything. `embodmem config` prints it with the defaults."""

    store: StoreConfig = field(default_factory=StoreConfig)
    spatial: SpatialConfig = field(default_factory=SpatialConfig)
    scene: SceneConfig = field(default_factory=SceneConfig)
    episodic: EpisodicConfig = field(default_factory=EpisodicConfig)
    payloads: PayloadConfig = field(default_factory=PayloadConfig)
    semantic: SemanticConfig = field(default_factory=SemanticConfig)
    working: WorkingConfig = field(default_factory=WorkingConfig)
    procedural: ProceduralConfig = field(default_factory=ProceduralConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)
    lifecycle: LifecycleConfig = field(default_factory=LifecycleConfig)
    index: IndexConfig = field(default_factory=IndexConfig)
    recall: RecallConfig = field(default_factory=RecallConfig)
    encoder: str = "auto"
    """Text encoder: "hashing", "minilm", or "auto" for MiniLM where it is installed."""


def config_from(values: Any, kind: type[_T] = Config, where: str = "config") -> _T:  # type: ignore[assignment]
    """Build a config dataclass from nested plain values that override its defaults.

    Raises:
        ConfigError: A key is unknown (the nearest known one is named) or a value is of another type.
    """
    import cattrs

    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: wanted a mapping of settings, got {values!r}")
    hints = get_type_hints(kind)
    known = [f.name for f in dataclasses.fields(kind)]  # type: ignore[arg-type]
    made: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
            raise ConfigError(f"{where}: unknown key {key!r}{hint}")
        here = f"{where}.{key}"
        if dataclasses.is_dataclass(hints[key]):
            made[key] = config_from(value, hints[key], here)
            continue
        if get_origin(hints[key]) is dict and dataclasses.is_dataclass(get_args(hints[key])[1]):
            made[key] = _named(value, get_args(hints[key])[1], here)
            continue
        # YAML writes 5 for 5.0; nothing else is turned into another type silently.
        if hints[key] is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not _fits(value, hints[key]):
            wanted = hints[key].__name__ if hints[key] in (int, float, str, bool) else hints[key]
            hint = "; YAML takes on, off, yes and no for true and false: put them in quotes" if _has_bool(value) else ""
            raise ConfigError(f"{here}: wanted {wanted}, got {value!r}{hint}")
        try:
            made[key] = cattrs.structure(value, hints[key])
        except Exception as error:
            raise ConfigError(f"{here}: wanted {hints[key]}, got {value!r}") from error
    return kind(**made)


def _named(values: Any, kind: type[_T], where: str) -> dict[str, _T]:
    """Config dataclasses by name."""
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        hint = "; YAML takes on, off, yes and no for true and false: put them in quotes" if _has_bool([*values]) else ""
        raise ConfigError(f"{where}: wanted a mapping of names to settings, got {values!r}{hint}")
    return {name: config_from(value, kind, f"{where}.{name}") for name, value in values.items()}


def _has_bool(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, (list, tuple)) and any(map(_has_bool, value)))


def _fits(value: Any, kind: Any) -> bool:
    """Whether a plain value is of a type as it stands: `cattrs` makes text of a number, and letters of a word."""
    if get_origin(kind) is tuple:
        return isinstance(value, (list, tuple)) and all(_fits(item, get_args(kind)[0]) for item in value)
    if get_origin(kind) is dict:
        named, of = get_args(kind)
        return isinstance(value, dict) and all(_fits(k, named) and _fits(v, of) for k, v in value.items())
    if kind is float and type(value) is int:  # YAML writes 1 for 1.0
        return True
    return kind not in (int, float, str, bool) or type(value) is kind


def load_config(path: str | Path) -> Config:
    """Read a YAML file of overrides.

    Raises:
        ConfigError: The file is missing or no YAML, or holds an unknown key or a value of another type.
    """
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: wanted a YAML file of settings: {error}") from error
    return config_from(values, where=str(path))


def config_to_plain(config: Config) -> dict[str, Any]:
    """The whole config as nested dicts, lists and plain values."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value

    made: dict[str, Any] = plain(dataclasses.asdict(config))
    return made


def config_to_yaml(config: Config) -> str:
    """The whole config as YAML that `load_config` reads back to an equal one."""
    import yaml

    return str(yaml.safe_dump(config_to_plain(config), sort_keys=False))
