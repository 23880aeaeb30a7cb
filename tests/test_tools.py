import json

from tools.programs import source


def test_the_lock_names_no_registry() -> None:
    lock = json.loads((source("oidc-provider") / "package-lock.json").read_text(encoding="utf-8"))
    packages = [package for path, package in lock["packages"].items() if path]
    assert len(packages) > 10
    assert all("integrity" in package and "resolved" not in package for package in packages)
