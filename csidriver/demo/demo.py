"""The course of `make demo`: the announcement's example, from the applied Secret to the rotation.

The demo uses three processes. This one stays outside the sandbox, forwards Ctrl-C and removes the
folder that it made. Its child makes the namespaces. The grandchild is process 1 in them: when it
ends, for whatever reason, the kernel ends all its processes and removes all its mounts.
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
from dataclasses import asdict, dataclass
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

CHECK_SECONDS, REPUBLISH_SECONDS, REAPPLY_SECONDS = 0.5, 5.0, 3.0
_INTERRUPTED = 130
# The path of a socket has at most 107 bytes (unix(7)); 60 of them come after our folder.
_LONGEST_FOLDER = 30


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """The demo's flags. Times in seconds."""

    seconds: float | None  # None: until Ctrl-C
    lifetime: float
    as_json: bool
    reapply: bool
    login: bool = False


def run(settings: DemoSettings) -> int:
    """Run the demo; return 0 if every promise was kept, 1 if one was broken or the demo failed."""
    logs.setup("warning", "text")
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    parent = os.path.realpath(tempfile.gettempdir())
    # gRPC reads the path of a socket as part of a URI.
    is_plain = parent.isascii() and not set("%#?") & set(parent)
    if not is_plain or len(parent) > _LONGEST_FOLDER:
        parent = "/tmp"  # noqa: S108 - mkdtemp makes a folder that only we can enter
    folder = Path(tempfile.mkdtemp(prefix="oauth2-csi-", dir=parent))
    try:
        return _in_child(lambda: _run_in_sandbox(settings, folder))
    finally:
        # The folder is empty: the demo's files were on a tmpfs of the sandbox.
        folder.rmdir()


def _run_in_sandbox(settings: DemoSettings, folder: Path) -> int:
    sandbox.enter(with_children=True)
    return _in_child(lambda: _run_demo(settings, folder))


def _in_child(work: Callable[[], int]) -> int:
    """Do the work in a child process, forward signals to it, return its exit status."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        # The stack above belongs to the parent: the child must never unwind it.
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


def _run_demo(settings: DemoSettings, folder: Path) -> int:
    stop = threading.Event()
    stop_on_signals(stop)
    Mounts().mount_tmpfs(folder, size=256 << 20, inodes=65536)
    display = Display(live=not settings.as_json and sys.stdout.isatty())
    report = None
    with Environment(folder, settings.lifetime, stop) as environment:
        try:
            _start_pods(settings, environment, display)
            if not stop.is_set():
                report = _watch_readers(settings, environment, display, stop)
        except DriverError:
            if not stop.is_set():
                raise
    if report is None:
        return _INTERRUPTED
    display.print_report(report)
    if settings.as_json:
        print(json.dumps(asdict(report)))  # noqa: T201 - the promised last line
    return 0 if report.promises_kept else 1


def _start_pods(settings: DemoSettings, environment: Environment, display: Display) -> None:
    plugin = environment.start_roles()
    display.print_step(
        f"authorization server {environment.issuer.url}: every refresh token works once, "
        f"access tokens live {settings.lifetime:g} s"
    )
    display.print_step(
        f"refresher and node plugin are up; the kubelet stand-in registered {plugin}"
    )
    origin = "applied examples/hello-token.yaml"
    if settings.login:
        display.print_step("a login, as `kubectl oauth2-csi login hello-token` does it")
        if not sys.stdin.isatty():
            display.print_step("without a terminal: nothing goes on until somebody opens the page")
        environment.log_in()
        origin = "the login is done"
    environment.apply_secret()
    environment.wait_until_ready()
    display.print_step(f"{origin}: Secret {SOURCE} is Ready")
    pods = environment.admit_pods()
    for pod in pods:
        name = pod.before["metadata"]["name"]
        display.print_step(f"pod {name}: what the admission webhook adds to it")
        display.print_diff(pod)
    for container in environment.start_pods(pods):
        display.print_step(f"pod {container.pod} runs and reads /tmp/oauthtk_0 as fast as it can")


def _watch_readers(
    settings: DemoSettings, environment: Environment, display: Display, stop: threading.Event
) -> Report:
    started = time.monotonic()
    end = None if settings.seconds is None else started + settings.seconds
    republish, reapply = started + REPUBLISH_SECONDS, started + REAPPLY_SECONDS
    with display.table():
        while not stop.wait(CHECK_SECONDS) and (end is None or time.monotonic() < end):
            now = time.monotonic()
            if now >= republish:
                republish = now + REPUBLISH_SECONDS
                environment.kubelet.republish()
            if settings.reapply and now >= reapply:
                reapply = now + REAPPLY_SECONDS
                environment.apply_secret()
            environment.check()
            display.update(environment.rows(), environment.report())
    environment.stop_readers()
    return environment.report()
