"""All roles of the announcement's example on a host without IPv4."""

import json
import subprocess
import sys

import pytest

from tests.network_namespace import IPV6_ONLY, on

pytestmark = pytest.mark.mounts


def test_the_announcements_example_runs_without_ipv4() -> None:
    command = [sys.executable, "-m", "csidriver", "demo", "--json", "--seconds", "4"]
    done = on(
        IPV6_ONLY,
        lambda: subprocess.run(  # noqa: S603 - our own command
            [*command, "--lifetime", "4"], capture_output=True, text=True, timeout=60, check=False
        ),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["reads"] > 0
    assert result["rewrites"] >= 1
    assert "http://[::1]:" in done.stdout
