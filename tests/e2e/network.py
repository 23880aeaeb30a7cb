"""The network that joins the nodes: a bridge in the network namespace of this process."""

import subprocess
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from tests.e2e.addresses import MACHINE, PREFIXES, NodeAddresses

_BRIDGE = "nodes"
_GATEWAY_MAC = "02:00:00:00:00:01"
# Without these a packet of one node's pod does not reach the other node.
_FORWARDING = ("ipv4/ip_forward", "ipv6/conf/all/forwarding")


class Network:
    """Made when it starts; `root` is a root file system with the program ip."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def start(self) -> None:
        """Make the bridge, with the addresses of MACHINE."""
        self._ip("link", "add", _BRIDGE, "type", "bridge")
        self._ip("link", "set", _BRIDGE, "up")
        for address, length in zip(MACHINE, PREFIXES, strict=True):
            self._ip(
                "address", "add", f"{address}/{length}", "dev", _BRIDGE, *no_detection(address)
            )
        for name in _FORWARDING:
            Path("/proc/sys/net", name).write_text("1", encoding="ascii")

    def connect(self, node: NodeAddresses, process: int) -> None:
        """Give the network namespace of a process the device eth0, which has no address yet."""
        self._ip(
            *("link", "add", node.name, "type", "veth"),
            *("peer", "name", "eth0", "netns", str(process)),
        )
        self._ip("link", "set", node.name, "master", _BRIDGE, "up")
        for subnet, address in zip(node.pods, node.own, strict=True):
            self._ip("route", "add", subnet, "via", address)

    def _ip(self, *arguments: str) -> None:
        command = ["chroot", str(self._root), "ip", *arguments]
        subprocess.run(command, check=True)  # noqa: S603 - a program of ours


def commands_of_a_node(node: NodeAddresses) -> list[Sequence[str]]:
    """Return the commands that give addresses to a node, and its pods a bridge."""
    commands: list[Sequence[str]] = [
        ("ip", "link", "set", "lo", "up"),
        # Without an address of its own it takes the lowest of its ports: a new pod would change the
        # one that other pods remember for seconds.
        ("ip", "link", "add", "cni0", "address", _GATEWAY_MAC, "type", "bridge"),
        *(("ip", "link", "set", device, "up") for device in ("cni0", "eth0")),
    ]
    devices = (("eth0", node.own), ("cni0", node.gateways))
    for (device, addresses), number in product(devices, range(2)):
        address, length = addresses[number], PREFIXES[number]
        where = (f"{address}/{length}", "dev", device)
        commands.append(("ip", "address", "add", *where, *no_detection(address)))
    commands += [("ip", "route", "add", "default", "via", address) for address in MACHINE]
    commands += [("sysctl", "-qw", f"net/{name}=1") for name in _FORWARDING]
    return commands


def no_detection(address: str) -> tuple[str, ...]:
    """Return the flag without which an IPv6 address can be used a second or two later only."""
    return ("nodad",) if ":" in address else ()
