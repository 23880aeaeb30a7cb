import argparse
from pathlib import Path

import pytest

from csidriver import flags, server_flags
from csidriver.config import LeaseTimings, NodeLimits

ENVIRONMENT = {"NODE_NAME": "worker-1", "POD_UID": "pod-uid", "HOME": "/root"}
STORE = ["--store", "dir:/store"]
ISSUERS = ["--issuers", "/issuers"]


def parsed(*arguments: str, environment: dict[str, str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    flags.add_common(parser, ":9808")
    flags.add_node(parser, ENVIRONMENT if environment is None else environment, "host")
    flags.add_refresher(parser, ENVIRONMENT if environment is None else environment, "host")
    server_flags.add_webhook(parser)
    return parser.parse_args([*STORE, *ISSUERS, *arguments])


def test_a_node_has_the_limits_of_the_documents_unless_told_otherwise() -> None:
    node = flags.node_settings(parsed())
    assert (node.node_id, node.kubelet_dir) == ("worker-1", Path("/var/lib/kubelet"))
    assert node.limits == NodeLimits(32, 500, 1000, 500, 1000)
    assert flags.refresher_settings(parsed()).identity == "pod-uid"


def test_health_is_at_the_host_of_metrics_unless_a_flag_says_otherwise() -> None:
    def health(*arguments: str) -> tuple[str, int]:
        return flags.common_settings(parsed(*arguments)).health_listen

    assert health("--listen", "127.0.0.1:9000") == ("127.0.0.1", 9010)
    assert health("--listen", "127.0.0.1:0") == ("127.0.0.1", 0)
    assert health("--listen", "127.0.0.1:0", "--health-listen", ":1") == ("::", 1)


def test_without_the_downward_api_the_host_stands_in() -> None:
    args = parsed(environment={"NODE_NAME": "", "POD_UID": ""})
    assert flags.node_settings(args).node_id == "host"
    assert flags.refresher_settings(args).identity == "host"


def test_the_spool_is_in_a_store_that_is_a_folder_and_else_a_mount_of_the_pod() -> None:
    assert flags.refresher_settings(parsed()).spool_dir == Path("/store/.spool")
    args = parsed("--store", "kubernetes", "--kubeconfig", "/config")
    common = flags.common_settings(args)
    assert (common.store, common.kubeconfig) == (None, Path("/config"))
    assert flags.refresher_settings(args).spool_dir == Path("/run/oauth2-csi/spool")


def test_flags_win() -> None:
    args = parsed(
        *("--listen", "127.0.0.1:0", "--log-level", "debug", "--log-format", "text"),
        *("--driver-namespace", "d", "--tokens-namespace", "t"),
        *("--kubelet-dir", "/k", "--node-id", "n", "--view-dir", "/v", "--publish-wait", "1.5"),
        *("--tmpfs-size", "1Mi", "--tmpfs-inodes", "100", "--selinux-context", "s"),
        *("--issuers", "/more", "--spool-dir", "/spool", "--identity", "i"),
        *("--http-timeout", "3", "--takeover-after", "30"),
        *("--namespace", "a", "--namespace", "b", "--namespace", "a"),
        *("--lease-duration", "4", "--lease-renew", "1.5"),
    )
    common, node = flags.common_settings(args), flags.node_settings(args)
    refresher = flags.refresher_settings(args)
    assert (common.listen, common.log_level) == (("127.0.0.1", 0), "debug")
    assert common.log_format == "text"
    assert (common.driver_namespace, common.tokens_namespace) == ("d", "t")
    assert (node.kubelet_dir, node.node_id, node.view) == (Path("/k"), "n", Path("/v"))
    assert (node.publish_wait, node.size, node.inodes) == (1.5, 1 << 20, 100)
    assert (node.tokens_namespace, node.selinux_context) == ("t", "s")
    assert refresher.issuers == (Path("/issuers"), Path("/more"))
    assert (refresher.spool_dir, refresher.identity) == (Path("/spool"), "i")
    assert (refresher.http_timeout, refresher.takeover_after) == (3.0, 30.0)
    assert refresher.namespaces == ("a", "b")
    assert refresher.lease == LeaseTimings(4.0, 1.5)


@pytest.mark.parametrize(
    ("flag", "bad"),
    [
        *(("--listen", bad) for bad in ("9808", ":x", ":65536", "::1:9808", "[::1", "[]:9808")),
        *(("--publish-wait", bad) for bad in ("", "0", "-1", "nan", "inf", "1s")),
        *(("--tmpfs-size", bad) for bad in ("0", "64M", "-1Mi", "1.5Gi")),
        *(("--store", bad) for bad in ("dir:", "/path")),
        *(("--namespace", bad) for bad in ("A", "*")),
        ("--webhook-service", "a_b"),
        ("--webhook-config", "a/b"),
        ("--tmpfs-inodes", "many"),
    ],
)
def test_bad_values_are_refused_by_name(flag: str, bad: str) -> None:
    with pytest.raises(argparse.ArgumentError, match=flag):
        parsed(f"{flag}={bad}")


def test_a_node_finds_brokers_where_the_chart_puts_them() -> None:
    args = parsed()
    assert flags.broker_of_node(args) == ("oauth2-csi-broker.oauth2-csi.svc", 9444)
    files = Path("/run/oauth2-csi/broker")
    assert (args.broker_ca, args.broker_token) == (files / "ca.crt", files / "token")
    elsewhere = parsed("--driver-namespace", "d")
    assert flags.broker_of_node(elsewhere) == ("oauth2-csi-broker.d.svc", 9444)
    assert flags.broker_of_node(parsed("--broker", "[::1]:1")) == ("::1", 1)
