"""Listening sockets on hosts with IPv4, with IPv6, and with both."""

import errno
import os
import socket

from csidriver.errors import InvalidSettings

# A burst of connections must not meet a full backlog.
_BACKLOG = 128
# This host has no such address, or no address of that family.
_ABSENT = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


def listen(address: tuple[str, int]) -> socket.socket:
    """Listen on an address, or with the host `::` on all addresses, IPv4 included.

    A name means the first of its addresses that this host has, IPv4 before IPv6.
    """
    host, port = address
    everywhere = host == "::" and socket.has_dualstack_ipv6()
    if host == "::" and not everywhere:
        host = "0.0.0.0"
    # Whatever the file of names says (RFC 6761 section 6.3).
    hosts = ["127.0.0.1", "::1"] if host == "localhost" else [host]
    try:
        found = [it for h in hosts for it in socket.getaddrinfo(h, port, type=socket.SOCK_STREAM)]
    except socket.gaierror:
        raise InvalidSettings("listen", [f"{host} is not an address or a known name"]) from None
    targets = sorted((family, target) for family, *_, target in found)
    while True:
        family, target = targets.pop(0)
        try:
            # Without dualstack_ipv6 a socket of IPv6 has IPV6_V6ONLY on.
            return socket.create_server(
                target, family=family, backlog=_BACKLOG, dualstack_ipv6=everywhere
            )
        except OSError as error:
            if not targets or error.errno not in _ABSENT:
                problem = f"{host_and_port(address)}: {os.strerror(error.errno or 0)}"
                raise InvalidSettings("listen", [problem]) from None


def host_and_port(address: tuple[str, int]) -> str:
    """Write an address as URLs have it."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
