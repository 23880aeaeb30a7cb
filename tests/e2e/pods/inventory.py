"""Runs in a pod, with the project's image: prints what should not be there, as JSON."""

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

_PROGRAMS = ("cc", "gcc", "c++", "g++", "clang", "tcc", "as", "ld", "make", "pip", "pip3")
_MODULES = ("pip", "ensurepip", "setuptools", "wheel")


def files(top: str) -> Iterator[str]:
    for folder, folders, names in os.walk(top):
        folders[:] = [name for name in folders if f"{folder}/{name}" not in {"//proc", "//sys"}]
        yield from (os.path.join(folder, name) for name in names)


def gains_rights(path: str) -> bool:
    status = os.lstat(path)
    return bool(status.st_mode & 0o6000) and not os.path.islink(path)


packages = next(path for path in sys.path if path.endswith("site-packages"))
sources = [Path(path) for path in files(packages) if path.endswith(".py")]
found = {
    "programs": [name for name in _PROGRAMS if shutil.which(name)],
    "modules": [name for name in _MODULES if importlib.util.find_spec(name)],
    "gain_rights": [path for path in files("/") if gains_rights(path)],
    "not_compiled": [
        str(source)
        for source in sources
        if not Path(importlib.util.cache_from_source(str(source))).exists()
    ],
}
print(json.dumps(found))
