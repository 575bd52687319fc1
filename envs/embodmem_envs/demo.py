"""The demonstration: a simulated robot tours an apartment, moves a thing, tours again, and answers questions."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from embodmem.ask import Answer, ask
from embodmem.datasets import FolderWriter
from embodmem.embodied import EmbodiedMemory
from embodmem.errors import InvalidInput
from embodmem.report import write_report
from embodmem.types import Event, Percept
from embodmem_envs.adapter import HouseAdapter
from embodmem_envs.house import Action, HouseEnv
from embodmem_envs.tour import Guide
from embodmem_envs.world import ObjectState

BATCH = 8
"""Steps written in one transaction."""


QUESTIONS = (
    "where is the mug?",
    "what did you see in the bedroom?",
    "what was moved since the first tour?",
    "what did you do before you picked up the book?",
    "where is the book?",
    "how many cushions are there?",
    "what is on the desk?",
    "when did you last see the laptop?",
    "where is the piano?",
)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(slots=True)
class Script:
    """What happened in the demonstration, by the simulator's truth: what the answers are checked against.

    Attributes:
        book: The book that the robot fetched, as it lay before.
        book_after: The same, where the robot laid it.
        moved: (before, after) of each object that somebody moved between the tours.
        frames: Views written.
    """

    book: ObjectState
    book_after: ObjectState
    moved: list[tuple[ObjectState, ObjectState]]
    frames: int


class Run:
    """A robot in the house whose every step goes to a memory and, where asked, into a recording.

    Args:
        env: The house.
        memory: What to fill.
        writer: A recording to make as well, or None.
        on_frame: Called after each view.
    """

    def __init__(
        self,
        env: HouseEnv,
        memory: EmbodiedMemory,
        writer: FolderWriter | None = None,
        on_frame: Callable[[], None] = lambda: None,
    ) -> None:
        self.env = env
        self.memory = memory
        self.frames = 0
        self._adapter = HouseAdapter(env.config.step_s)
        self._writer = writer
        self._on_frame = on_frame
        self._waiting: list[Percept | Event] = []
        self._room = ""

    def begin(self, seed: int | None = None, move: int = 0) -> None:
        """Start a day: in a new home when a seed is given; otherwise `move` objects lie elsewhere than before."""
        obs, info = self.env.reset(seed=seed, options={"move": move})
        if seed is not None:
            for name, lower, upper in self._adapter.rooms(self.env):
                self.memory.scene.add_room(name, lower, upper)
                if self._writer is not None:
                    self._writer.add_room(name, lower, upper)
        self._take(obs, info)

    def follow(self, actions: Iterable[Action]) -> None:
        """Do actions and remember what each shows."""
        for action in actions:
            obs, _, _, _, info = self.env.step(int(action))
            self._take(obs, info)

    def tell(self, kind: str, text: str) -> None:
        """Remember something that the robot itself knows."""
        self._waiting.append(
            Event(stamp_ns=self._stamp_ns, kind=kind, text=text, source="robot", T_world_body=self._T_world_base)
        )
        self.flush()

    def _take(self, obs: dict[str, Any], info: dict[str, Any]) -> None:
        percept = self._adapter.percept(obs, info)
        self._stamp_ns, self._T_world_base = percept.stamp_ns, info["T_world_base"]
        self._waiting += [*self._adapter.events(info), percept]
        if info["room"] != self._room:
            self._room = info["room"]
            self.tell("go", f"went into the {self._room}")
        self.frames += 1
        if len(self._waiting) >= BATCH:
            self.flush()
        self._on_frame()

    def flush(self) -> None:
        """Write what waits."""
        if self._writer is not None:
            for item in self._waiting:
                self._writer.append(item)
        self.memory.write_batch(self._waiting)
        self._waiting = []


def play(run: Run, seed: int) -> Script:
    """The whole demonstration: a tour, a book fetched and laid elsewhere, things moved by somebody, a second tour."""
    env = run.env
    run.begin(seed=seed)
    run.tell("tour", "began the first tour")
    run.follow(Guide(env).tour())
    run.tell("tour", "finished the first tour")
    book, book_after = _fetch_book(run)
    run.tell("charge", "went back to the charging station")
    before = {item.id: item for item in env.objects}
    run.begin(move=3)
    after = {item.id: item for item in env.objects}
    run.tell("tour", "began the second tour")
    run.follow(Guide(env).tour())
    run.tell("tour", "finished the second tour")
    moved = [(before[i], after[i]) for i in before if np.linalg.norm(after[i].position - before[i].position) > 0.3]
    return Script(book, book_after, moved, run.frames)


def _fetch_book(run: Run) -> tuple[ObjectState, ObjectState]:
    """Pick up a book and lay it on a piece of furniture in another room; the first that works."""
    env, guide = run.env, Guide(run.env)
    for book in (item for item in env.objects if item.label == "book"):
        try:
            run.follow(guide.pick(book.id))
        except InvalidInput:
            continue  # no way leads there: take the next
        for piece in (f for f in env.furniture if f.room != book.room):
            try:
                run.follow(guide.place(piece.id))
            except InvalidInput:
                continue
            after = next(item for item in env.objects if item.id == book.id)
            return book, after
    raise InvalidInput("demo: wanted a book that the robot can carry to another room, got none in this apartment")


def _show(console: Console, question: str, answer: Answer) -> None:
    console.print(f"\n[bold]{question}[/bold]")
    console.print(f"  {answer.text}", markup=False, soft_wrap=True)


@app.command()
def main(
    out: Annotated[Path, typer.Option("--out", help="Folder for the memory and the report; made anew.")] = Path("demo"),
    seed: Annotated[int, typer.Option("--seed", help="The apartment and what happens in it.")] = 0,
    record: Annotated[bool, typer.Option("--record", help="Also write the run as a folder of frames.")] = False,
) -> None:
    """Let a simulated robot tour an apartment, then ask it questions."""
    console = Console(highlight=False)
    out.mkdir(parents=True, exist_ok=True)
    file, page, frames = out / "house.mem", out / "report.html", out / "recording"
    for path in (file, Path(f"{file}-wal"), Path(f"{file}-shm"), page):
        path.unlink(missing_ok=True)
    shutil.rmtree(frames, ignore_errors=True)
    writer = FolderWriter(frames, rgb_format="jpeg") if record else None
    env = HouseEnv(max_steps=100_000)
    with EmbodiedMemory(file, "x") as memory:
        with _progress(console) as on_frame:
            script = play(Run(env, memory, writer, on_frame), seed)
        console.print(
            f"{script.frames} views, {len(env.objects)} objects in {len(env.rooms)} rooms; now some questions."
        )
        for question in QUESTIONS:
            _show(console, question, ask(memory, question))
        write_report(memory, page, questions=QUESTIONS, title=f"A tour of apartment {seed}")
    if writer is not None:
        writer.close()
    env.close()
    console.print(f"\nThe report is {page}: open it in a browser. To try next:")
    program = "embodmem" if shutil.which("embodmem") else f"{Path(sys.executable).parent}/embodmem"
    for line in (f'ask {file} "where are the keys?"', f"objects {file}", f"info {file}", f"forget {file} --label mug"):
        console.print(f"  {program} {line}", markup=False, soft_wrap=True)


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[], None]]:
    """A bar on standard error that counts views and their rate; yields what to call after each."""
    columns = (TextColumn("touring"), BarColumn(), TextColumn("{task.completed:.0f} frames"), TimeElapsedColumn())
    rate = TextColumn("{task.fields[rate]:.1f} frames/s")
    with Progress(*columns, rate, console=Console(stderr=True)) as bar:
        task = bar.add_task("touring", total=None, rate=0.0)

        def on_frame() -> None:
            elapsed = bar.tasks[0].elapsed or 0.0
            done = bar.tasks[0].completed + 1
            bar.update(task, advance=1, rate=done / elapsed if elapsed > 0 else 0.0)

        yield on_frame


if __name__ == "__main__":
    app()
