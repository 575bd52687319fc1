"""Static and dynamic apart: what moves lives in a transient layer, what moved away is cleared from the persistent one.

Mem4D (2025) keeps a transient memory of recent motion beside a persistent memory of structure; KARMA (Wang et al.,
2024) reports what changed. Here both are layers of one map: a voxel that becomes occupied where space was surely free
is transient. It becomes persistent when it is still there after `settle_s`, and is forgotten when it was not seen for
`transient_s` before that. What was occupied and is now seen through goes from the map after a few views,
not after the many that its log-odds would take: in an image where no surface passes between its pixels, in a scan if
enough of its surroundings are seen through, too.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from embodmem.spatial.octree import Changes, Octree
    from embodmem.spatial.octree.sight import Look

_VOXELS = 512
_MOMENT_NS = 10**9
_SPREAD = 3
_HALO = {-1: (slice(0, 1), slice(7, 8)), 0: (slice(1, 9), slice(0, 8)), 1: (slice(9, 10), slice(0, 1))}
"""Where the cells of the neighbour on this side go in a brick with a border, and which of its cells they are."""
_AROUND = np.array([(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if x or y or z])


@dataclass(frozen=True)
class Cleared:
    """Something that was there and is gone: voxels cleared at about one time, side by side.

    Attributes:
        stamp_ns: When the last of it was cleared.
        position: (3,) its middle in the world, metres.
        extent: (3,) metres.
        volume_m3: Of its voxels.
    """

    stamp_ns: int
    position: NDArray[np.float64]
    extent: NDArray[np.float64]
    volume_m3: float

    @property
    def text(self) -> str:
        """What to say of it."""
        size, place = ([f"{value:.2f}" for value in vector] for vector in (self.extent, self.position))
        return f"something of {' x '.join(size)} m at ({', '.join(place)}) is gone"


class Layers:
    """The transient layer of one map, and what is being cleared from the persistent one.

    Args:
        octree: The map.
        settle_s: A transient voxel that is still occupied after so many seconds is persistent.
        transient_s: One that was not seen for so long before that is forgotten.
        clear_views: Views in a row that must see through before a place is cleared.
        clear_share: Part of the occupied voxels around one (3x3x3) that a scan must see through with it, for a start;
            the layer of voxels in front of a wall, hit or missed as the view slants, has half at the most.
        max_bricks: Bricks that the layer follows at once; the oldest settle when there are more.
    """

    def __init__(
        self,
        octree: Octree,
        settle_s: float = 5.0,
        transient_s: float = 2.0,
        clear_views: int = 3,
        clear_share: float = 0.6,
        max_bricks: int = 4096,
    ) -> None:
        self.octree = octree
        self.settle_s, self.transient_s = settle_s, transient_s
        self.clear_views, self.clear_share, self.max_bricks = clear_views, clear_share, max_bricks
        self.keys: NDArray[np.int64] = np.empty(0, np.int64)  # sorted
        self.born_ns: NDArray[np.int64] = np.empty((0, _VOXELS), np.int64)  # 0: not transient
        self._disturbed_ns = self.born_ns.copy()  # when a surface was seen where it had been surely free; 0: never
        self._watched: NDArray[np.int64] = np.empty(0, np.int64)  # sorted keys of bricks that are seen through
        self._views: NDArray[np.uint8] = np.empty((0, _VOXELS), np.uint8)  # for how many views in a row
        self._cleared_here = np.empty((0, _VOXELS), dtype=bool)  # what was cleared of them meanwhile
        self._cleared: list[tuple[NDArray[np.float64], NDArray[np.int64]]] = []

    def update(self, now_ns: int, look: Look | None = None) -> None:
        """Take up what the last image or scan changed; call it before the next one.

        Args:
            now_ns: The time.
            look: The image; None for a scan.
        """
        changes = self.octree.changes()
        if len(changes.keys):
            self._note(changes, now_ns)
            self._clear(changes, now_ns, look)
        if len(self.keys):
            self._settle(now_ns)

    def transient(self) -> NDArray[np.float64]:
        """Centres (N, 3) in the world of the voxels that are occupied for the time being, metres."""
        row, place = np.nonzero(self.born_ns)
        return self._centres(self.keys[row], place)

    def take_cleared(self, now_ns: int, quiet_s: float = 0.5, least_voxels: int = 8) -> list[Cleared]:
        """What was cleared and has been let alone for a while since, once each.

        Args:
            now_ns: The time.
            quiet_s: A thing is whole when nothing next to it was cleared for so long.
            least_voxels: Smaller things are not reported: noise at edges.
        """
        if not self._cleared:
            return []
        points = np.concatenate([points for points, _ in self._cleared])
        stamps = np.concatenate([stamps for _, stamps in self._cleared])
        size = self.octree.config.voxel_size_m
        groups = _connected(np.floor(points / size).astype(np.int64))
        last = np.zeros(groups.max() + 1, np.int64)
        np.maximum.at(last, groups, stamps)
        done = last[groups] <= now_ns - round(quiet_s * 1e9)
        self._cleared = [(points[~done], stamps[~done])] if not done.all() else []
        found = []
        for group in np.unique(groups[done]):
            mine = points[groups == group]
            if len(mine) >= least_voxels:
                low, high = mine.min(axis=0) - size / 2, mine.max(axis=0) + size / 2
                found.append(Cleared(int(last[group]), (low + high) / 2, high - low, len(mine) * size**3))
        return found

    def _note(self, changes: Changes, now_ns: int) -> None:
        """Voxels that appear where it was surely free a moment ago are transient, voxels that vanish no longer.

        What lies along a surface that stays is left out: there voxels are hit or missed as the view slants.
        """
        self._take(changes.keys, changes.vanished)
        noted = (changes.disturbed | changes.appeared).any(axis=1)
        new, now = changes.keys[changes.disturbed.any(axis=1)], max(now_ns, 1)
        keys = np.union1d(self.keys, new)
        if len(keys) > len(self.keys):
            for name in ("born_ns", "_disturbed_ns"):
                wider = np.zeros((len(keys), _VOXELS), np.int64)
                wider[np.searchsorted(keys, self.keys)] = getattr(self, name)
                setattr(self, name, wider)
            self.keys = keys
        noted &= np.isin(changes.keys, self.keys)
        rows = np.searchsorted(self.keys, changes.keys[noted])
        disturbed = np.where(changes.disturbed[noted], now, self._disturbed_ns[rows])
        self._disturbed_ns[rows] = disturbed
        fresh = (disturbed > 0) & (now - disturbed <= _MOMENT_NS)
        arrived = changes.appeared[noted] & fresh & (self.born_ns[rows] == 0)
        self.born_ns[rows] = np.where(arrived, now, self.born_ns[rows])
        row, place = np.nonzero(arrived)
        beside = self._beside_surface(self._centres(self.keys[rows[row]], place), now)
        self.born_ns[rows[row[beside]], place[beside]] = 0

    def _clear(self, changes: Changes, now_ns: int, look: Look | None) -> None:
        """Clear voxels that are seen through in several views in a row."""
        through = changes.seen_through if look is None else self._surely(changes, look)
        occupied = changes.log_odds > self.octree.config.log_odds_occupied
        views, cleared = np.zeros(through.shape, np.uint8), np.zeros(through.shape, dtype=bool)
        if len(self._watched):
            at = np.minimum(np.searchsorted(self._watched, changes.keys), len(self._watched) - 1)
            known = self._watched[at] == changes.keys
            views[known], cleared[known] = self._views[at[known]], self._cleared_here[at[known]]
        views = np.where(through, np.minimum(views, 254) + 1, 0).astype(np.uint8)
        due = views >= self.clear_views
        if look is None and due.any():
            due = self._with_most_around(changes, due, cleared)
        order = np.argsort(changes.keys)
        order = order[through[order].any(axis=1)]
        self._watched, self._views = changes.keys[order], views[order]
        self._cleared_here = (cleared | due)[order]
        rows = due.any(axis=1)
        if not rows.any():
            return
        keys, due = changes.keys[rows], due[rows]
        self.octree.assign(keys, due & occupied[rows], self.octree.config.log_odds_miss)
        row, place = np.nonzero(due & ~self._take(keys, due))
        centres = self._centres(keys[row], place)
        centres = centres[~self._beside_surface(centres, now_ns)]
        if len(centres):
            self._cleared.append((centres, np.full(len(centres), now_ns)))

    def _surely(self, changes: Changes, look: Look) -> NDArray[np.bool_]:
        """What an image saw through (M, 512), without what surface passes through between its pixels."""
        from embodmem.spatial.octree.sight import touched

        through: NDArray[np.bool_] = changes.seen_through.copy()
        row, place = np.nonzero(through)
        through[row, place] = ~touched(self.octree, look, self._centres(changes.keys[row], place))
        return through

    def _with_most_around(
        self, changes: Changes, often: NDArray[np.bool_], cleared: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Which of the voxels that a scan saw through often were so with most of what is next to them, (M, 512).

        From there it spreads to what is next to them and was seen through as often.
        """
        from embodmem.spatial.octree import pack_keys, unpack_keys
        from embodmem.spatial.octree.gather import gather

        count, least = len(changes.keys), self.octree.config.log_odds_occupied
        around = unpack_keys(changes.keys[often.any(axis=1)])[:, None] + _AROUND
        # A brick in which nothing changed, since all its voxels are as sure as can be, is not among the changes.
        more = np.setdiff1d(pack_keys(around.reshape(-1, 3)), changes.keys)
        solid = np.concatenate([(changes.log_odds > least) | changes.vanished, gather(self.octree, more) > least])
        near = _Neighbours(np.concatenate([changes.keys, more]))

        def counted(mask: NDArray[np.bool_]) -> NDArray[np.int8]:
            wider = np.zeros_like(solid)
            wider[:count] = mask
            return near.count(wider)[:count]

        due: NDArray[np.bool_] = often & (counted(changes.seen_through) >= self.clear_share * near.count(solid)[:count])
        for _ in range(_SPREAD):
            due |= often & (counted(due | cleared) > 0)
        return due

    def _settle(self, now_ns: int) -> None:
        """Let the old become persistent, and forget what was not seen any more."""
        row, place = np.nonzero(self.born_ns)
        seen = self.octree.last_seen(self._centres(self.keys[row], place))
        born = self.born_ns[row, place]
        settled = (seen - born >= self.settle_s * 1e9) | (seen < 0)
        lost = ~settled & (now_ns - seen > self.transient_s * 1e9)
        if lost.any():
            voxels = np.zeros_like(self.born_ns, dtype=bool)
            voxels[row[lost], place[lost]] = True
            rows = voxels.any(axis=1)
            self.octree.assign(self.keys[rows], voxels[rows], np.nan)
        done = settled | lost
        self.born_ns[row[done], place[done]] = 0
        fresh = now_ns - self._disturbed_ns <= _MOMENT_NS
        kept = np.flatnonzero(((self.born_ns > 0) | (fresh & (self._disturbed_ns > 0))).any(axis=1))
        if len(kept) > self.max_bricks:
            kept = np.sort(kept[np.argsort(self.born_ns[kept].max(axis=1))[-self.max_bricks :]])
        self.keys, self.born_ns, self._disturbed_ns = self.keys[kept], self.born_ns[kept], self._disturbed_ns[kept]

    def _take(self, keys: NDArray[np.int64], voxels: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Take voxels (N, 512) of bricks out of the transient layer; returns which of them were in it."""
        was = np.zeros(voxels.shape, dtype=bool)
        mine = np.isin(keys, self.keys)
        rows = np.searchsorted(self.keys, keys[mine])
        was[mine] = (self.born_ns[rows] > 0) & voxels[mine]
        self.born_ns[rows] = np.where(voxels[mine], 0, self.born_ns[rows])
        return was

    def _beside_surface(self, centres: NDArray[np.float64], now_ns: int) -> NDArray[np.bool_]:
        """Which voxels (N,), given by their centres (N, 3), touch an occupied one that did not just appear."""
        from embodmem.spatial.octree import pack_keys

        size = self.octree.config.voxel_size_m
        voxels = np.floor(centres / size).astype(np.int64)[:, None] + _AROUND
        local = voxels & 7
        keys = pack_keys((voxels >> 3).reshape(-1, 3)).reshape(voxels.shape[:2])
        place = (local[..., 2] * 8 + local[..., 1]) * 8 + local[..., 0]
        values = self.octree.log_odds((voxels.reshape(-1, 3) + 0.5) * size).reshape(place.shape)
        solid = np.asarray(values > self.octree.config.log_odds_occupied)
        if len(self.keys):
            rows = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
            disturbed = self._disturbed_ns[rows, place]
            new = (self.born_ns[rows, place] > 0) | ((disturbed > 0) & (now_ns - disturbed <= _MOMENT_NS))
            solid &= ~(new & (self.keys[rows] == keys))
        return np.asarray(solid.any(axis=1))

    def _centres(self, keys: NDArray[np.int64], place: NDArray[np.int64]) -> NDArray[np.float64]:
        from embodmem.spatial.octree import unpack_keys

        offset = np.stack([place % 8, place // 8 % 8, place // 64], axis=1)
        size = self.octree.config.voxel_size_m
        return np.asarray((unpack_keys(keys) * 8 + offset + 0.5) * size, dtype=np.float64)

    def state(self) -> list[tuple[int, bytes]]:
        """The transient layer as rows of a table: key of a brick, and when each of its voxels appeared."""
        return [
            (key, zlib.compress(row.astype("<i8").tobytes(), 1))
            for key, row in zip(self.keys.tolist(), self.born_ns, strict=True)
        ]

    def load_state(self, rows: Iterable[tuple[int, bytes]]) -> None:
        """Replace the transient layer by what `state` gave."""
        pairs = sorted(rows)
        self.keys = np.array([key for key, _ in pairs], dtype=np.int64)
        born = [np.frombuffer(zlib.decompress(blob), dtype="<i8") for _, blob in pairs]
        self.born_ns = np.array(born, dtype=np.int64).reshape(-1, _VOXELS)
        self._disturbed_ns = np.zeros_like(self.born_ns)


class _Neighbours:
    """Counts over the 27 voxels around each one, across the faces of those bricks that are given."""

    def __init__(self, keys: NDArray[np.int64]) -> None:
        from embodmem.spatial.octree import pack_keys, unpack_keys

        order = np.argsort(keys)
        bricks = unpack_keys(keys)
        self._links: list[tuple[Any, Any, list[slice], list[slice]]] = []
        for step in _AROUND:
            others = pack_keys(bricks + step)
            at = order[np.minimum(np.searchsorted(keys, others, sorter=order), len(keys) - 1)]
            mine = np.flatnonzero(keys[at] == others)
            if len(mine):
                into, out = ([_HALO[axis][kind] for axis in step[::-1]] for kind in (0, 1))
                self._links.append((mine, at[mine], into, out))

    def count(self, mask: NDArray[np.bool_]) -> NDArray[np.int8]:
        """How many of the 27 voxels around each one (N, 512), itself included, are set."""
        cells = mask.reshape(-1, 8, 8, 8).astype(np.int8)
        sums = np.pad(cells, ((0, 0), (1, 1), (1, 1), (1, 1)))
        for mine, others, into, out in self._links:
            sums[mine, into[0], into[1], into[2]] = cells[others, out[0], out[1], out[2]]
        for axis in (1, 2, 3):
            parts = np.stack([np.take(sums, range(start, start + 8), axis) for start in range(3)])
            sums = parts.sum(axis=0, dtype=np.int8)
        return sums.reshape(-1, _VOXELS)


def _connected(voxels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Group numbers (N,) of voxels (N, 3): two are of one group if a chain of neighbours leads between them.

    Cells of 2x2x2 voxels stand in for the voxels, so that small gaps do not matter. The least number spreads through
    all neighbours, and each pass also follows the numbers found so far (Shiloach and Vishkin, 1982).
    """
    cells, owner = np.unique(voxels >> 1, axis=0, return_inverse=True)
    span = cells.max(axis=0) - cells.min(axis=0) + 3
    flat = ((cells - cells.min(axis=0) + 1) * [span[1] * span[2], span[2], 1]).sum(axis=1)
    steps = [(x * span[1] + y) * span[2] + z for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)]
    pairs = []
    for step in steps[:13]:
        at = np.minimum(np.searchsorted(flat, flat + step), len(flat) - 1)
        hit = np.flatnonzero(flat[at] == flat + step)
        pairs.append(np.stack([hit, at[hit]], axis=1))
    links = np.concatenate(pairs)
    group = np.arange(len(flat))
    while True:
        before = group.copy()
        low = np.minimum(group[links[:, 0]], group[links[:, 1]])
        np.minimum.at(group, links[:, 0], low)
        np.minimum.at(group, links[:, 1], low)
        group = group[group]
        if (group == before).all():
            numbers: NDArray[np.int64] = np.unique(group, return_inverse=True)[1][owner.reshape(-1)]
            return numbers
