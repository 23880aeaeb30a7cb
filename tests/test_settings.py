import argparse
from collections.abc import Callable
from pathlib import Path

import pytest

from csidriver import settings, values
from csidriver.core import names
from csidriver.core.refresh.schedule import RequestTimeouts
from csidriver.errors import InvalidSettings
from csidriver.node.configuration import CleanupSettings
from csidriver.refresher.leader_election import LeaseTimings

ENVIRONMENT = {"NODE_NAME": "worker-1", "POD_UID": "pod-uid", "HOME": "/root"}
STORE = ["--store", "dir:/store"]
ISSUERS = ["--issuers", "/issuers"]


def parsed(*arguments: str, environment: dict[str, str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    settings.add_common(parser, ":9808")
    settings.add_node(parser, ENVIRONMENT if environment is None else environment, "host")
    settings.add_refresher(parser, ENVIRONMENT if environment is None else environment, "host")
    return parser.parse_args([*STORE, *ISSUERS, *arguments])


def test_defaults_of_every_role() -> None:
    assert settings.common(parsed()) == settings.Common(
        store=Path("/store"),
        kubeconfig=None,
        listen=("0.0.0.0", 9808),
        log_level="info",
        log_format="json",
        driver_namespace=names.DRIVER_NAMESPACE,
        tokens_namespace=names.TOKENS_NAMESPACE,
    )
    node = settings.node(parsed())
    assert (node.node_id, node.kubelet_dir) == ("worker-1", Path("/var/lib/kubelet"))
    assert (node.publish_wait, node.size, node.inodes) == (10.0, 64 << 20, 16384)
    assert settings.refresher(parsed()) == settings.RefresherSettings(
        issuers=(Path("/issuers"),),
        namespaces=(),
        spool_dir=Path("/store/.spool"),
        identity="pod-uid",
        limits=RequestTimeouts(20.0, 100.0),
        term=LeaseTimings(15.0, 5.0),
    )


def cleanup(*arguments: str) -> CleanupSettings:
    parser = argparse.ArgumentParser(exit_on_error=False)
    settings.add_cleanup(parser)
    return settings.cleanup(parser.parse_args(arguments))


def test_a_cleanup_looks_where_the_plugin_worked_unless_told_otherwise() -> None:
    plugin, cleaned = settings.node(parsed()), cleanup()
    assert (cleaned.kubelet_dir, cleaned.view) == (plugin.kubelet_dir, plugin.view)
    assert not cleaned.force
    told = cleanup("--kubelet-dir", "/k", "--view-dir", "/v", "--force")
    assert told == CleanupSettings(kubelet_dir=Path("/k"), view=Path("/v"), force=True)


@pytest.mark.parametrize("environment", [{}, {"NODE_NAME": "", "POD_UID": ""}])
def test_without_the_downward_api_the_host_stands_in(environment: dict[str, str]) -> None:
    flags = parsed(environment=environment)
    assert settings.node(flags).node_id == "host"
    assert settings.refresher(flags).identity == "host"


def test_with_the_kubernetes_api_the_spool_is_a_mount_of_the_pod() -> None:
    flags = parsed("--store", "kubernetes", "--kubeconfig", "/config")
    common = settings.common(flags)
    assert (common.store, common.kubeconfig) == (None, Path("/config"))
    assert settings.refresher(flags).spool_dir == Path("/run/oauth2-csi/spool")


def test_a_lease_that_no_renewal_can_save_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="--lease-duration"):
        settings.refresher(parsed("--lease-duration", "5"))


def test_flags_win() -> None:
    flags = parsed(
        *("--listen", "127.0.0.1:0", "--log-level", "debug", "--log-format", "text"),
        *("--driver-namespace", "d", "--tokens-namespace", "t"),
        *("--kubelet-dir", "/k", "--node-id", "n", "--view-dir", "/v", "--publish-wait", "1.5"),
        *("--tmpfs-size", "1Mi", "--tmpfs-inodes", "100", "--selinux-context", "s"),
        *("--issuers", "/more", "--spool-dir", "/spool", "--identity", "i"),
        *("--http-timeout", "3", "--takeover-after", "30"),
        *("--namespace", "a", "--namespace", "b", "--namespace", "a"),
        *("--lease-duration", "4", "--lease-renew", "1.5"),
    )
    common, node, refresher = (
        settings.common(flags),
        settings.node(flags),
        settings.refresher(flags),
    )
    assert (common.listen, common.log_level, common.log_format) == (
        ("127.0.0.1", 0),
        "debug",
        "text",
    )
    assert (common.driver_namespace, common.tokens_namespace) == ("d", "t")
    assert (node.kubelet_dir, node.node_id, node.view) == (Path("/k"), "n", Path("/v"))
    assert (node.publish_wait, node.size, node.inodes) == (1.5, 1 << 20, 100)
    assert (node.tokens_namespace, node.selinux_context) == ("t", "s")
    assert refresher.issuers == (Path("/issuers"), Path("/more"))
    assert (refresher.spool_dir, refresher.identity) == (Path("/spool"), "i")
    assert refresher.limits == RequestTimeouts(3.0, 30.0)
    assert refresher.namespaces == ("a", "b")
    assert refresher.term == LeaseTimings(4.0, 1.5)


@pytest.mark.parametrize(
    ("convert", "text", "value"),
    [
        (values.address, ":9808", ("0.0.0.0", 9808)),
        (values.address, "localhost:0", ("localhost", 0)),
        (values.address, "[::1]:65535", ("::1", 65535)),
        (values.seconds, "0.25", 0.25),
        (values.seconds, "10", 10.0),
        (values.size, "1", 1),
        (values.size, "64Mi", 64 << 20),
        (values.size, "2Gi", 2 << 30),
        (values.size, "3Ki", 3 << 10),
    ],
)
def test_values(convert: Callable[[str], object], text: str, value: object) -> None:
    assert convert(text) == value


@pytest.mark.parametrize(
    ("flag", "bad"),
    [
        *(("--listen", bad) for bad in ("", "9808", ":", ":x", ":65536", ":-1", ":\u00b2")),
        *(("--publish-wait", bad) for bad in ("", "0", "-1", "1e3", "nan", "inf", "1s", " 1")),
        *(("--tmpfs-size", bad) for bad in ("", "0", "64M", "-1Mi", "64 Mi", "1.5Gi")),
        *(("--store", bad) for bad in ("", "dir:", "/path", "Kubernetes", "Dir:/x")),
        *(("--namespace", bad) for bad in ("", "A", "a/b", "*")),
        *(("--lease-duration", bad) for bad in ("", "0", "15s")),
        ("--tmpfs-inodes", "many"),
        ("--log-level", "trace"),
        ("--log-format", "xml"),
    ],
)
def test_bad_values_are_refused_by_name(flag: str, bad: str) -> None:
    with pytest.raises(argparse.ArgumentError, match=flag):
        parsed(f"{flag}={bad}")


def test_a_relative_store_is_made_absolute() -> None:
    assert settings.common(parsed("--store", "dir:here")).store == Path.cwd() / "here"
