"""The command `oauth2-csi` and its subcommands."""

import argparse
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence

from csidriver import __version__, flags, logs, roles, server_flags
from csidriver.adapters import core_dumps
from csidriver.adapters.descriptors import raise_limit
from csidriver.adapters.signals import stop_on_signals
from csidriver.core.sensitive import Sensitive
from csidriver.demo import demo_flags
from csidriver.errors import DriverError, InvalidSettings
from csidriver.listener import host_and_port
from csidriver.roles import Role

log = logging.getLogger(__name__)

ROLES: Mapping[str, roles.Builder] = {
    "node": roles.node,
    "refresher": roles.refresher,
    "webhook": roles.webhook,
    "broker": roles.broker,
}
# The broker is for the Kubernetes API only, where a process has one role.
COMBINABLE = ("node", "refresher", "webhook")
CLEANUP = "node cleanup"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    args = parser.parse_args(_joined(sys.argv[1:] if arguments is None else arguments))
    run: Callable[[argparse.Namespace], int] = args.run
    try:
        return run(args)
    except DriverError as error:
        print(f"oauth2-csi: {error}", file=sys.stderr)  # noqa: T201 - a command prints its errors
        return 1
    except OSError as error:
        # The kernel's text only: the error may name anything.
        print(f"oauth2-csi: {os.strerror(error.errno or 0)}", file=sys.stderr)  # noqa: T201
        return 1


def _joined(arguments: Sequence[str]) -> list[str]:
    """Join the words of `node cleanup`, a command of its own: `node` requires more flags."""
    is_cleanup = list(arguments[:2]) == CLEANUP.split()
    return [CLEANUP, *arguments[2:]] if is_cleanup else list(arguments)


def _parser() -> argparse.ArgumentParser:
    environment, host = os.environ, socket.gethostname()
    parser = argparse.ArgumentParser(prog="oauth2-csi", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    epilog = f"See also: `oauth2-csi {CLEANUP} --help` removes the driver from a node."
    node = commands.add_parser("node", help="the CSI node plugin", epilog=epilog)
    flags.add_common(node, ":9808", api=False)
    flags.add_node(node, environment, host)
    node.set_defaults(run=_run_roles, roles=["node"])

    about = "remove the driver from a node: mounts, token files, folders, sockets"
    cleanup = commands.add_parser(CLEANUP, help=about, description=about)
    flags.add_cleanup(cleanup)
    cleanup.set_defaults(run=_run_cleanup)

    refresher = commands.add_parser("refresher", help="the refresher of annotated Secrets")
    flags.add_common(refresher, ":9809")
    flags.add_refresher(refresher, environment, host)
    refresher.set_defaults(run=_run_roles, roles=["refresher"])

    _add_servers(commands)

    both = commands.add_parser("run", help="several roles in one process, for development")
    both.add_argument("--roles", type=_roles, required=True, help=f"of {', '.join(COMBINABLE)}")
    flags.add_common(both, ":9808")
    flags.add_node(both, environment, host)
    flags.add_refresher(both, environment, host)
    server_flags.add_webhook(both)
    both.set_defaults(run=_run_roles)

    _add_demos(commands)
    return parser


def _add_servers(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    webhook = commands.add_parser("webhook", help="the admission webhook for annotated pods")
    flags.add_common(webhook, ":9810")
    server_flags.add_webhook(webhook)
    webhook.set_defaults(run=_run_roles, roles=["webhook"])

    broker = commands.add_parser("broker", help="the broker that gives nodes their pods' tokens")
    flags.add_common(broker, ":9811")
    server_flags.add_broker(broker)
    broker.set_defaults(run=_run_roles, roles=["broker"])


def _add_demos(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    issuer = commands.add_parser("demo-issuer", help="the demo's authorization server")
    demo_flags.add_demo_issuer(issuer)
    issuer.set_defaults(run=_run_demo_issuer)

    demo = commands.add_parser("demo", help="a demo of the announcement's example")
    demo_flags.add_demo(demo)
    demo.set_defaults(run=_run_demo)


def _roles(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    unknown = sorted(set(names) - set(COMBINABLE))
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown role: {', '.join(unknown)}")
    return names


def _run_roles(args: argparse.Namespace) -> int:
    from prometheus_client import CollectorRegistry

    from csidriver.adapters.probe_server import HealthServer, MetricsServer

    common = flags.common_settings(args)
    if common.store is None and len(args.roles) > 1:
        # On a cluster each role has its own rights, and no others.
        raise InvalidSettings("run", ["several roles in one process need --store dir:PATH"])
    logs.setup(common.log_level, common.log_format)
    raise_limit()
    core_dumps.forbid()
    registry = CollectorRegistry()
    stop = threading.Event()
    stop_on_signals(stop)  # first: gRPC starts threads as soon as a server exists
    running = [ROLES[name](args, common, registry) for name in args.roles]
    checks = {
        "healthz": lambda: [problem for role in running for problem in role.alive()],
        "readyz": lambda: [problem for role in running for problem in role.ready()],
    }
    metrics = MetricsServer(common.listen, registry)
    health = HealthServer(common.health_listen, checks)
    for server in (metrics, health):
        server.start()
    log.info("metrics on http://%s/metrics", host_and_port(metrics.address))
    log.info("health on http://%s/healthz", host_and_port(health.address))
    try:
        return _run_all(running, stop)
    finally:
        for server in (metrics, health):
            server.stop()


def _run_all(running: Sequence[Role], stop: threading.Event) -> int:
    """Run roles side by side until `stop` is set or one of them fails."""
    failures: list[BaseException] = []

    def run(role: Role) -> None:
        try:
            role.run(stop)
        except DriverError as error:
            log.error("%s", error)  # noqa: TRY400 - the text says everything
            failures.append(error)
        except Exception as error:
            log.exception("a role ended unexpectedly")
            failures.append(error)
        finally:
            stop.set()

    threads = [threading.Thread(target=run, args=(role,)) for role in running]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 1 if failures else 0


def _run_cleanup(args: argparse.Namespace) -> int:
    from csidriver.adapters.mounts import Mounts
    from csidriver.node.cleanup import Cleanup

    problems = Cleanup(flags.cleanup_settings(args), Mounts(), print).run()
    for problem in problems:
        print(f"oauth2-csi: {problem}", file=sys.stderr)  # noqa: T201 - a command prints its errors
    return 1 if problems else 0


def _run_demo_issuer(args: argparse.Namespace) -> int:
    from csidriver.demo.issuer import serve

    logs.setup("info", "text")
    stop = threading.Event()
    stop_on_signals(stop)
    seeds = [Sensitive(seed) for seed in args.seed]
    serve(args.listen, args.issuer, seeds, args.lifetime, stop)
    return 0


def _run_demo(args: argparse.Namespace) -> int:
    from csidriver.demo.demo import DemoSettings, run

    return run(
        DemoSettings(args.seconds, args.lifetime, args.json, args.chaos == "reapply", args.login)
    )
