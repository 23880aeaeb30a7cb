"""`make plugin`: the command line `kubectl oauth2-csi` as one file, and what brings it to users.

Everything is written to `build/`, the same bytes from the same sources: a zip application, which
any Python >= 3.11 runs; a wheel for pipx with that file in it; an archive with a manifest for Krew.
"""

import base64
import hashlib
import os
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from csidriver import __version__
from tools.steps import Failed, run

CLONE = Path(__file__).parents[1]
BUILD = CLONE / "build"
LOCK = CLONE / "requirements/plugin.lock"
MANIFEST = CLONE / "deploy/krew/oauth2-csi.yaml"
NAME, COMPLETION = "kubectl-oauth2_csi", "kubectl_complete-oauth2_csi"
WHEEL = f"oauth2_csi_kubectl-{__version__}"
ARCHIVE = f"oauth2-csi-kubectl-v{__version__}.zip"
SHEBANG = b"#!/usr/bin/env python3\n"
# What of the package the command line may import; see the contracts in pyproject.toml.
PARTS = ("__init__.py", "errors.py", "core", "kubectl")
# Python 2.7 and 3.4 must be able to parse it, or nobody reads the sentence.
START = '''"""Starts the command line, or says which Python it needs."""
import sys

if sys.version_info < (3, 11):
    sys.exit(
        "kubectl oauth2-csi needs Python 3.11 or later, and python3 is %s: install a later one, "
        "or put it first into the PATH." % sys.version.split()[0]
    )

try:
    from csidriver.kubectl.main import main

    sys.exit(main())
except KeyboardInterrupt:
    sys.exit(130)
'''
COMPLETE = f'#!/bin/sh\nexec {NAME} __complete "$@"\n'
# The wheel adds no package but this one to an environment, so it disturbs nothing there.
MODULE = '''"""The command line `kubectl oauth2-csi`, from the file beside this one."""

import sys
from pathlib import Path


def main() -> int:
    """Run the command line."""
    sys.path.insert(0, str(Path(__file__).with_name("kubectl-oauth2_csi.pyz")))
    from csidriver.kubectl.main import main as run

    return run()


def complete() -> int:
    """Print words that complete a command line."""
    sys.argv.insert(1, "__complete")
    return main()
'''
METADATA = f"""Metadata-Version: 2.1
Name: oauth2-csi-kubectl
Version: {__version__}
Summary: kubectl oauth2-csi: log in, and see OAuth2 tokens that pods mount
License: Apache-2.0
Requires-Python: >=3.11
"""
WHEEL_FILE = "Wheel-Version: 1.0\nGenerator: oauth2-csi\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
ENTRY_POINTS = f"""[console_scripts]
{NAME} = oauth2_csi_kubectl:main
{COMPLETION} = oauth2_csi_kubectl:complete
"""
# Of Zip: no earlier one exists.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_FILE, _PROGRAM = 0o100644, 0o100755

Files = Mapping[str, bytes]


def main() -> int:
    """Write everything; return the exit status."""
    try:
        libraries = fetch_libraries()
    except Failed as error:
        print(f"make plugin: {error}", file=sys.stderr)
        return 1
    homepage = os.environ.get("HOMEPAGE", "")
    for path in write(BUILD, libraries, homepage):
        print(f"* {path}")
    if not homepage:
        print(f"* no {MANIFEST.name} for Krew: HOMEPAGE=https://... says where releases are")
    return 0


def write(folder: Path, libraries: Files, homepage: str) -> list[Path]:
    """Write all files into a folder; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    program = zip_application(libraries)
    licence = (CLONE / "LICENSE").read_bytes()
    complete = COMPLETE.encode()
    archive = pack({NAME: program, COMPLETION: complete, "LICENSE": licence}, _PROGRAM)
    files = {
        NAME: program,
        COMPLETION: complete,
        f"{WHEEL}-py3-none-any.whl": wheel(program, licence),
        ARCHIVE: archive,
    }
    if homepage:
        files[MANIFEST.name] = krew_manifest(archive, homepage).encode()
    for name, content in files.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o755 if content.startswith(b"#!") else 0o644)
    return [folder / name for name in files]


def krew_manifest(archive: bytes, homepage: str) -> str:
    """Return the manifest of a release whose archive has this content."""
    text = MANIFEST.read_text(encoding="utf-8").partition("\n")[2]
    values = {
        "@VERSION@": f"v{__version__}",
        "@HOMEPAGE@": homepage.rstrip("/"),
        "@ARCHIVE@": ARCHIVE,
        "@SHA256@": hashlib.sha256(archive).hexdigest(),
    }
    for mark, value in values.items():
        text = text.replace(mark, value)
    return text


def fetch_libraries() -> Files:
    """Return the modules of the locked libraries and their licences; Failed if one is not pure."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        flags = ["--no-deps", "--no-compile", "--only-binary=:all:", "--require-hashes"]
        run([*pip, *flags, f"--target={folder}", f"--requirement={LOCK}"], cwd=CLONE)
        found = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file() and path.parts[len(Path(folder).parts)] != "bin"
        }
    if compiled := [name for name in found if name.endswith((".so", ".pyd", ".dylib"))]:
        raise Failed(f"not pure Python: {', '.join(compiled)}")
    return {name: content for name, content in found.items() if is_needed(name)}


def zip_application(libraries: Files) -> bytes:
    """Return the program: our modules, the libraries, and the start for every Python."""
    package = CLONE / "csidriver"
    modules = [
        path
        for part in PARTS
        for path in ([package / part] if part.endswith(".py") else (package / part).rglob("*.py"))
    ]
    own = {str(path.relative_to(CLONE)): path.read_bytes() for path in modules}
    return SHEBANG + pack({**libraries, **own, "__main__.py": START.encode()})


def wheel(program: bytes, licence: bytes) -> bytes:
    """Return a wheel that has no dependency and installs both commands."""
    info = f"{WHEEL}.dist-info"
    files = {
        "oauth2_csi_kubectl/__init__.py": MODULE.encode(),
        "oauth2_csi_kubectl/kubectl-oauth2_csi.pyz": program,
        f"{info}/METADATA": METADATA.encode(),
        f"{info}/WHEEL": WHEEL_FILE.encode(),
        f"{info}/entry_points.txt": ENTRY_POINTS.encode(),
        f"{info}/licenses/LICENSE": licence,
    }
    lines = [f"{name},sha256={_digest(content)},{len(content)}" for name, content in files.items()]
    record = f"{info}/RECORD"
    return pack({**files, record: "\n".join([*lines, f"{record},,", ""]).encode()})


def pack(files: Files, mode: int = _FILE) -> bytes:
    """Return a zip archive: uncompressed, as versions of zlib write different bytes."""
    with tempfile.TemporaryFile() as box:
        with zipfile.ZipFile(box, "w", zipfile.ZIP_STORED) as archive:
            for name in sorted(files):
                entry = zipfile.ZipInfo(name, _EPOCH)
                entry.create_system = 3  # Unix, so that the mode counts
                entry.external_attr = mode << 16
                archive.writestr(entry, files[name])
        box.seek(0)
        return box.read()


def is_needed(name: str) -> bool:
    is_licence = ".dist-info/" in name and "LICENSE" in name.upper()
    return is_licence or (name.endswith(".py") and ".dist-info/" not in name)


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


if __name__ == "__main__":
    sys.exit(main())
