"""The addresses of the cluster, of both families; those of the first family come first.

A bridge of the machine joins the nodes. It has the addresses of MACHINE, where the control plane
and the tests' authorization servers listen, and routes between the nodes' pods.
"""

import os
from dataclasses import dataclass

# "4" or "6"; the first one is that of the API server, of probes and of Services by default.
FIRST = os.environ.get("E2E_FIRST") or "4"
if FIRST not in {"4", "6"}:
    raise ValueError(f"E2E_FIRST is 4 or 6, not {FIRST!r}")


def ordered(ipv4: str, ipv6: str) -> tuple[str, str]:
    return (ipv4, ipv6) if FIRST == "4" else (ipv6, ipv4)


MACHINE = ordered("10.10.0.1", "fd00:10:10::1")
SERVICES = ordered("10.0.0.0/24", "fd00:10::/112")
PODS = ordered("10.244.0.0/16", "fd00:10:244::/48")
# Of an address on the bridge: one subnet with all nodes.
PREFIXES = ordered("24", "64")


@dataclass(frozen=True, slots=True)
class NodeAddresses:
    """Of node number 1, 2 ..."""

    number: int

    @property
    def name(self) -> str:
        return f"node-{self.number}"

    @property
    def own(self) -> tuple[str, str]:
        """On the bridge."""
        return ordered(f"10.10.0.{10 + self.number}", f"fd00:10:10::{10 + self.number}")

    @property
    def pods(self) -> tuple[str, str]:
        """The subnets of its pods."""
        return ordered(f"10.244.{self.number}.0/24", f"fd00:10:244:{self.number}::/64")

    @property
    def gateways(self) -> tuple[str, str]:
        """The node, as its pods reach it."""
        return ordered(f"10.244.{self.number}.1", f"fd00:10:244:{self.number}::1")


def url(address: str, port: int) -> str:
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
