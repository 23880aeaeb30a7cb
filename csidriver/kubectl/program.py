"""The program kubectl as a subprocess, without a shell.

A credential plugin of kubectl may ask the user for something on stderr and wait. So stderr is
passed on while kubectl runs, but never that of a call with a body, which may have a token in it.
"""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field

from csidriver.kubectl.errors import KubectlFailed

# Seconds. kubectl ends at once after a message of its own; what stays longer is a question.
QUESTION = 1.0
# Bytes of stderr of a watch that are kept.
_LONGEST = 16384
Running = set[subprocess.Popen[bytes]]
_ABSENT = "install kubectl and put it into the PATH, or name it in the variable KUBECTL"


@dataclass(frozen=True, slots=True)
class Finished:
    """A call that has ended. Its output may hold a secret, so it is not in the repr."""

    status: int
    stdout: bytes = field(repr=False)
    stderr: str = field(repr=False)


def find_kubectl(environment: Mapping[str, str] = os.environ) -> str:
    """Return the path of kubectl; raise KubectlFailed if there is none."""
    wanted = environment.get("KUBECTL") or "kubectl"
    path = shutil.which(wanted, path=environment.get("PATH"))
    if path is None:
        raise KubectlFailed(f"there is no program {wanted!r}; {_ABSENT}")
    return path


def run(
    command: Sequence[str], body: bytes | None = None, running: Running | None = None
) -> Finished:
    """Run a command to its end; `body` is its standard input, by default the user's.

    Meanwhile it is in `running`: who kills it ends the call, also from another thread.
    """
    running = set() if running is None else running
    with _start(command, subprocess.PIPE if body is not None else None) as process:
        running.add(process)
        try:
            stdout, stderr = _communicate(process, body)
        except BaseException:
            process.kill()
            raise
        finally:
            running.discard(process)
    return Finished(process.returncode, stdout, stderr.decode(errors="replace"))


def lines(command: Sequence[str], running: Running) -> Generator[bytes, None, None]:
    """Yield lines of stdout until the command ends; raise KubectlFailed if it fails.

    Meanwhile it is in `running`: who kills it ends the lines, also from another thread.
    """
    process = _start(command, None)
    running.add(process)
    stderr = bytearray()
    drain = threading.Thread(target=_drain, args=(process, stderr), daemon=True)
    drain.start()
    try:
        assert process.stdout is not None  # noqa: S101 - for the type checker
        yield from process.stdout
        if process.wait() > 0:
            drain.join()
            raise KubectlFailed(stderr.decode(errors="replace").strip())
    finally:
        process.kill()
        process.wait()
        drain.join()
        running.discard(process)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _start(command: Sequence[str], stdin: int | None) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603 - the user's kubectl, and no shell
            command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise KubectlFailed(f"cannot run {command[0]} ({reason}); {_ABSENT}") from error


def _communicate(process: subprocess.Popen[bytes], body: bytes | None) -> tuple[bytes, bytes]:
    passed_on, before, unsent = 0, b"", body
    while True:
        try:
            return process.communicate(unsent, timeout=QUESTION)
        except subprocess.TimeoutExpired as waiting:
            unsent = None
            if body is None:
                sys.stderr.write(before[passed_on:].decode(errors="replace"))
                sys.stderr.flush()
            passed_on, before = len(before), waiting.stderr or b""


def _drain(process: subprocess.Popen[bytes], kept: bytearray) -> None:
    assert process.stderr is not None  # noqa: S101 - for the type checker
    while block := process.stderr.read1(4096):  # type: ignore[attr-defined]
        kept += block
        del kept[:-_LONGEST]
