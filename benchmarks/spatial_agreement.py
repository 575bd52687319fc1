"""How far two maps agree, voxel by voxel; run as a script it also judges rules for lidar that were not taken.

    python benchmarks/spatial_agreement.py

Prints, for scans of ../shared/data/city_lidar (or an analytic street), of the voxels that walking every ray finds
free, how many each other rule finds, and how many of its own are wrong: OctoMap, one ray for each voxel hit, and the
best that a projection could do. That is the nearest beam itself, without the rounding of a range image: a voxel is
free if the beam nearest to its middle passes within a tolerance and ends behind it. It needs scipy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import spatial_frames as scenes
import spatial_peers as peers

from embodmem.config import SpatialConfig
from embodmem.spatial.octree import FREE, OCCUPIED, UNKNOWN, Octree, pack_keys, unpack_keys

Voxels = tuple[np.ndarray, np.ndarray]
STATES = {OCCUPIED: "occupied", FREE: "free", UNKNOWN: "unknown"}


def voxels_of(octree: Octree) -> Voxels:
    """Indices (N, 3) of the known voxels of a map, and whether each is occupied."""
    bricks = octree.bricks()
    brick, place = np.nonzero(~np.isnan(bricks.log_odds))
    inside = np.stack([place & 7, (place >> 3) & 7, place >> 6], axis=-1)
    return unpack_keys(bricks.keys)[brick] * 8 + inside, bricks.log_odds[brick, place] > octree.config.log_odds_occupied


def voxels_of_octomap(tree: Any) -> Voxels:
    """The same of an OctoMap; its pruned leaves are taken apart."""
    size = tree.getResolution()
    leaves = [(*leaf.getCoordinate(), leaf.getSize(), tree.isNodeOccupied(leaf)) for leaf in tree.begin_leafs()]
    table = np.array(leaves, dtype=np.float64).reshape(-1, 5)
    edges = np.rint(table[:, 3] / size).astype(int)
    lowest = np.rint(table[:, :3] / size - edges[:, None] / 2).astype(int)
    voxels, occupied = [], []
    for edge in np.unique(edges):
        inside = np.stack(np.meshgrid(*[np.arange(edge)] * 3, indexing="ij"), axis=-1).reshape(1, -1, 3)
        mine = edges == edge
        voxels.append((lowest[mine][:, None] + inside).reshape(-1, 3))
        occupied.append(np.repeat(table[mine, 4] > 0, inside.shape[1]))
    return np.concatenate(voxels), np.concatenate(occupied)


def confusion(ours: Voxels, theirs: Voxels) -> dict[tuple[int, int], int]:
    """How many voxels are in each pair of states (ours, theirs)."""
    state = [
        dict(zip(pack_keys(voxels).tolist(), occupied.tolist(), strict=True)) for voxels, occupied in (ours, theirs)
    ]
    counts: dict[tuple[int, int], int] = {}
    for key in state[0].keys() | state[1].keys():
        pair = tuple(UNKNOWN if key not in s else OCCUPIED if s[key] else FREE for s in state)
        counts[pair] = counts.get(pair, 0) + 1
    return counts


def agreement(counts: dict[tuple[int, int], int], state: int) -> float:
    """Of the voxels known to both that are in this state in theirs, the part that is in it in ours."""
    known = sum(n for (mine, yours), n in counts.items() if yours == state and mine != UNKNOWN)
    return counts.get((state, state), 0) / max(known, 1)


def nearest_beam(frame: scenes.Frame, centres: np.ndarray, config: SpatialConfig, tolerance: float) -> np.ndarray:
    """Which voxels the nearest beam passes within a tolerance, in half voxel edges, and ends behind."""
    from scipy.spatial import cKDTree

    rays = frame.world - frame.T_world_sensor[:3, 3]
    reach = np.linalg.norm(rays, axis=1)
    rays, reach = rays[reach >= config.min_range_m], reach[reach >= config.min_range_m]
    offset = centres - frame.T_world_sensor[:3, 3]
    distance = np.linalg.norm(offset, axis=1)
    apart, beam = cKDTree(rays / reach[:, None]).query(offset / distance[:, None])
    near = apart * distance <= tolerance * config.voxel_size_m / 2
    return near & (np.minimum(reach[beam], config.max_range_m) > distance)


def main() -> None:
    config = SpatialConfig(voxel_size_m=0.2, min_range_m=1.0, max_range_m=60.0, budget_mib=219.251)
    frame = (scenes.city if scenes.DATA.is_dir() else scenes.street)(1)[0]
    every, one = peers.Embodmem(config), peers.Embodmem(config, discretize=True)
    tree = peers.OctoMap(config, discretize=False)
    for map_ in (every, one, tree):
        map_(0, frame)
    voxels, occupied = voxels_of(every.octree)
    free = set(pack_keys(voxels[~occupied]).tolist())
    struck = set(pack_keys(voxels[occupied]).tolist())
    print(f"one scan, 0.2 m: {len(free)} voxels that a ray passes, {len(struck)} that one ends in")
    rules = {"OctoMap": voxels_of_octomap(tree.tree), "one ray for each voxel hit": voxels_of(one.octree)}
    sets = {name: set(pack_keys(found[~hit]).tolist()) for name, (found, hit) in rules.items()}
    bricks = unpack_keys(every.octree.bricks().keys)
    inside = np.stack(np.meshgrid(*[np.arange(8)] * 3, indexing="ij"), axis=-1).reshape(1, -1, 3)
    around = (bricks[:, None] * 8 + inside).reshape(-1, 3)
    for tolerance in (0.8, 1.0, 1.25, 1.5):
        passed = nearest_beam(frame, (around + 0.5) * config.voxel_size_m, config, tolerance)
        sets[f"nearest beam, within {tolerance:.2f} half edges"] = set(pack_keys(around[passed]).tolist()) - struck
    print(f"{'rule':<36} {'found':>7} {'wrong':>7}")
    for name, found in sets.items():
        print(f"{name:<36} {len(found & free) / len(free):7.2%} {len(found - free) / len(found):7.2%}")


if __name__ == "__main__":
    main()
