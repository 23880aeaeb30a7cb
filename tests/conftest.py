"""Fixtures and hooks of all tests. The tests run in their own mount namespace."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from csidriver.demo import sandbox
from tools.programs import find

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster
    from tests.cluster.controlplane import ControlPlane
    from tests.leak_detection import LogCollector

# These need a cluster: `make e2e`.
collect_ignore = [] if os.environ.get("E2E_CLUSTER") else ["e2e"]

# Tests that keep processors busy or have little time: one after another, on one worker.
_BUSY = tuple(f"tests/cluster/test_{name}.py" for name in ("kill", "soak", "tenants"))

# The same examples in every run, however slow the machine: what fails for one fails for all.
hypothesis.settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")

_sandbox_error = ""


def pytest_configure(config: pytest.Config) -> None:
    """Enter the namespace before anything has started a thread.

    A worker of pytest-xdist already has a thread, so it cannot make a user namespace. It does not
    need one: it is root in the namespace of the process that started it, and root may make a mount
    namespace at any time. All threads but xdist's own start later and are in it.
    """
    global _sandbox_error  # noqa: PLW0603 - once per process, like the namespace itself
    config.addinivalue_line("markers", "mounts: needs mount(2), in a namespace or as root")
    config.addinivalue_line("markers", "other_uids: needs to give files to other users (root)")
    config.addinivalue_line("markers", "tools(*names): needs programs that `make tools` brings")
    try:
        sandbox.enter()
    except sandbox.SandboxUnavailable as error:
        _sandbox_error = str(error)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two workers for each processor, as many tests wait most of the time."""
    return min(2 * len(os.sched_getaffinity(0)), 8)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Distribute single tests, but by files where they need an API server, and these first.

    Every worker starts an API server when it needs one.

    The marker xdist_group would do, but with pytest 9.2 pytest-xdist 3.8 ignores it (its issue
    1386).
    """
    if config.getvalue("dist") != "load":
        return None
    from xdist.scheduler import LoadScopeScheduling

    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = _bundle
    return scheduler


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests that this machine does not allow, with the reason."""
    if item.get_closest_marker("mounts") and _sandbox_error:
        pytest.skip(_sandbox_error)
    if item.get_closest_marker("other_uids") and _mapped_ids() <= 1:
        pytest.skip("an ordinary user cannot give files to other users; run as root")
    needed = [name for marker in item.iter_markers("tools") for name in marker.args]
    if missing := [name for name in needed if find(name) is None]:
        pytest.skip(f"{', '.join(missing)} missing; run `make tools`")


@pytest.fixture(scope="session")
def control_plane() -> Iterator["ControlPlane"]:
    from tests.cluster.controlplane import ControlPlane

    plane = ControlPlane()
    try:
        plane.start()
        yield plane
    finally:
        plane.close()


@pytest.fixture(scope="session")
def cluster(control_plane: "ControlPlane") -> "Cluster":
    """The same API server with the objects of `deploy/`; a test resets the namespaces it uses."""
    from tests.cluster.cluster import Cluster

    return Cluster(control_plane)


@pytest.fixture
def logs() -> Iterator["LogCollector"]:
    """The records of all loggers, libraries included, at DEBUG."""
    from tests.leak_detection import collect_logs

    with collect_logs() as collector:
        yield collector


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With REQUIRE_TOOLS=1, as in CI, a skip is a failure."""
    report = yield
    if (
        report.skipped
        and not hasattr(report, "wasxfail")
        and os.environ.get("REQUIRE_TOOLS") == "1"
    ):
        report.outcome = "failed"
    return report


def _bundle(nodeid: str) -> str:
    """Return the name of the group of tests that one worker runs together with this one."""
    if nodeid.startswith(_BUSY):
        return "busy on the control plane"
    file = nodeid.partition("::")[0]
    on_plane = file.startswith("tests/cluster/") or nodeid.endswith("[kubernetes]")
    return f"{file} on the control plane" if on_plane else nodeid


def _mapped_ids() -> int:
    """Return the number of user ids in this user namespace."""
    lines = Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[2]) for line in lines)
