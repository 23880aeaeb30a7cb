"""A TCP port for a server that starts later, and may start again."""

import contextlib
import random
import socket

# Below the ports the kernel gives to clients, so that a restart finds its port free.
_PORTS = range(20000, 30000)


def reserve_port(loopback: str = "127.0.0.1") -> socket.socket:
    """Find a free TCP port; nobody else gets it here until the returned socket is closed.

    The socket is of UDP, which leaves the TCP port to a server. Several processes choose at once.
    """
    family = socket.AF_INET6 if ":" in loopback else socket.AF_INET
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        reserved = socket.socket(family, socket.SOCK_DGRAM)
        with contextlib.suppress(OSError), socket.socket(family) as probe:
            reserved.bind((loopback, port))
            if probe.connect_ex((loopback, port)) != 0:
                return reserved
        reserved.close()
    raise OSError(f"no port is free on {loopback}")
