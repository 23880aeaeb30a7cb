"""`make plugin`: one file that runs everywhere, and the packages that bring it to users."""

import ast
import hashlib
import os
import re
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from csidriver import __version__
from csidriver.kubectl.main import COMMANDS
from tools.plugin import ARCHIVE, COMPLETION, NAME, START, WHEEL, write

HOMEPAGE = "https://project.example/oauth2-csi/"
LIBRARY = {"library.py": b"", "library-1.dist-info/licenses/LICENSE": b"free"}


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("build")
    write(folder, LIBRARY, HOMEPAGE)
    return folder


def run(program: Path, *words: str) -> str:
    """Run with nothing but the standard library."""
    command = [sys.executable, "-I", "-S", str(program), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603


def test_every_subcommand_runs_with_the_standard_library_alone(build: Path) -> None:
    assert run(build / NAME, "--version") == f"{__version__}\n"
    found = run(build / NAME, "__complete", "").splitlines()[:-1]
    assert len(found) == len(COMMANDS)
    for name in found:
        assert run(build / NAME, name, "--help").startswith(f"usage: kubectl oauth2-csi {name} ")


def test_an_older_python_says_in_one_sentence_what_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tree = ast.parse(START, feature_version=(3, 4))
    # These, Python 3.4 could parse.
    assert not re.search(r"print |\bf\"|->|nonlocal", START)
    monkeypatch.setattr(sys, "version_info", (2, 7, 18))
    monkeypatch.setattr(sys, "version", "2.7.18 (default)")
    with pytest.raises(SystemExit) as caught:
        exec(compile(tree, "start", "exec"), {})  # noqa: S102 - it is what the file does
    assert caught.value.code == (
        "kubectl oauth2-csi needs Python 3.11 or later, and python3 is 2.7.18: install a later "
        "one, or put it first into the PATH."
    )


def test_the_wheel_installs_both_commands_without_a_dependency(build: Path, tmp_path: Path) -> None:
    wheel = build / f"{WHEEL}-py3-none-any.whl"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    flags = ["--no-index", "--no-compile", f"--target={tmp_path}"]
    subprocess.run([*pip, *flags, str(wheel)], check=True)  # noqa: S603
    environment = {"PYTHONPATH": str(tmp_path), "PATH": os.environ["PATH"]}
    outputs = [
        subprocess.run(  # noqa: S603
            [tmp_path / "bin" / name, *words],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for name, *words in ([NAME, "--version"], [COMPLETION, "descr"])
    ]
    assert outputs == [f"{__version__}\n", "describe\n:4\n"]


def test_the_manifest_for_krew_names_the_archive(build: Path) -> None:
    manifest = yaml.safe_load((build / "oauth2-csi.yaml").read_text())
    assert manifest["metadata"]["name"] == "oauth2-csi"
    assert manifest["spec"]["version"] == f"v{__version__}"
    (platform,) = manifest["spec"]["platforms"]
    content = (build / ARCHIVE).read_bytes()
    assert platform["sha256"] == hashlib.sha256(content).hexdigest()
    assert platform["uri"] == f"{HOMEPAGE}releases/download/v{__version__}/{ARCHIVE}"
    (systems,) = platform["selector"]["matchExpressions"]
    assert systems["values"] == ["darwin", "linux"]
    with zipfile.ZipFile(build / ARCHIVE) as archive:
        modes = {info.filename: info.external_attr >> 16 for info in archive.infolist()}
    assert set(modes) == {platform["bin"], COMPLETION, "LICENSE"}
    assert stat.S_IMODE(modes[platform["bin"]]) == 0o755
