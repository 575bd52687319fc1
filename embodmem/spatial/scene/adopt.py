"""Objects and rooms of another scene, taken into this one."""

from __future__ import annotations

from dataclasses import replace

from embodmem.spatial.scene.memory import SceneMemory
from embodmem.spatial.scene.node import ObjectNode


def adopt(scene: SceneMemory, other: SceneMemory) -> dict[str, str]:
    """Take in what another scene of the same world knows, within the caller's transaction.

    Objects are the same when their source gives them one instance id, or when they bear one label and their boxes,
    wider by the gate `position_sigma_m * gate_sigma`, touch. The view of whoever saw such an object last is kept.
    Rooms that are known by name stay as they are.

    Returns:
        The other's ids ("object:3") -> ids here.
    """
    known = {room.label for room in scene.rooms()}
    for room in other.rooms():
        if room.label not in known:
            scene.add_room(room.label, room.data["lower"], room.data["upper"])
    scene._follow()
    other._follow()
    ids = {}
    for theirs in other.graph.nodes(absent=True):
        if theirs.id not in other._row:
            continue
        same = _same(scene, theirs)
        if same is None:
            node = replace(theirs, id=scene.graph._next_id, apart={})
            scene.graph.put((node,))
            scene._row[node.id] = scene.records.add(scene._record(node))
        else:
            later = theirs if theirs.last_seen_ns > same.last_seen_ns else same
            first_ns, sightings = min(theirs.first_seen_ns, same.first_seen_ns), theirs.sightings + same.sightings
            if theirs.first_seen_ns == same.first_seen_ns and theirs.last_seen_ns == same.last_seen_ns:
                sightings = same.sightings  # the same sightings, taken in before
            node = replace(later, id=same.id, apart=same.apart, first_seen_ns=first_ns, sightings=sightings)
            scene.graph.put((node,))
        ids[f"object:{other._row[theirs.id]}"] = f"object:{scene._row[node.id]}"
    scene.flush()
    return ids


def _same(scene: SceneMemory, theirs: ObjectNode) -> ObjectNode | None:
    reach = scene.config.position_sigma_m * scene.config.gate_sigma
    for node in scene.graph.with_label(theirs.label):
        if theirs.instance_id is not None and theirs.instance_id == node.instance_id:
            return node
        near = (node.lower - reach <= theirs.upper).all() and (theirs.lower - reach <= node.upper).all()
        if near and None in (theirs.instance_id, node.instance_id) and node.id in scene._row:
            return node
    return None
