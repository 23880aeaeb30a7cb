"""How the values of flags are spelled; each function raises ArgumentTypeError for what is not."""

import argparse
import re
from pathlib import Path

from csidriver.core.kubernetes.validation import is_dns1123_label

_UNITS = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def address(text: str) -> tuple[str, int]:
    """`host:port`, `:port` for all addresses."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004 - 16 bits
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]") or "0.0.0.0", int(port)


def seconds(text: str) -> float:
    """A positive number of seconds."""
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) or float(text) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return float(text)


def size(text: str) -> int:
    """Bytes, written as a Kubernetes quantity such as `64Mi`."""
    match = re.fullmatch(r"([1-9][0-9]*)(|Ki|Mi|Gi)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 64Mi")
    return int(match[1]) * _UNITS[match[2]]


def namespace(text: str) -> str:
    """The name of a Kubernetes namespace."""
    if not is_dns1123_label(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no namespace")
    return text


def store(text: str) -> Path | None:
    """`kubernetes`, which is None, or `dir:PATH`."""
    if text == "kubernetes":
        return None
    kind, _, path = text.partition(":")
    if kind != "dir" or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is neither kubernetes nor dir:PATH")
    return Path(path).absolute()
