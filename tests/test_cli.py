import contextlib
import json
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

from csidriver.adapters.mounts import Mounts
from csidriver.cli import main
from csidriver.core import names as core_names
from csidriver.demo.kubelet import Kubelet
from tests.node.plugin import Node
from tests.processes import command, metrics_of, page_at, page_of, running, served_at
from tests.refresher.bench import Bench
from tests.waiting import until

COMMANDS = ("node", "node cleanup", "refresher", "webhook", "broker", "run", "demo-issuer", "demo")


@pytest.mark.parametrize("subcommand", [[], *(c.split() for c in COMMANDS)], ids=str)
def test_help_of_every_subcommand(
    subcommand: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*subcommand, "--help"])
    shown = capsys.readouterr().out
    assert shown.startswith(" ".join(["usage: oauth2-csi", *subcommand]))
    assert subcommand or all(name in shown for name in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ([], "COMMAND"),
        (["node"], "--store"),
        (["node", "--store", "kubernetes", "--kubeconfig", "/x"], "--kubeconfig"),
        (["node", "cleanup", "--store", "dir:/x"], "--store"),
        (["node", "--store", "dir:/x", "--listen", "nowhere"], "HOST:PORT"),
        (["run", "--roles", "node,wizard", "--store", "dir:/x", "--issuers", "/x"], "wizard"),
        (["run", "--roles", "broker", "--store", "kubernetes", "--issuers", "/x"], "unknown role"),
    ],
    ids=str,
)
def test_bad_flags_are_told_with_status_2(
    arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert hint in capsys.readouterr().err


def started(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603 - our own command
        command(*arguments), capture_output=True, text=True, timeout=30, check=False
    )


def test_trouble_at_the_start_is_one_line_and_status_1(tmp_path: Path) -> None:
    issuers = tmp_path / "issuers.yaml"
    issuers.write_text("issuers: [{name: a, issuer: https://a.example}]", encoding="ascii")
    of_refresher = ("--issuers", str(issuers), "--spool-dir", str(tmp_path / "spool"))
    folder, on_cluster = ("--store", f"dir:{tmp_path}"), ("--store", "kubernetes")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        in_use = f"{address}: Address already in use"
        for text, arguments in (
            ("oauth2-csi: issuers: ", ("refresher", *folder, "--issuers", "/missing.yaml")),
            ("KUBERNETES_SERVICE_HOST", ("refresher", *on_cluster, *of_refresher)),
            ("dir:PATH", ("run", "--roles", "node,webhook", *on_cluster, *of_refresher[:2])),
            ("--tls-cert-file", ("webhook", *on_cluster, "--tls-key-file", "/x")),
            ("name.invalid", ("refresher", *folder, *of_refresher, "--listen", "name.invalid:0")),
            (in_use, ("refresher", *folder, *of_refresher, "--listen", address)),
        ):
            done = started(*arguments)
            assert done.returncode == 1, arguments
            assert text in done.stderr, arguments
            # Some have logged before.
            assert text == in_use or done.stderr.count("\n") == 1, arguments
            assert "Traceback" not in done.stderr


@pytest.mark.mounts
def test_roles_in_one_process_start_serve_metrics_and_end_promptly() -> None:
    with tempfile.TemporaryDirectory() as name, Bench(Path(name)) as bench:
        kubelet = Path(name) / "kubelet"
        Kubelet(kubelet, Mounts(), "default").prepare()
        flags = ["--store", f"dir:{bench.root}", "--issuers", str(bench.issuers)]
        flags += ["--listen", "127.0.0.1:0", "--kubelet-dir", str(kubelet)]
        flags += ["--view-dir", str(Path(name) / "view"), "--webhook-listen", "127.0.0.1:0"]
        with running("run", "--roles", "node,refresher,webhook", *flags) as (process, log):
            bench.apply("hello", bench.issuer.seed("my-app"))
            until(lambda: bench.refreshed("hello"))
            until(lambda: list(kubelet.glob("plugins_registry/*-reg.sock")))
            # The visit that has refreshed it ends a moment later.
            until(lambda: "oauth2_csi_refresher_sources 1.0" in metrics_of(log))
            assert "oauth2_csi_node_" in metrics_of(log)
            expiry = "oauth2_csi_webhook_certificate_expiry_timestamp_seconds 1."
            until(lambda: expiry in metrics_of(log))
            assert page_of(log, "healthz") == (200, "ok\n")
            assert page_of(log, "readyz") == (503, "kubelet has not registered the plugin\n")
            assert page_of(log, "secrets")[0] == 404
            assert page_at(f"http://{served_at(log, 'metrics')}", "readyz")[0] == 404
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0, log.read_text(encoding="utf-8")
            assert not list(kubelet.glob("plugins_registry/*.sock"))
        for line in log.read_text("utf-8").splitlines() if log.exists() else []:
            json.loads(line)
        for mounted in (kubelet / "plugins" / core_names.DRIVER_NAME / "tokens", kubelet):
            Mounts().unmount(mounted)


@pytest.mark.mounts
def test_cleanup_takes_volumes_away_by_force_only_and_says_what_is_gone() -> None:
    with contextlib.closing(Node()) as node:
        node.start()
        node.write_token("at-1")
        node.publish(node.request())
        cleanup = ["node", "cleanup", "--kubelet-dir", str(node.kubelet_dir)]
        cleanup += ["--view-dir", str(node.settings.view)]
        node.stop()
        in_use = started(*cleanup)
        assert (in_use.returncode, in_use.stdout, in_use.stderr.count("\n")) == (1, "", 1)
        assert in_use.stderr.startswith("oauth2-csi: ")
        assert node.content() == "at-1"
        forced = started(*cleanup, "--force")
        assert (forced.returncode, forced.stderr) == (0, "")
        assert f"unmounted {node.target()}\n" in forced.stdout
        assert not node.settings.plugin_dir.exists()


def test_a_role_that_cannot_go_on_ends_the_process_with_status_1(tmp_path: Path) -> None:
    flags = ["--store", f"dir:{tmp_path}", "--listen", "127.0.0.1:0"]
    flags += ["--kubelet-dir", str(tmp_path / ("long" * 30)), "--view-dir", str(tmp_path / "v")]
    with running("node", *flags) as (process, log):
        assert process.wait(20) == 1
        assert "Traceback" not in log.read_text(encoding="utf-8")


IMPORTS = """
import sys
from csidriver import cli
args = cli._parser().parse_args(sys.argv[1:])
from prometheus_client import CollectorRegistry
from csidriver import flags
cli.ROLES[args.roles[0]](args, flags.common_settings(args), CollectorRegistry())
print(" ".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.mark.parametrize(
    ("role", "present", "absent"),
    [
        ("node", {"grpc"}, {"kubernetes", "requests", "rich"}),
        ("refresher", {"requests"}, {"cryptography", "grpc", "jwt", "kubernetes", "google"}),
        ("webhook", {"cryptography"}, {"grpc", "kubernetes", "requests", "rich", "google"}),
    ],
)
def test_a_role_loads_only_its_own_libraries(
    tmp_path: Path, role: str, present: set[str], absent: set[str]
) -> None:
    issuers = tmp_path / "issuers.yaml"
    issuers.write_text(yaml.safe_dump({"issuers": []}), encoding="ascii")
    flags = [role, "--store", f"dir:{tmp_path}"]
    flags += ["--webhook-listen", "127.0.0.1:0"] if role == "webhook" else []
    flags += ["--issuers", str(issuers)] if role == "refresher" else []
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", IMPORTS, *flags], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert present <= loaded
    assert not absent & loaded
