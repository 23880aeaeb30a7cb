"""Issuer configuration in YAML files and folders, read again whenever they change."""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from csidriver.core.oauth.issuers import Issuers
from csidriver.errors import InvalidSettings
from csidriver.files import stamp

log = logging.getLogger(__name__)


class IssuerFiles:
    """The issuers of all files, and of all files in folders (mounted ConfigMaps)."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._lock = threading.Lock()
        self._fingerprints: list[tuple[Path, object]] | None = None
        self._issuers = Issuers()

    def current(self) -> Issuers:
        """Return the current issuers; the same object as long as nothing has changed.

        A change that does not parse is logged once, and the previous issuers stay in force; the
        first time it raises InvalidSettings.
        """
        with self._lock:
            fingerprints = [(file, _stamp(file)) for file in self._files()]
            if fingerprints == self._fingerprints:
                return self._issuers
            try:
                self._issuers = Issuers.parse((str(f), _load(f)) for f in self._files())
                if not self._issuers.by_name:
                    # Normal after an installation, before the operator has added issuers.
                    paths = ", ".join(map(str, self._paths))
                    log.warning("no issuer is configured in %s; no token is refreshed", paths)
            except InvalidSettings as error:
                if self._fingerprints is None:
                    raise
                log.error("%s; the previous issuers stay in force", error)  # noqa: TRY400
            self._fingerprints = fingerprints
            return self._issuers

    def _files(self) -> list[Path]:
        files: list[Path] = []
        for path in self._paths:
            # The real files of a mounted ConfigMap are in folders whose names begin with a dot.
            inside = sorted(p for p in path.glob("*.yaml") if not p.name.startswith("."))
            files += inside if path.is_dir() else [path]
        return files


def _stamp(file: Path) -> object:
    try:
        return stamp(file.stat())
    except OSError:
        return None


def _load(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, ArithmeticError, RecursionError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise InvalidSettings("issuers", [f"{path}: {type(error).__name__}{where}"]) from error
