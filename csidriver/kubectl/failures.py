"""Which error a failed call of kubectl is, and what of its message may be shown."""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from csidriver.kubectl.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    KubectlError,
    KubectlFailed,
    NotFound,
)

# kubectl's words for a Status of the API server.
_FROM_SERVER = re.compile(r"Error from server \((\w+)\): (.*)", re.DOTALL)
_KINDS: Mapping[str, tuple[type[KubectlError], str]] = {
    "NotFound": (NotFound, ""),
    "Forbidden": (Forbidden, "ask for this right where your cluster is administered"),
    "AlreadyExists": (AlreadyExists, "take another name, or delete it first"),
    "Conflict": (Conflict, "run the command again"),
}
# Lines that do not say why a call failed.
_IGNORED = re.compile(r"(Warning: |[EWI]\d{4} )")
_LONGEST = 600
# As long a part of a secret is enough to withhold a message.
_WINDOW = 8


def to_error(stderr: str, manifest: Any = None) -> KubectlError:
    """Return the error; a message that quotes data of the manifest is withheld."""
    text = "\n".join(line for line in stderr.splitlines() if not _IGNORED.match(line)).strip()
    found = _FROM_SERVER.search(text)
    reason = found[1] if found else ""
    message = found[2] if found else text.removeprefix("error: ")
    if _quotes(message, list(_secrets(manifest))):
        message = f"refused ({reason or 'no reason'}); its message is not shown: it quotes data"
    if len(message) > _LONGEST:
        message = message[:_LONGEST] + " ..."
    kind, cure = _KINDS.get(reason, (KubectlFailed, ""))
    parts = [message or "kubectl failed without a message", cure]
    return kind("; ".join(part for part in parts if part))


def _secrets(manifest: Any) -> Iterator[str]:
    """Yield every value of `data` and `stringData`, as it is and decoded."""
    if not isinstance(manifest, Mapping):
        return
    for section in ("data", "stringData"):
        values = manifest.get(section)
        for value in values.values() if isinstance(values, Mapping) else ():
            if isinstance(value, str):
                yield value
                yield _decoded(value)


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode(errors="replace")
    except (binascii.Error, ValueError):
        return ""


def _quotes(message: str, secrets: Iterable[str]) -> bool:
    windows = {message[i : i + _WINDOW] for i in range(len(message) - _WINDOW + 1)}
    return any(window in secret for secret in secrets for window in windows)
