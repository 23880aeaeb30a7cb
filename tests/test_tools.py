import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tools.image import Buildah, find_builder
from tools.picture import last_screen
from tools.programs import HERE, MODULES, find, oidc_provider, source
from tools.steps import Failed, run

RUN: dict[str, Any] = {"cwd": HERE, "every": 0.02}


def program(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_picture_shows_the_last_table_and_folds_what_admission_adds() -> None:
    written = (
        "* pod\r\n    + a\r\n    + b\r\n* runs\r\n\x1b[?25lold\r\n\r\x1b[2K\x1b[1A\x1b[2Knew\r\n"
    )
    assert last_screen(f"{written}\x1b[?25h* kept\r\n") == "* pod\n    ...\n* runs\nnew\n* kept\n"


def test_assets_of_the_user_win_over_built_programs(tmp_path: Path) -> None:
    environment = {"OAUTH2_CSI_TOOLS": str(tmp_path / "cache")}
    home = next(m.home(environment) for m in MODULES if "kubectl" in m.packages)
    assert find("kubectl", environment) is None
    built = program(home, "kubectl")
    assert find("kubectl", environment) == built
    own = program(tmp_path / "assets", "kubectl")
    assert find("kubectl", {**environment, "KUBEBUILDER_ASSETS": str(own.parent)}) == own
    assert find("kubectl", {**environment, "KUBEBUILDER_ASSETS": str(tmp_path)}) == built


def test_only_etcd_may_come_from_the_path_and_the_runner_of_a_folder(tmp_path: Path) -> None:
    environment = {"OAUTH2_CSI_TOOLS": str(tmp_path / "cache"), "PATH": str(tmp_path)}
    home = oidc_provider(environment)
    home.mkdir(parents=True)
    assert find("oidc-provider", environment) is None
    program(tmp_path, "node")
    assert find("oidc-provider", environment) == home
    program(tmp_path, "kubectl")
    assert find("kubectl", environment) is None
    assert find("etcd", environment) is None
    assert find("etcd", environment | {"PATH": str(program(tmp_path, "etcd").parent)})


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


def test_a_command_that_takes_long_shows_what_it_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    end = tmp_path / "end"
    os.mkfifo(end)
    script = f"echo downloading; read -r _ < {end}; echo unpacked >&2"
    task = threading.Thread(target=run, args=(["/bin/sh", "-c", script],), kwargs=RUN)
    task.start()
    shown, deadline = "", time.monotonic() + 10
    while "downloading" not in shown and time.monotonic() < deadline:
        shown += capsys.readouterr().out
    end.write_text("\n")
    task.join()
    assert "downloading" in shown
    assert re.fullmatch(r"(  sh: \d+ s: (downloading)?\n)+", shown + capsys.readouterr().out)


def test_a_command_that_fails_shows_the_end_of_its_output() -> None:
    script = "seq 100; echo no such host >&2; exit 3"
    with pytest.raises(Failed, match=r"ended with 3:\n87\n(.*\n)+no such host$"):
        run(["/bin/sh", "-c", script], **RUN)


@pytest.mark.parametrize("base", ["", "registry.example/python"])
def test_without_a_registry_a_base_of_this_machine_is_proposed(tmp_path: Path, base: str) -> None:
    program(tmp_path, "docker").write_text(
        '#!/bin/sh\n[ "$1" = version ] && exit 0\necho "no such host" >&2; exit 125\n'
    )
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "tools.image"],
        env={"OAUTH2_CSI_TOOLS": str(tmp_path), "PATH": path, "BASE_IMAGE": base},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "make image: docker ended with 125" in done.stderr
    assert ("make image BASE_IMAGE=local" in done.stderr) == (base == "")


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
