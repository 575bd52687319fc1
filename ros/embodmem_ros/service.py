"""The node without ROS: messages in, the memory filled, answers and maps out. Both shells run this."""

from __future__ import annotations

import threading
import time
from bisect import insort
from collections.abc import Callable
from typing import Any

from embodmem.ask import ask
from embodmem.datasets.ros_transforms import TransformError, TransformTree
from embodmem.embodied import EmbodiedMemory
from embodmem.errors import EmbodmemError, InvalidInput
from embodmem.geometry import Pose
from embodmem.types import Event, Percept, PinholeCamera, Query
from embodmem_ros import messages, outputs
from embodmem_ros.config import NodeConfig
from embodmem_ros.messages import Plain
from embodmem_ros.sync import Synchroniser
from embodmem_ros.views import NotYet, View, pinned

LIDAR_AGENT = "lidar"
USER_AGENT = "user"
_COUNTERS = ("written", "told", "dropped_views", "no_transform", "no_camera_info", "refused", "not_given_out")


class MemoryService:
    """Frames, clouds, detections and told text in; queries, maps and markers out.

    Receiving is cheap: a handler only queues. `process` turns what is complete into views and writes them, in the
    order of their stamps; a worker thread runs it between `start` and `close`. Without a worker, who feeds the
    service calls `process`.

    Drop policy: every queue holds at most `config.input.queue`; the oldest goes first and is counted. A view whose
    transform or camera info does not come is dropped and counted as well, and so is one that the memory refuses.
    `counters` tells.

    Points are written as agent "lidar" and told text as agent "user", so that stamps of different sources need not
    be in one order.

    Args:
        memory: Where to write; the caller closes it.
        config: Settings.
        log: Told about a view that was lost, once for each kind of reason.
        clock: Seconds that pass, to bound the wait for transforms; what is remembered has the stamps of messages.
    """

    def __init__(
        self,
        memory: EmbodiedMemory,
        config: NodeConfig,
        log: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.memory = memory
        self.config = config
        self._log = log or (lambda text: None)
        self._clock = clock
        self.transforms = TransformTree(config.input.tf_history_s)
        streams = [name for name in ("depth", "rgb", "detections") if getattr(config.topics, name)]
        slop_ns = int(config.input.slop_s * 1e9)
        self._sync = Synchroniser(streams, slop_ns=slop_ns, queue=config.input.queue) if streams else None
        self._camera: PinholeCamera | None = None
        self._views: list[View] = []
        self._lock = threading.Lock()
        self._work = threading.Lock()  # one thread at a time turns views into memory
        self._wake = threading.Event()
        self._newest_ns = 0
        self._counts = dict.fromkeys(_COUNTERS, 0)
        self._said: set[str] = set()
        self._version = 0
        self._given: dict[str, int] = {}
        self._worker: threading.Thread | None = None
        self._stop = False

    # -- in ------------------------------------------------------------------------------------------------------

    def on_depth(self, message: Any) -> None:
        """A sensor_msgs/Image of depth."""
        self._on_stream("depth", message)

    def on_rgb(self, message: Any) -> None:
        """A sensor_msgs/Image of colour."""
        self._on_stream("rgb", message)

    def on_detections(self, message: Any) -> None:
        """A vision_msgs/Detection2DArray with the stamp of its image."""
        self._on_stream("detections", message)

    def on_camera_info(self, message: Any) -> None:
        """A sensor_msgs/CameraInfo; it holds for the views that are written from now on."""
        try:
            self._camera = messages.camera_from_info(message)
        except InvalidInput as error:
            self._lost("refused", str(error))
        self._wake.set()

    def on_points(self, message: Any) -> None:
        """A sensor_msgs/PointCloud2."""
        self._queue_view(messages.stamp_to_ns(message.header.stamp), {"points": message})

    def on_odometry(self, message: Any) -> None:
        """A nav_msgs/Odometry: a transform where /tf does not tell of its child frame."""
        self._on_transform(self.transforms.add_odometry, message)

    def on_tf(self, message: Any) -> None:
        """A tf2_msgs/TFMessage of /tf."""
        self._on_transform(self.transforms.add_message, message)

    def on_tf_static(self, message: Any) -> None:
        """A tf2_msgs/TFMessage of /tf_static."""
        self._on_transform(lambda m: self.transforms.add_message(m, static=True), message)

    def on_told(self, message: Any) -> None:
        """A std_msgs/String to remember, at the time that the sensors have reached."""
        try:
            self.remember(str(message.data))
        except EmbodmemError as error:
            self._lost("refused", str(error))

    def _on_transform(self, add: Callable[[Any], None], message: Any) -> None:
        try:
            add(message)
        except InvalidInput as error:
            self._lost("refused", str(error))
        self._pin()
        self._wake.set()

    def _on_stream(self, stream: str, message: Any) -> None:
        if self._sync is None:
            raise InvalidInput(f"{stream}: wanted a topic for it in the settings, got none")
        stamp = messages.stamp_to_ns(message.header.stamp)
        for match in self._sync.add(stream, stamp, message):
            self._queue_view(match.stamp_ns, match.messages)

    def _queue_view(self, stamp_ns: int, parts: dict[str, Any]) -> None:
        with self._lock:
            self._newest_ns = max(self._newest_ns, stamp_ns)
            self._version += 1
            insort(self._views, View(stamp_ns, self._version, self._clock(), parts))
            full = len(self._views) > self.config.input.queue
            if full:
                self._views.pop(0)
        if full:
            self._lost("dropped_views", f"more than {self.config.input.queue} views wait to be written")
        self._pin()
        self._wake.set()

    def _pin(self) -> None:
        """Give the views that wait their poses, as soon as /tf tells of them: it forgets."""
        with self._lock:
            waiting = list(self._views)
        posed = pinned(waiting, self._pose)
        with self._lock:
            self._views = [posed.get(view.serial, view) for view in self._views]

    def _lost(self, kind: str, why: str) -> None:
        with self._lock:
            self._counts[kind] += 1
            new = kind not in self._said
            self._said.add(kind)
        if new:
            self._log(f"{kind}: {why} (further ones are only counted)")

    # -- work ----------------------------------------------------------------------------------------------------

    def process(self) -> int:
        """Write the views whose transform is there; returns how many were written."""
        written = 0
        while True:
            with self._work:
                batch = self._take_batch()
                if not batch:
                    return written
                written += self._write(batch)

    def _take_batch(self) -> list[Percept]:
        batch: list[Percept] = []
        while len(batch) < self.config.input.batch:
            with self._lock:
                view = self._views[0] if self._views else None
            if view is None:
                break
            try:
                batch.append(self._percept(view))
            except NotYet as error:
                if error.may_come and self._clock() - view.since_s < self.config.input.tf_wait_s:
                    break
                self._lost(error.kind, str(error))
            except InvalidInput as error:
                self._lost("refused", str(error))
            with self._lock:  # the queue may have dropped it meanwhile
                self._views = [other for other in self._views if other.serial != view.serial]
        return batch

    def _pose(self, frame: str, stamp_ns: int) -> Pose:
        return self.transforms.lookup(self.config.input.world_frame, frame, stamp_ns)

    def _percept(self, view: View) -> Percept:
        parts, T_world_sensor = view.messages, view.T_world_sensor
        if T_world_sensor is None:
            try:
                T_world_sensor = self._pose(view.frame, view.stamp_ns)
            except TransformError as error:
                raise NotYet("no_transform", str(error), error.may_come) from error
        if "points" in parts:
            points = messages.cloud_to_points(parts["points"])
            return Percept(stamp_ns=view.stamp_ns, T_world_sensor=T_world_sensor, points=points, agent=LIDAR_AGENT)
        if self._camera is None:
            raise NotYet("no_camera_info", f"no message has come on {self.config.topics.camera_info!r}", True)
        found: Any = ()
        if "detections" in parts:
            trust = self.config.input.detection_ids_are_instances
            found = messages.detections_from_array(parts["detections"], ids_are_instances=trust)
        return Percept(
            stamp_ns=view.stamp_ns,
            T_world_sensor=T_world_sensor,
            camera=self._camera,
            depth=messages.image_to_array(parts["depth"]) if "depth" in parts else None,
            rgb=messages.image_to_array(parts["rgb"]) if "rgb" in parts else None,
            detections=found,
        )

    def _write(self, batch: list[Percept]) -> int:
        try:
            self.memory.write_batch(batch)
            written = len(batch)
        except InvalidInput:
            written = 0
            for percept in batch:  # one was refused: the others go in on their own
                try:
                    self.memory.write(percept)
                    written += 1
                except InvalidInput as error:
                    self._lost("refused", str(error))
        with self._lock:
            self._counts["written"] += written
            self._version += 1
        return written

    def start(self) -> None:
        """Start the worker thread."""
        if self._worker is None:
            self._stop = False
            self._worker = threading.Thread(target=self._run, name="embodmem-service", daemon=True)
            self._worker.start()

    def _run(self) -> None:
        while not self._stop:
            self._wake.wait(0.5)
            self._wake.clear()
            try:
                self.process()
            except EmbodmemError as error:  # the disk: what is written is kept, the next view tries again
                self._lost("refused", str(error))

    def close(self) -> None:
        """Write what can be written and stop the worker; safe to call twice."""
        worker, self._worker, self._stop = self._worker, None, True
        self._wake.set()
        if worker is not None:
            worker.join()
        self.process()

    # -- out -----------------------------------------------------------------------------------------------------

    def counters(self) -> dict[str, int]:
        """What came, what was written, what was lost and why, and how many views wait."""
        with self._lock:
            counts = {**self._counts, "waiting": len(self._views)}
        if self._sync is not None:
            counts |= {f"received_{name}": n for name, n in self._sync.received.items()}
            counts |= {f"dropped_{name}": n for name, n in self._sync.dropped.items()}
            counts |= {"unmatched": self._sync.unmatched, "late": self._sync.late}
            counts["waiting"] += self._sync.waiting()
        return counts

    def lost(self) -> dict[str, int]:
        """The counters of what was lost, those that are not 0."""
        kinds = ("dropped", "unmatched", "no_", "refused")
        return {kind: n for kind, n in self.counters().items() if n and kind.startswith(kinds)}

    @property
    def stamp_ns(self) -> int:
        """The time that the data has reached, ns: the newest stamp of a view or of the memory."""
        return max(self._newest_ns, self.memory.newest_stamp() or 0)

    def remember(self, text: str, objects: tuple[str, ...] = (), stamp_ns: int | None = None) -> None:
        """Remember what was told.

        Raises:
            InvalidInput: The text is empty, or the stamp lies before what was told last.
        """
        stamp = self.stamp_ns if stamp_ns is None else stamp_ns
        event = Event(stamp_ns=stamp, kind="told", text=text, objects=objects, source="user", agent=USER_AGENT)
        self.memory.write(event)
        with self._lock:
            self._counts["told"] += 1

    def handle_recall(self, request: Any) -> Plain:
        """embodmem_msgs/srv/Recall: a question in words, or words with filters."""

        def answer() -> Plain:
            k = int(request.k) or 10
            if request.text.strip() and not request.labels and not request.kinds:
                found = ask(self.memory, request.text, k=k)
                return {"answer": found.text, "items": [messages.recall_item(item) for item in found.recalls]}
            if not request.labels and not request.kinds:
                raise InvalidInput("recall: wanted a text, labels or kinds, got none")
            query = Query(text=request.text or None, labels=tuple(request.labels), kinds=tuple(request.kinds))
            items = self.memory.recall(query, k)
            said = "; ".join(item.text or item.label for item in items) or "not known"
            return {"answer": said, "items": [messages.recall_item(item) for item in items]}

        return _answered(answer)

    def handle_remember(self, request: Any) -> Plain:
        """embodmem_msgs/srv/Remember; a stamp of zero means the time that the data has reached."""

        def answer() -> Plain:
            stamp = messages.stamp_to_ns(request.stamp)
            self.remember(request.text, tuple(request.objects), stamp or None)
            return {}

        return _answered(answer)

    def handle_forget(self, request: Any) -> Plain:
        """embodmem_msgs/srv/Forget."""

        def answer() -> Plain:
            query = Query(labels=tuple(request.labels), ids=tuple(request.ids), kinds=tuple(request.kinds))
            gone = self.memory.forget(query)
            with self._lock:
                self._version += 1
            return {"count": gone}

        return _answered(answer)

    def handle_save(self, request: Any) -> Plain:
        """std_srvs/srv/Trigger: move all into the one file."""

        def answer() -> Plain:
            self.process()
            self.memory.save()
            return {"message": str(self.memory.store.path)}

        return _answered(answer)

    def publications(self) -> dict[str, Plain]:
        """What changed since the last call: "octomap", "grid", "markers"; and "diagnostics" each time."""
        made: dict[str, Plain | None] = {}
        stamp, frame, out = self.stamp_ns, self.config.input.world_frame, self.config.output
        octree = self.memory.spatial.octree
        version = self._version
        makers: dict[str, Callable[[], Plain | None]] = {
            "octomap": lambda: outputs.octomap(octree, stamp, frame),
            "grid": lambda: outputs.grid(octree, out.grid_z_min_m, out.grid_z_max_m, stamp, frame),
            "markers": lambda: outputs.markers(self.memory.scene.objects(), stamp, frame),
        }
        for name, make in makers.items():
            if getattr(self.config.topics, name) and self._given.get(name) != version:
                self._given[name] = version
                try:
                    made[name] = make()
                except EmbodmemError as error:
                    self._lost("not_given_out", f"{name}: {error}")
        if self.config.topics.diagnostics:
            full_name = self.config.full_name(self.config.name)
            lost = sum(self.lost().values())
            made["diagnostics"] = outputs.diagnostics(full_name, self.memory, self.counters(), lost, stamp)
        return {name: plain for name, plain in made.items() if plain is not None}


def _answered(answer: Callable[[], Plain]) -> Plain:
    try:
        return {"success": True, "message": "", **answer()}
    except EmbodmemError as error:
        return {"success": False, "message": str(error)}
