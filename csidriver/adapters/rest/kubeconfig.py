"""Credentials from a kubeconfig file: its current context, and only what needs no other program.

What is not understood is refused by name, never passed over: it may be what makes the file safe.
"""

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from csidriver.adapters.rest.credentials import Credentials, server_fault
from csidriver.core.sensitive import Sensitive
from csidriver.errors import InvalidSettings

_CLUSTER = frozenset({"server", "certificate-authority", "certificate-authority-data"})
_USER = frozenset(
    {
        "client-certificate",
        "client-certificate-data",
        "client-key",
        "client-key-data",
        "token",
        "tokenFile",
    }
)
# Notes of other programs, and a hint that has no meaning for us.
_HARMLESS = frozenset({"extensions", "disable-compression"})


def kubeconfig(path: Path) -> Credentials:
    """The credentials of the file's current context; raises InvalidSettings with all problems."""
    reader = _Reader(path.absolute().parent)
    credentials = reader.credentials(_document(path))
    if reader.problems:
        raise InvalidSettings(f"kubeconfig {path}", reader.problems)
    return credentials


def _document(path: Path) -> Mapping[str, Any]:
    problem = "is not a kubeconfig"
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        document, problem = None, f"cannot be read: {error.strerror}"
    except (yaml.YAMLError, ValueError, RecursionError):
        # The foreign error may hold the file and goes no further.
        document, problem = None, "is not YAML"
    if not isinstance(document, dict):
        raise InvalidSettings(f"kubeconfig {path}", [problem])
    return document


class _Reader:
    """Reads one document and collects what is wrong with it."""

    def __init__(self, folder: Path) -> None:
        self.problems: list[str] = []
        self._folder = folder

    def credentials(self, document: Mapping[str, Any]) -> Credentials:
        context = self._named(document, "context", document.get("current-context"))
        cluster = self._named(document, "cluster", context.get("cluster"))
        user = self._named(document, "user", context["user"]) if context.get("user") else {}
        self._refuse_others(cluster, "cluster", _CLUSTER)
        self._refuse_others(user, "user", _USER)
        token_file = self._text(user, "tokenFile")
        found = Credentials(
            server=self._text(cluster, "server"),
            authorities=self._material(cluster, "certificate-authority"),
            certificate=self._material(user, "client-certificate"),
            key=self._material(user, "client-key"),
            token=Sensitive(self._text(user, "token").strip()),
            token_file=self._folder / token_file if token_file else None,
        )
        if cluster and (fault := server_fault(found.server)):
            self.problems.append(f"server {fault}")
        if (found.certificate is None) != (found.key is None):
            self.problems.append("client-certificate and client-key need each other")
        return found

    def _named(self, document: Mapping[str, Any], kind: str, name: Any) -> Mapping[str, Any]:
        """The entry of `contexts`, `clusters` or `users` with this name; {} is a problem noted."""
        if kind != "context" and not name and self.problems:
            return {}
        entries = document.get(f"{kind}s")
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict) and name and entry.get("name") == name:
                content = entry.get(kind) or {}
                if isinstance(content, dict):
                    return content
        wanted = "current-context" if kind == "context" else f"{kind} of the current context"
        self.problems.append(f"{wanted}: {kind}s has no entry of that name")
        return {}

    def _refuse_others(self, entry: Mapping[str, Any], kind: str, known: frozenset[str]) -> None:
        self.problems += [
            f"{kind} key {key!r} is not supported"
            for key, value in entry.items()
            if value and key not in known | _HARMLESS
        ]

    def _text(self, entry: Mapping[str, Any], key: str) -> str:
        value = entry.get(key) or ""
        if isinstance(value, str):
            return value
        self.problems.append(f"{key} is no text")
        return ""

    def _material(self, entry: Mapping[str, Any], key: str) -> Path | Sensitive | None:
        """A PEM text: inline data comes before a file, as kubectl has it."""
        if data := self._text(entry, f"{key}-data"):
            try:
                return Sensitive(base64.b64decode(data, validate=True).decode("ascii"))
            except (binascii.Error, ValueError):
                self.problems.append(f"{key}-data is no base64 of a PEM text")
                return None
        file = self._text(entry, key)
        return self._folder / file if file else None
