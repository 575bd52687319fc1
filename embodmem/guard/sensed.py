"""Whether what claims to be sensed or done can be so: nobody is in two places at once, or inside a wall."""

from __future__ import annotations

import numpy as np

from embodmem.config import GuardConfig
from embodmem.geometry import Pose
from embodmem.spatial.memory import SpatialMemory


class Plausibility:
    """Holds poses against the last ones of their agent, and against the map.

    Args:
        spatial: The map.
        config: How fast a body can be, and whether it can be inside what is occupied.
    """

    def __init__(self, spatial: SpatialMemory, config: GuardConfig) -> None:
        self.spatial, self.config = spatial, config
        self._last: dict[str, tuple[int, Pose]] = {}
        spatial.store.after_rollback.append(self._last.clear)

    def objection(self, agent: str, stamp_ns: int, T_world_body: Pose | None) -> str:
        """Why a pose cannot be; "" when it can. A pose that can be is what the next one is held against."""
        if T_world_body is None:
            return ""
        reason = self._too_fast(agent, stamp_ns, T_world_body) or self._inside(T_world_body)
        if not reason:
            self._last[agent] = (stamp_ns, T_world_body)
        return reason

    def _too_fast(self, agent: str, stamp_ns: int, T: Pose) -> str:
        limit = self.config.max_speed_m_s
        if not limit or agent not in self._last:
            return ""
        since_ns, before = self._last[agent]
        way_m = float(np.linalg.norm(T[:3, 3] - before[:3, 3]))
        time_s = max(0, stamp_ns - since_ns) * 1e-9
        if way_m <= limit * time_s + self.config.slack_m:
            return ""
        return f"moved {way_m:.1f} m in {time_s:.2f} s, wanted at most {limit} m/s"

    def _inside(self, T: Pose) -> str:
        if not self.config.check_map:
            return ""
        (log_odds,) = self.spatial.octree.log_odds(T[None, :3, 3])
        if not log_odds > self.spatial.config.log_odds_occupied:  # NaN, what is unknown, is no objection
            return ""
        x, y, z = T[:3, 3]
        return f"stands at ({x:.2f}, {y:.2f}, {z:.2f}), which the map holds for occupied"
