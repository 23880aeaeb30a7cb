"""Hosts with other addresses than this one: network namespaces that only one thread enters."""

import ctypes
import errno
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from tests.waiting import until

_CLONE_NEWNET = 0x40000000  # <linux/sched.h>
_T = TypeVar("_T")

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Host:
    """The addresses that a host has, the one that Kubernetes shows as the first one first."""

    name: str
    addresses: tuple[str, ...]
    # False: as with `ipv6.disable=1`, this process makes no socket of IPv6.
    knows_ipv6: bool = True

    def __str__(self) -> str:
        return self.name


IPV4, IPV6 = "10.244.0.5", "fd00:10:244::5"
IPV6_ONLY = Host("IPv6 only", (IPV6, "::1"))
IPV4_FIRST = Host("IPv4 first", (IPV4, IPV6, "127.0.0.1", "::1"))
WITHOUT_IPV6 = Host("no IPv6 in the kernel", (IPV4, "127.0.0.1"), knows_ipv6=False)
HOSTS = (IPV6_ONLY, IPV4_FIRST, WITHOUT_IPV6)


def on(host: Host, work: Callable[[], _T]) -> _T:
    """Do the work in a thread, and so in processes and threads it starts, that are on a host.

    Skips the test where this machine does not allow that.
    """

    def enter_and_work() -> _T:
        _enter(host)
        return work()

    # The thread ends afterwards, so nothing has to lead it back.
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as threads:
        if not host.knows_ipv6:
            patch.setattr(socket, "socket", _Ipv4Socket)
        return threads.submit(enter_and_work).result()


def _enter(host: Host) -> None:
    if shutil.which("ip") is None:
        pytest.skip("ip is missing, of the package iproute2")
    if _libc.unshare(_CLONE_NEWNET) != 0:
        pytest.skip(f"network namespaces are not permitted: {os.strerror(ctypes.get_errno())}")
    _run("ip", "link", "set", "lo", "up")
    # It has these already.
    loopback = {"127.0.0.1": "127.0.0.1/8", "::1": "::1/128"}
    for address in loopback.keys() - host.addresses:
        _run("ip", "address", "delete", loopback[address], "dev", "lo")
    for address in host.addresses:
        if address not in loopback:
            length, flags = ("128", ["nodad"]) if ":" in address else ("32", [])
            _run("ip", "address", "add", f"{address}/{length}", "dev", "lo", *flags)
    for address in host.addresses:
        # The kernel adds the routes of IPv6 a little later.
        until(lambda address=address: _is_reached(address), f"a connection to {address}")  # type: ignore[misc]


def _is_reached(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.create_server((address, 0), family=family) as listener:
            socket.create_connection(listener.getsockname()[:2], timeout=0.2).close()
    except OSError:
        return False
    return True


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        pytest.skip(f"{' '.join(command)}: {done.stderr.strip()}")


class _Ipv4Socket(socket.socket):
    """A socket of a kernel without IPv6."""

    def __init__(self, family: int = -1, *arguments: Any, **options: Any) -> None:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        super().__init__(family, *arguments, **options)
