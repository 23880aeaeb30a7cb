import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from csidriver.core.names import SourceRef
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.refresh.effects import SpoolEntry
from csidriver.core.sensitive import Sensitive
from csidriver.errors import SpoolFailed
from csidriver.refresher.spool import Spool, SpoolLock

REF = SourceRef("ns", "hello")
REPLY = TokenDocument.parse(Sensitive('{"refresh_token": "planted", "odd": [1.10, "\\ud800"]}'))[0]

SENT = SpoolEntry("nonce", 1.0, None, "hash")
REPLIED = SpoolEntry("nonce", 1.0, REPLY, "hash")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "spool"


def path(folder: Path, ref: SourceRef = REF) -> Path:
    return folder / f"{ref.id}.json"


def test_another_process_reads_what_was_written(folder: Path) -> None:
    for entry in (SENT, REPLIED):
        Spool(folder).write(REF, entry)
        assert Spool(folder).read(REF) == entry
    assert Spool(folder).read(SourceRef("ns", "other")) is None


def test_only_the_owner_may_look_and_a_symlink_is_not_followed(
    folder: Path, tmp_path: Path
) -> None:
    Spool(folder).write(REF, SENT)
    assert stat.S_IMODE(path(folder).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    target = tmp_path / "target"
    target.write_text("precious", encoding="ascii")
    path(folder).with_suffix(".draft").symlink_to(target)
    with pytest.raises(SpoolFailed):
        Spool(folder).write(REF, SENT)
    assert target.read_text(encoding="ascii") == "precious"


@pytest.mark.parametrize(
    "content",
    [
        '{"nonce": "planted"}',
        '{"nonce": "planted", "sentAt": "planted", "reply": null}',
        '{"nonce": "planted", "sentAt": 1, "reply": "{planted"}',
        b"\xff\xfe",
    ],
    ids=["keys", "number", "reply", "UTF-8"],
)
def test_a_damaged_entry_is_a_failure_that_quotes_nothing(
    folder: Path, content: str | bytes
) -> None:
    folder.mkdir(parents=True)
    path(folder).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SpoolFailed) as failure:
        Spool(folder).read(REF)
    assert "planted" not in repr(failure.value)


def test_a_folder_that_cannot_be_used_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="ascii")
    spool = Spool(tmp_path / "file")
    calls: list[Callable[[], object]] = [
        lambda: spool.write(REF, SENT),
        lambda: spool.read(REF),
        lambda: spool.clear(REF),
        SpoolLock(tmp_path / "file").folder_id,
        SpoolLock(tmp_path / "file").acquire,
    ]
    for call in calls:
        with pytest.raises(SpoolFailed, match="file"):
            call()


def test_a_reply_that_cannot_be_written_stays_in_memory_until_it_can(folder: Path) -> None:
    spool = Spool(folder)
    spool.write(REF, SENT)
    draft = path(folder).with_suffix(".draft")
    draft.mkdir()  # where nothing can be written then
    spool.write(REF, REPLIED)
    assert spool.read(REF) == REPLIED
    assert spool.ids() == {REF.id}
    assert Spool(folder).read(REF) == SENT
    draft.rmdir()
    assert spool.read(REF) == REPLIED
    assert Spool(folder).read(REF) == REPLIED


def test_the_ids_are_those_of_the_entries(folder: Path) -> None:
    spool, other = Spool(folder), SourceRef("ns", "other")
    assert spool.ids() == set()
    spool.write(REF, SENT)
    path(folder, other).with_suffix(".draft").touch()
    spool.write(other, REPLIED)
    assert spool.ids() == {REF.id, other.id}
    for _ in range(2):
        spool.clear(other)
    assert spool.ids() == {REF.id}


def test_an_entry_is_on_disk_with_its_name_on_return(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry that a loss of power takes away would read as "nothing was sent"."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
    Spool(folder).write(REF, SENT)
    assert synced == [path(folder).stat().st_ino, folder.stat().st_ino]


def test_processes_that_come_at_once_agree(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool/.owner").touch()
    with ThreadPoolExecutor(16) as pool:
        names = set(pool.map(lambda _: SpoolLock(tmp_path / "spool").folder_id(), range(64)))
    assert len(names) == 1
    assert [file.name for file in (tmp_path / "spool").iterdir()] == [".owner"]
    assert names == {SpoolLock(tmp_path / "spool").folder_id()}
    assert SpoolLock(tmp_path / "other").folder_id() not in {"", *names}
