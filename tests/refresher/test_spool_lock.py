import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from csidriver.errors import SpoolFailed
from csidriver.refresher.spool_lock import SpoolLock


def test_a_folder_keeps_its_name_and_no_other_has_it(tmp_path: Path) -> None:
    name = SpoolLock(tmp_path / "a" / "spool").folder_id()
    assert name
    assert SpoolLock(tmp_path / "a" / "spool").folder_id() == name
    assert SpoolLock(tmp_path / "b").folder_id() != name


def test_a_name_that_a_power_failure_left_empty_is_given_anew(tmp_path: Path) -> None:
    (tmp_path / ".owner").write_text("", encoding="ascii")
    name = SpoolLock(tmp_path).folder_id()
    assert name
    assert SpoolLock(tmp_path).folder_id() == name


def test_a_name_survives_a_power_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
    SpoolLock(tmp_path).folder_id()
    assert synced == [(tmp_path / ".owner").stat().st_ino, tmp_path.stat().st_ino]


@pytest.mark.parametrize("left", [(), (".owner",)], ids=["new", "empty"])
def test_processes_that_come_at_once_agree(tmp_path: Path, left: tuple[str, ...]) -> None:
    (tmp_path / "spool").mkdir()
    for file in left:
        (tmp_path / "spool" / file).touch()
    with ThreadPoolExecutor(16) as pool:
        names = set(pool.map(lambda _: SpoolLock(tmp_path / "spool").folder_id(), range(64)))
    assert len(names) == 1
    assert [file.name for file in (tmp_path / "spool").iterdir()] == [".owner"]


def test_one_at_a_time_works_with_a_folder(tmp_path: Path) -> None:
    first, second = SpoolLock(tmp_path), SpoolLock(tmp_path)
    assert first.acquire()
    assert first.acquire()
    assert not second.acquire()
    first.release()
    first.release()
    assert second.acquire()
    assert not first.acquire()


@pytest.mark.parametrize("call", [SpoolLock.folder_id, SpoolLock.acquire])
def test_a_folder_that_is_none_is_an_error(
    tmp_path: Path, call: Callable[[SpoolLock], object]
) -> None:
    (tmp_path / "file").write_text("", encoding="ascii")
    with pytest.raises(SpoolFailed, match="file"):
        call(SpoolLock(tmp_path / "file"))
