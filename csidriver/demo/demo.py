"""The story `make demo` tells: the announcement's example, from the pasted Secret to the rotation.

Three processes deep: this one stays outside, forwards Ctrl-C and removes the one folder it made;
its child owns the namespaces; the grandchild is process 1 in them, so that whatever ends it ends
everything it started, and every mount goes with it.
"""

import contextlib
import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from csidriver import logs
from csidriver.adapters.mounts import Mounts
from csidriver.adapters.signals import STOP_SIGNALS, stop_on_signals
from csidriver.demo import sandbox
from csidriver.demo.display import Display
from csidriver.demo.environment import SOURCE, Environment
from csidriver.demo.report import Report
from csidriver.errors import DriverError

log = logging.getLogger(__name__)

# Seconds between two looks, two republishes and two re-applied Secrets.
LOOK_EVERY, REPUBLISH_EVERY, REAPPLY_EVERY = 0.5, 5.0, 3.0
_INTERRUPTED = 130
# Sockets lie 60 bytes below our folder, and their paths may have 107 (unix(7)).
_LONGEST_FOLDER = 30


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """The demo's flags; `seconds` is None for: until Ctrl-C. Times in seconds."""

    seconds: float | None
    lifetime: float
    as_json: bool
    reapply: bool


def run(settings: DemoSettings) -> int:
    """Run the demo; 0 when every promise was kept, 1 when not, or when it could not run."""
    logs.setup("warning", "text")
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    parent = os.path.realpath(tempfile.gettempdir())
    # gRPC reads the path of a socket as part of a URI.
    plain = parent.isascii() and not set("%#?") & set(parent)
    short = len(parent) <= _LONGEST_FOLDER
    where = parent if plain and short else "/tmp"  # noqa: S108 - mkdtemp makes a folder of its own
    place = Path(tempfile.mkdtemp(prefix="oauth2-csi-", dir=where))
    try:
        return _in_child(lambda: _inside(settings, place))
    finally:
        # Empty: what was in it lay on a tmpfs of the sandbox.
        place.rmdir()


def _inside(settings: DemoSettings, place: Path) -> int:
    sandbox.enter(with_children=True)
    return _in_child(lambda: _perform(settings, place))


def _in_child(work: Callable[[], int]) -> int:
    """Do the work in a child process, hand on signals, return its exit status."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        # Whatever happens, the stack above belongs to the parent and must not unwind here.
        try:
            os._exit(_status_of(work))
        finally:
            os._exit(1)

    def forward(number: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    for number in STOP_SIGNALS:
        signal.signal(number, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    return status if status >= 0 else 1


def _status_of(work: Callable[[], int]) -> int:
    sandbox.die_with_parent()
    try:
        return work()
    except DriverError as error:
        print(f"oauth2-csi demo: {error}", file=sys.stderr)  # noqa: T201 - the terminal is the place
        return 1
    except BrokenPipeError:
        return 1
    except Exception:
        log.exception("the demo failed")
        return 1
    finally:
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()
        sys.stderr.flush()


def _perform(settings: DemoSettings, place: Path) -> int:
    stop = threading.Event()
    stop_on_signals(stop)
    Mounts().mount_tmpfs(place, size=256 << 20, inodes=65536)
    display = Display(live=not settings.as_json and sys.stdout.isatty())
    verdict = None
    with Environment(place, settings.lifetime, stop) as stage:
        try:
            _set_up(settings, stage, display)
            if not stop.is_set():
                verdict = _run(settings, stage, display, stop)
        except DriverError:
            if not stop.is_set():
                raise
    if verdict is None:
        return _INTERRUPTED
    display.result(verdict)
    if settings.as_json:
        print(json.dumps(verdict.as_dict()))  # noqa: T201 - the promised last line
    return 0 if verdict.kept else 1


def _set_up(settings: DemoSettings, stage: Environment, display: Display) -> None:
    """Tell the story up to the running pods."""
    plugin = stage.start_roles()
    display.say(
        f"authorization server {stage.issuer.url}: every refresh token works once, "
        f"access tokens live {settings.lifetime:g} s"
    )
    display.say(f"refresher and node plugin are up; the kubelet stand-in registered {plugin}")
    stage.apply_secret()
    stage.await_ready()
    display.say(f"applied examples/hello-token.yaml: Secret {SOURCE} is Ready")
    admitted = stage.admit()
    for pod in admitted:
        name = pod.before["metadata"]["name"]
        display.say(f"pod {name}: what the admission webhook adds to it")
        display.changes(pod)
    for container in stage.start_pods(admitted):
        display.say(f"pod {container.pod} runs and reads /tmp/oauthtk_0 as fast as it can")


def _run(
    settings: DemoSettings, stage: Environment, display: Display, stop: threading.Event
) -> Report:
    """Watch the readers until the time is over or somebody has seen enough."""
    started = time.monotonic()
    end = None if settings.seconds is None else started + settings.seconds
    republish, reapply = started + REPUBLISH_EVERY, started + REAPPLY_EVERY
    with display.table():
        while not stop.wait(LOOK_EVERY) and (end is None or time.monotonic() < end):
            now = time.monotonic()
            if now >= republish:
                republish = now + REPUBLISH_EVERY
                stage.kubelet.republish()
            if settings.reapply and now >= reapply:
                reapply = now + REAPPLY_EVERY
                stage.apply_secret()
            stage.check()
            display.rows(stage.rows(), stage.measure())
    stage.stop_readers()
    return stage.measure()
