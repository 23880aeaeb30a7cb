import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools.image import Buildah, find_builder
from tools.programs import source


def program(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_without_go_and_apt_it_says_what_is_missing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools"],
        env={"OAUTH2_CSI_TOOLS": str(tmp_path), "PATH": str(tmp_path)},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    for name in ("kube-apiserver", "csi-sanity", "etcd"):
        assert name in done.stderr
    assert "Go is needed" in done.stderr
    assert "oidc-provider" not in done.stderr, "its tests are skipped; that is no failure"
    assert "oidc-provider: left out" in done.stdout
    assert "chromium: left out" in done.stdout


def test_the_lock_names_no_registry() -> None:
    lock = json.loads((source("oidc-provider") / "package-lock.json").read_text(encoding="utf-8"))
    packages = [package for path, package in lock["packages"].items() if path]
    assert len(packages) > 10
    assert all("integrity" in package and "resolved" not in package for package in packages)


def test_docker_without_its_daemon_builds_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "buildah")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert isinstance(find_builder(), Buildah)
    program(tmp_path, "docker").write_text("#!/bin/sh\nexit 1\n")
    assert isinstance(find_builder(), Buildah)
    program(tmp_path, "docker")
    assert not isinstance(find_builder(), Buildah)
