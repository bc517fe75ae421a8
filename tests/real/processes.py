"""Processes that a test starts, watches and ends; every wait has an end."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import time
from collections.abc import Callable

COMMAND_SECONDS_MAX = 60


class Failure(Exception):
    """A check that did not hold, in words for a person."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(what: str, seconds_max: float, ready: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds_max
    while not ready():
        if time.monotonic() > end:
            raise Failure(f"after {seconds_max} s still not: {what}")
        time.sleep(0.05)


def run(*command: str, env: dict[str, str] | None = None, stdin: str = "") -> str:
    """The output of a command that has to succeed."""
    done = subprocess.run(
        command,
        env=env,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS_MAX,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise Failure(f"`{pathlib.Path(command[0]).name}` exited {done.returncode}: {said[-2000:]}")
    return done.stdout


def curl(method: str, url: str, key: str | None = None, body: object = None) -> tuple[int, object]:
    """One call with the real curl: the status, and the answer read as JSON (or as text, if it is none)."""
    command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "30"]
    command += ["--request", method, "--write-out", "\n%{http_code}"]
    if key is not None:
        command += ["--header", f"Authorization: Bearer {key}"]
    if body is not None:
        command += ["--header", "Content-Type: application/json", "--data", json.dumps(body)]
    text, _, status = run(*command, url).rpartition("\n")
    try:
        return int(status), json.loads(text)
    except ValueError:
        return int(status), text


class Process:
    """A child process whose output goes to a file."""

    def __init__(self, name: str, log: pathlib.Path) -> None:
        self.name = name
        self.log = log
        self._child: subprocess.Popen | None = None

    def start(self, command: list[str], env: dict[str, str]) -> None:
        with self.log.open("ab") as out:
            self._child = subprocess.Popen(
                command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
            )

    def ended(self) -> int | None:
        """The exit status, once there is one."""
        return self._child.poll() if self._child else 0

    def wait_ready(self, what: str, seconds_max: float, ready: Callable[[], bool]) -> None:
        def ready_or_gone() -> bool:
            if self.ended() is not None:
                raise Failure(f"{self.name} ended with {self.ended()} before: {what}")
            return ready()

        wait_until(what, seconds_max, ready_or_gone)

    def terminate(self, seconds_max: float) -> int:
        """Asks the process to end, as a service manager would, and returns how it did."""
        assert self._child is not None
        self._child.send_signal(signal.SIGTERM)
        try:
            return self._child.wait(seconds_max)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} was still running {seconds_max} s after SIGTERM") from None

    def destroy(self) -> None:
        """Ends the process whatever it does; for clean-up."""
        if self._child is None or self._child.poll() is not None:
            return
        self._child.terminate()
        try:
            self._child.wait(5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait(5)

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.text().splitlines()[-lines:])


def plain_env() -> dict[str, str]:
    """The environment for a child: nothing of the caller's settings, so that a run means the same everywhere."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "OPENBLAS_CORETYPE")
    return {name: os.environ[name] for name in kept if name in os.environ}
