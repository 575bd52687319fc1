"""AI2-THOR's player as a process that may fail: every way it does is told as one clear error."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from typing import Any

from embodmem.errors import EmbodmemError, InvalidInput, MissingDependency

_NO_SCENE = "not contained in build"


class SimulatorError(EmbodmemError, RuntimeError):
    """A simulator's process did not start, ended, sent what is not of its protocol, or gave no answer."""


class Player:
    """ai2thor's Controller, watched.

    The controller reads from a named pipe. When the player dies it notices only after its timeout, or never while a
    pipe is being opened; a thread waits for the process and then breaks the pipe's silence.

    Args:
        timeout_s: Of one action, seconds.
        **settings: Of the Controller.

    Raises:
        MissingDependency: ai2thor is not installed.
        SimulatorError: The player did not start.
    """

    def __init__(self, timeout_s: float, **settings: Any) -> None:
        try:
            from ai2thor.controller import Controller
        except ModuleNotFoundError as error:
            raise MissingDependency("ai2thor", "sim", "ThorEnv") from error
        self._timeout_s = timeout_s
        self._closed = threading.Event()
        self._controller: Any = None
        self._code: int | None = None  # what the process ended with of itself
        player = self

        class Watched(Controller):  # type: ignore[misc]
            """Tells of its process as soon as there is one."""

            def _start_unity_thread(self, *args: Any, **kwargs: Any) -> None:
                player._controller = self
                super()._start_unity_thread(*args, **kwargs)
                player._note_end(self.server)
                threading.Thread(target=_watch, args=(self.server, player._closed), daemon=True).start()

        try:
            self._controller = Watched(server_timeout=timeout_s, **settings)
        except Exception as error:  # whatever ai2thor raises
            failure = self._failed("its start", error)
            if _NO_SCENE in str(error):
                raise InvalidInput(f"thor: {str(error).strip()}") from error
            raise failure from error
        self.event = self._controller.last_event

    def step(self, name: str, **arguments: Any) -> Any:
        """ai2thor's event after an action."""
        # A ValueError of `step` is the answer of a player that is well and cannot do that.
        return self._answer(f"the action {name}", "", lambda: self._controller.step(action=name, **arguments))

    def reset(self, **settings: Any) -> Any:
        """ai2thor's event after `Controller.reset`."""
        return self._answer("a reset", _NO_SCENE, lambda: self._controller.reset(**settings))

    def close(self) -> None:
        """End the process."""
        self._closed.set()
        if self._controller is not None and self._controller.server is not None:
            self._controller.stop()

    def _answer(self, what: str, refusal: str, call: Any) -> Any:
        if self._closed.is_set():
            raise SimulatorError(f"AI2-THOR: the player has ended; wanted a new environment for {what}")
        try:
            self.event = call()
        except Exception as error:  # whatever ai2thor raises
            if isinstance(error, ValueError) and refusal in str(error):
                raise InvalidInput(f"thor: AI2-THOR refused {what}: {str(error).strip()}") from error
            raise self._failed(what, error) from error
        return self.event

    def _failed(self, what: str, error: BaseException) -> SimulatorError:
        """The error to raise; ends what is left of the player."""
        process = getattr(getattr(self._controller, "server", None), "unity_proc", None)
        if process is not None and isinstance(error, BrokenPipeError):  # it is just ending
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1.0)
        self._stop()
        cause = error.__context__ if type(error) is RuntimeError and error.__context__ else error
        if self._code is not None:
            how = f"was ended by signal {-self._code}" if self._code < 0 else f"ended with code {self._code}"
            text = f"the player {how} during {what}; see ~/.ai2thor/log/unity.log"
        elif isinstance(error, TimeoutError):
            text = f"the player gave no answer to {what} within {self._timeout_s:g} s"
        elif process is None:
            text = f"no player was started: {cause}"
        else:
            text = (
                f"the player's answer to {what} is none of AI2-THOR's protocol ({type(cause).__name__}: {cause}); does "
                f"the build fit the installed ai2thor?"
            )
        return SimulatorError(f"AI2-THOR: {text}")

    def _note_end(self, server: Any) -> None:
        """Have `server.stop`, which kills the process and which the controller calls on every error, look first."""
        stop = server.stop

        def look_and_stop() -> None:
            if self._code is None and not self._closed.is_set():
                self._code = server.unity_proc.poll()
            self._closed.set()
            stop()

        server.stop = look_and_stop

    def _stop(self) -> None:
        server = getattr(self._controller, "server", None)
        if server is not None:
            server.stop()
        self._closed.set()


def _watch(server: Any, closed: threading.Event) -> None:
    """Wait for the player's end; then feed its pipe with zeros, which no message begins with, until nobody reads.

    A reader that is stuck in the middle of a message gets its bytes and then stumbles over the next header, whose
    type 0 is none.
    """
    server.unity_proc.wait()
    ends: dict[str, int] = {}
    # Either side may be stuck in opening its pipe, for want of the other end.
    wanted = {"client_pipe_path": os.O_RDONLY, "server_pipe_path": os.O_WRONLY}
    try:
        while not closed.is_set():
            for name, mode in wanted.items():
                if name not in ends:
                    try:
                        ends[name] = os.open(getattr(server, name), mode | os.O_NONBLOCK)
                    except OSError:  # nobody reads yet
                        continue
            if "server_pipe_path" in ends:
                try:
                    os.write(ends["server_pipe_path"], bytes(65536))
                except BlockingIOError:  # full
                    pass
                except OSError:  # the reader has gone
                    return
            time.sleep(0.01)
    finally:
        for end in ends.values():
            os.close(end)
