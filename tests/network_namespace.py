"""Hosts with other addresses than this one: network namespaces that only one thread enters."""

import ctypes
import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import pytest

from tests.refresher.bench import until

_CLONE_NEWNET = 0x40000000  # <linux/sched.h>
# <linux/prctl.h>, <linux/seccomp.h>, <linux/filter.h>
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _SECCOMP_MODE_FILTER = 22, 38, 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _FAIL_WITH = 0x7FFF0000, 0x00050000
_EAFNOSUPPORT = 97
_SOCKET = {"x86_64": 41, "aarch64": 198}.get(platform.machine())
_T = TypeVar("_T")

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Host:
    """The addresses that a host has, the one that Kubernetes shows as the first one first."""

    name: str
    addresses: tuple[str, ...]
    # False: as with `ipv6.disable=1`, the kernel makes no socket of IPv6.
    knows_ipv6: bool = True

    def __str__(self) -> str:
        return self.name


IPV4, IPV6 = "10.244.0.5", "fd00:10:244::5"
IPV6_ONLY = Host("IPv6 only", (IPV6, "::1"))
IPV6_FIRST = Host("IPv6 first", (IPV6, IPV4, "::1", "127.0.0.1"))
IPV4_FIRST = Host("IPv4 first", (IPV4, IPV6, "127.0.0.1", "::1"))
IPV4_ONLY = Host("IPv4 only", (IPV4, "127.0.0.1"))
WITHOUT_IPV6 = Host("no IPv6 in the kernel", (IPV4, "127.0.0.1"), knows_ipv6=False)
HOSTS = (IPV6_ONLY, IPV6_FIRST, IPV4_FIRST, IPV4_ONLY, WITHOUT_IPV6)


def on(host: Host, work: Callable[[], _T]) -> _T:
    """Do the work in a thread, and so in processes and threads it starts, that are on a host.

    Skips the test where this machine does not allow that.
    """

    def enter_and_work() -> _T:
        _enter(host)
        return work()

    # The thread ends afterwards, so nothing has to lead it back.
    with ThreadPoolExecutor(1) as threads:
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
    if not host.knows_ipv6:
        _refuse_ipv6()


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


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("if_true", ctypes.c_ubyte),
        ("if_false", ctypes.c_ubyte),
        ("operand", ctypes.c_uint),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction)))


def _refuse_ipv6() -> None:
    """Let socket(AF_INET6) of this thread and its children fail, by a filter of seccomp(2)."""
    if _SOCKET is None:
        pytest.skip(f"the number of socket(2) on {platform.machine()} is not known")
    number, first_argument = 0, 16  # offsets in struct seccomp_data
    instructions = (_Instruction * 6)(
        _Instruction(_LOAD, 0, 0, number),
        _Instruction(_JUMP_IF_EQUAL, 0, 3, _SOCKET),
        _Instruction(_LOAD, 0, 0, first_argument),
        _Instruction(_JUMP_IF_EQUAL, 0, 1, socket.AF_INET6),
        _Instruction(_RETURN, 0, 0, _FAIL_WITH | _EAFNOSUPPORT),
        _Instruction(_RETURN, 0, 0, _ALLOW),
    )
    program = _Program(len(instructions), instructions)
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        pytest.skip(f"seccomp is not permitted: {os.strerror(ctypes.get_errno())}")
