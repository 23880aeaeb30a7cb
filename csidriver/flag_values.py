"""The spelling of flag values. Each function raises ArgumentTypeError for a value it rejects."""

import argparse
import ipaddress
import re
from pathlib import Path

from csidriver.core.kubernetes.validation import is_dns1123_label, is_dns1123_subdomain

_UNITS = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def address(text: str) -> tuple[str, int]:
    """Read `host:port`, `[address]:port` with IPv6, or `:port` for all addresses, which is `::`."""
    match = re.fullmatch(r"(\[[^\[\]]+\]|[^:\[\]]*):([0-9]+)", text)
    if match is None or int(match[2]) > 65535:  # noqa: PLR2004 - 16 bits
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT or [IPv6 address]:PORT")
    return match[1].strip("[]") or "::", int(match[2])


def seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) or float(text) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return float(text)


def size(text: str) -> int:
    """Read a number of bytes, written as a Kubernetes quantity such as `64Mi`."""
    match = re.fullmatch(r"([1-9][0-9]*)(|Ki|Mi|Gi)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 64Mi")
    return int(match[1]) * _UNITS[match[2]]


def count(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,6}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 9999999")
    return int(text)


def namespace(text: str) -> str:
    if not is_dns1123_label(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a valid namespace name")
    return text


def object_name(text: str) -> str:
    if not is_dns1123_subdomain(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a valid object name")
    return text


def service_or_host(text: str) -> str:
    if not is_dns1123_subdomain(text) and not _is_ip_address(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a Service, a host name or an address")
    return text


def store(text: str) -> Path | None:
    """Read `dir:PATH`, or `kubernetes`, which is None."""
    if text == "kubernetes":
        return None
    scheme, _, path = text.partition(":")
    if scheme != "dir" or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is neither kubernetes nor dir:PATH")
    return Path(path).absolute()


def _is_ip_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
