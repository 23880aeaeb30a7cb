"""Command line flags, read once into frozen values.

The environment gives defaults only for what Kubernetes' downward API says of the pod.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from csidriver import values
from csidriver.core import names
from csidriver.core.refresh.schedule import RequestTimeouts
from csidriver.logs import FORMATS, LEVELS
from csidriver.node.configuration import CleanupSettings, NodeSettings
from csidriver.refresher.leader_election import LeaseTimings

# Where a pod mounts its memory: what is spooled must not outlive it on a disk.
SPOOL = Path("/run/oauth2-csi/spool")


@dataclass(frozen=True, slots=True)
class Common:
    """What every role takes. `listen` is where metrics and health are served.

    `store` is the folder of the directory backend, None for the Kubernetes API, whose address and
    credentials come from `kubeconfig`, or from the pod if that is None.
    """

    store: Path | None
    kubeconfig: Path | None
    listen: tuple[str, int]
    log_level: str
    log_format: str
    driver_namespace: str
    tokens_namespace: str


@dataclass(frozen=True, slots=True)
class RefresherSettings:
    """The refresher's flags; `namespaces` are those of sources, all if there are none."""

    issuers: tuple[Path, ...]
    namespaces: tuple[str, ...]
    spool_dir: Path
    identity: str
    limits: RequestTimeouts
    term: LeaseTimings


def add_common(parser: argparse.ArgumentParser, listen: str) -> None:
    """Add the flags of `Common`; `listen` is the role's default address."""
    parser.add_argument(
        "--store",
        type=values.store,
        required=True,
        metavar="kubernetes|dir:PATH",
        help="the backend: the Kubernetes API, or a folder of manifests",
    )
    parser.add_argument(
        "--kubeconfig", type=Path, default=None, help="default: the pod's own service account"
    )
    parser.add_argument(
        "--listen",
        type=values.address,
        default=listen,
        metavar="[HOST]:PORT",
        help="where to serve /metrics, /healthz and /readyz (default %(default)s)",
    )
    parser.add_argument("--log-level", choices=LEVELS, default="info")
    parser.add_argument("--log-format", choices=FORMATS, default="json")
    parser.add_argument("--driver-namespace", default=names.DRIVER_NAMESPACE)
    parser.add_argument("--tokens-namespace", default=names.TOKENS_NAMESPACE)


def common(flags: argparse.Namespace) -> Common:
    """The flags of `add_common`."""
    return Common(
        store=flags.store,
        kubeconfig=flags.kubeconfig,
        listen=flags.listen,
        log_level=flags.log_level,
        log_format=flags.log_format,
        driver_namespace=flags.driver_namespace,
        tokens_namespace=flags.tokens_namespace,
    )


def add_node(parser: argparse.ArgumentParser, environment: Mapping[str, str], host: str) -> None:
    """Add the node role's flags."""
    _add_folders(parser)
    parser.add_argument("--node-id", default=environment.get("NODE_NAME") or host)
    parser.add_argument(
        "--publish-wait",
        type=values.seconds,
        default=10.0,
        help="how long a pod's first publish waits for a token, in seconds (default %(default)s); "
        "each further try waits twice as long, 60 s at most",
    )
    parser.add_argument("--tmpfs-size", type=values.size, default=64 << 20, help="default 64Mi")
    parser.add_argument("--tmpfs-inodes", type=int, default=16384)
    parser.add_argument("--selinux-context", default="", help="label of token files")


def node(flags: argparse.Namespace) -> NodeSettings:
    """The flags of `add_node`."""
    return NodeSettings(
        kubelet_dir=flags.kubelet_dir,
        node_id=flags.node_id,
        view=flags.view_dir,
        tokens_namespace=flags.tokens_namespace,
        publish_wait=flags.publish_wait,
        size=flags.tmpfs_size,
        inodes=flags.tmpfs_inodes,
        selinux_context=flags.selinux_context,
    )


def add_cleanup(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a cleanup."""
    _add_folders(parser)
    parser.add_argument(
        "--force", action="store_true", help="take volumes away from pods that still have them"
    )


def cleanup(flags: argparse.Namespace) -> CleanupSettings:
    """The flags of `add_cleanup`."""
    return CleanupSettings(kubelet_dir=flags.kubelet_dir, view=flags.view_dir, force=flags.force)


def _add_folders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kubelet-dir", type=Path, default=Path("/var/lib/kubelet"))
    parser.add_argument(
        "--view-dir",
        type=Path,
        default=Path("/run/oauth2-csi/view"),
        help="a folder of this container's own for the read-only view (default %(default)s)",
    )


def add_refresher(
    parser: argparse.ArgumentParser, environment: Mapping[str, str], host: str
) -> None:
    """Add the refresher role's flags."""
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
        type=values.namespace,
        action="append",
        default=[],
        help="where annotated Secrets are served, repeatable (default: everywhere)",
    )
    parser.add_argument(
        "--spool-dir",
        type=Path,
        default=None,
        help=f"default: {SPOOL} with the Kubernetes API, else the folder .spool of the store",
    )
    parser.add_argument(
        "--identity",
        default=environment.get("POD_UID") or host,
        help="names this process to others (default %(default)s)",
    )
    parser.add_argument(
        "--http-timeout", type=values.seconds, default=RequestTimeouts().http_timeout
    )
    parser.add_argument(
        "--takeover-after", type=values.seconds, default=RequestTimeouts().takeover_after
    )
    _add_lease(parser)


def _add_lease(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--lease-duration",
        type=values.seconds,
        default=LeaseTimings().duration,
        help="how long a refresher that went silent keeps others waiting (default %(default)s)",
    )
    parser.add_argument(
        "--lease-renew",
        type=values.seconds,
        default=LeaseTimings().renew,
        help="how often that is put off, in seconds (default %(default)s)",
    )


def refresher(flags: argparse.Namespace) -> RefresherSettings:
    """The flags of `add_refresher`. Raises InvalidSettings for those that do not go together."""
    return RefresherSettings(
        issuers=tuple(flags.issuers),
        namespaces=tuple(dict.fromkeys(flags.namespace)),
        spool_dir=flags.spool_dir or (flags.store / ".spool" if flags.store else SPOOL),
        identity=flags.identity,
        limits=RequestTimeouts(flags.http_timeout, flags.takeover_after),
        term=LeaseTimings(flags.lease_duration, flags.lease_renew),
    )


def add_demo_issuer(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the demo's authorization server."""
    parser.add_argument("--listen", type=values.address, default="127.0.0.1:8080")
    parser.add_argument("--issuer", default="", help="its name, if not the address it listens on")
    parser.add_argument("--seed", action="append", default=[], help="a first refresh token")
    parser.add_argument("--lifetime", type=values.seconds, default=20.0, help="of access tokens")


def add_demo(parser: argparse.ArgumentParser) -> None:
    """Add the demo's flags."""
    parser.add_argument("--seconds", type=values.seconds, default=None, help="default: until ^C")
    parser.add_argument("--lifetime", type=values.seconds, default=20.0, help="of access tokens")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--chaos", choices=["reapply"], help="re-apply the Secret all the time")
