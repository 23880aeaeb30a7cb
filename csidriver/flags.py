"""Command-line flags of every subcommand, and the settings that they make.

The environment gives defaults only for values of Kubernetes' downward API.
"""

import argparse
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from csidriver import config
from csidriver.core import names
from csidriver.core.refresh.schedule import RequestTimeouts
from csidriver.flag_values import (
    address,
    count,
    namespace,
    seconds,
    size,
    store,
)
from csidriver.logs import FORMATS, LEVELS


def add_common(parser: argparse.ArgumentParser, listen: str, *, api: bool = True) -> None:
    """Add the flags that every role has; `listen` is the role's default address.

    `api` is False for a role that has no right in the Kubernetes API.
    """
    parser.add_argument(
        "--store",
        type=store,
        required=True,
        metavar="kubernetes|dir:PATH",
        help="the backend: the Kubernetes API, or a folder of manifests",
    )
    if api:
        help_text = "default: the pod's own service account"
        parser.add_argument("--kubeconfig", type=Path, help=help_text)
    parser.add_argument(
        "--listen",
        type=address,
        default=listen,
        metavar="[HOST]:PORT",
        help="where to serve /metrics (default %(default)s)",
    )
    parser.add_argument(
        "--health-listen",
        type=address,
        metavar="[HOST]:PORT",
        help="where to serve /healthz and /readyz (default: as --listen, its port plus 10)",
    )
    parser.add_argument("--log-level", choices=LEVELS, default="info")
    parser.add_argument("--log-format", choices=FORMATS, default="json")
    parser.add_argument("--driver-namespace", default=names.DRIVER_NAMESPACE)
    parser.add_argument("--tokens-namespace", default=names.TOKENS_NAMESPACE)


def common_settings(args: argparse.Namespace) -> config.CommonSettings:
    host, port = args.listen
    return config.CommonSettings(
        store=args.store,
        kubeconfig=getattr(args, "kubeconfig", None),
        listen=args.listen,
        health_listen=args.health_listen or (host, port and min(port + 10, 65535)),
        log_level=args.log_level,
        log_format=args.log_format,
        driver_namespace=args.driver_namespace,
        tokens_namespace=args.tokens_namespace,
    )


def add_node(parser: argparse.ArgumentParser, environment: Mapping[str, str], host: str) -> None:
    _add_folders(parser)
    parser.add_argument("--node-id", default=environment.get("NODE_NAME") or host)
    parser.add_argument(
        "--publish-wait",
        type=seconds,
        default=10.0,
        help="how long a pod's first publish waits for a token, in seconds (default %(default)s); "
        "each further try waits twice as long, 60 s at most",
    )
    parser.add_argument("--tmpfs-size", type=size, default=64 << 20, help="default 64Mi")
    parser.add_argument("--tmpfs-inodes", type=int, default=16384)
    parser.add_argument("--selinux-context", default="", help="label of token files")
    parser.add_argument(
        "--broker",
        type=address,
        metavar="HOST:PORT",
        help="where brokers give this node the tokens of its pods, unless a folder is the backend "
        f"(default: {names.BROKER}.DRIVER_NAMESPACE.svc:{config.BROKER_PORT})",
    )
    for flag, file, subject in (
        ("--broker-ca", "ca.crt", "CAs of brokers"),
        ("--broker-token", "token", "our token for brokers"),
    ):
        default, text = config.BROKER_FILES / file, f"{subject} (default %(default)s)"
        parser.add_argument(flag, type=Path, default=default, help=text)
    for limit in fields(config.NodeLimits):
        flag = f"--{limit.name.replace('_', '-')}"
        parser.add_argument(flag, type=count, default=limit.default, help="default %(default)s")


def broker_of_node(args: argparse.Namespace) -> tuple[str, int]:
    """Return host and port of the brokers."""
    default = f"{names.BROKER}.{args.driver_namespace}.svc", config.BROKER_PORT
    return args.broker or default


def node_settings(args: argparse.Namespace) -> config.NodeSettings:
    return config.NodeSettings(
        kubelet_dir=args.kubelet_dir,
        node_id=args.node_id,
        view=args.view_dir,
        tokens_namespace=args.tokens_namespace,
        publish_wait=args.publish_wait,
        size=args.tmpfs_size,
        inodes=args.tmpfs_inodes,
        selinux_context=args.selinux_context,
        limits=config.NodeLimits(*(getattr(args, f.name) for f in fields(config.NodeLimits))),
    )


def add_cleanup(parser: argparse.ArgumentParser) -> None:
    _add_folders(parser)
    parser.add_argument(
        "--force", action="store_true", help="take volumes away from pods that still have them"
    )


def cleanup_settings(args: argparse.Namespace) -> config.CleanupSettings:
    return config.CleanupSettings(
        kubelet_dir=args.kubelet_dir, view=args.view_dir, force=args.force
    )


def _add_folders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kubelet-dir", type=Path, default=Path("/var/lib/kubelet"))
    parser.add_argument(
        "--view-dir",
        type=Path,
        default=Path("/run/oauth2-csi/view"),
        help="a private folder of this container for the read-only view (default %(default)s)",
    )


def add_refresher(
    parser: argparse.ArgumentParser, environment: Mapping[str, str], host: str
) -> None:
    parser.add_argument(
        "--issuers",
        type=Path,
        action="append",
        required=True,
        metavar="FILE|FOLDER",
        help="issuer configuration, repeatable, read again on change",
    )
    parser.add_argument(
        "--namespace",
        type=namespace,
        action="append",
        default=[],
        help="a namespace whose annotated Secrets are served, repeatable (default: all)",
    )
    parser.add_argument("--tokens-per-namespace", type=count, default=1000)
    parser.add_argument(
        "--spool-dir",
        type=Path,
        help=f"default: {config.SPOOL} with the Kubernetes API, else .spool in the store's folder",
    )
    parser.add_argument(
        "--identity",
        default=environment.get("POD_UID") or host,
        help="the name of this process for other replicas (default %(default)s)",
    )
    timeouts = RequestTimeouts()
    parser.add_argument("--http-timeout", type=seconds, default=timeouts.http_timeout)
    parser.add_argument("--takeover-after", type=seconds, default=timeouts.takeover_after)
    _add_lease(parser)


def _add_lease(parser: argparse.ArgumentParser) -> None:
    lease = config.LeaseTimings()
    parser.add_argument(
        "--lease-duration",
        type=seconds,
        default=lease.duration,
        help="seconds after which another replica takes the lease of one that does not renew it "
        "(default %(default)s)",
    )
    parser.add_argument(
        "--lease-renew",
        type=seconds,
        default=lease.renew,
        help="seconds between two renewals of the lease (default %(default)s)",
    )


def refresher_settings(args: argparse.Namespace) -> config.RefresherSettings:
    return config.RefresherSettings(
        issuers=tuple(args.issuers),
        namespaces=tuple(dict.fromkeys(args.namespace)),
        spool_dir=args.spool_dir or (args.store / ".spool" if args.store else config.SPOOL),
        identity=args.identity,
        http_timeout=args.http_timeout,
        takeover_after=args.takeover_after,
        lease=config.LeaseTimings(args.lease_duration, args.lease_renew),
        tokens_per_namespace=args.tokens_per_namespace,
    )
