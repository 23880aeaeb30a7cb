import os
from pathlib import Path

import pytest

from csidriver.adapters.issuer_files import IssuerFiles
from csidriver.errors import InvalidSettings


def listing(*names: str) -> str:
    entries = (f"- name: {name}\n  issuer: https://{name}.example\n" for name in names)
    return "issuers:\n" + "".join(entries)


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def names(files: IssuerFiles) -> list[str]:
    return sorted(files.current().by_name)


def test_files_and_folders_are_merged(tmp_path: Path) -> None:
    one = put(tmp_path / "one.yaml", listing("a", "b"))
    folder = put(tmp_path / "folder" / "two.yaml", listing("c")).parent
    put(folder / "three.yaml", listing("d"))
    put(folder / ".hidden.yaml", "nonsense")
    put(folder / "README.txt", "nonsense")
    assert names(IssuerFiles([one, folder])) == ["a", "b", "c", "d"]


def test_no_issuer_is_a_warning_until_there_is_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As freshly installed: an empty list, and a ConfigMap that is absent, an empty folder."""
    listed, extra = tmp_path / "issuers", tmp_path / "extra"
    put(listed / "issuers.yaml", "issuers: []\n")
    extra.mkdir()
    files = IssuerFiles([listed, extra])
    assert names(files) == []
    assert names(files) == []
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(listed) in caplog.text
    put(extra / "mine.yaml", listing("a"))
    assert names(files) == ["a"]
    assert len(caplog.records) == 1


def test_the_same_object_until_something_changes_even_within_one_tick(tmp_path: Path) -> None:
    path = put(tmp_path / "one.yaml", listing("a"))
    files, before = IssuerFiles([path]), path.stat()
    first = files.current()
    assert files.current() is first
    put(path, listing("a", "b"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert names(files) == ["a", "b"]


def test_a_mounted_config_map_is_followed_through_its_swap(tmp_path: Path) -> None:
    for version, name in (("..v1", "a"), ("..v2", "b")):
        put(tmp_path / version / "issuers.yaml", listing(name))
    data = tmp_path / "..data"
    data.symlink_to("..v1")
    (tmp_path / "issuers.yaml").symlink_to("..data/issuers.yaml")
    files = IssuerFiles([tmp_path])
    assert names(files) == ["a"]
    (tmp_path / "next").symlink_to("..v2")
    (tmp_path / "next").rename(data)
    assert names(files) == ["b"]


BROKEN = {
    "no yaml": "issuers: [planted",
    "tag": "issuers: !!python/object:planted {}",
    "no text": b"\xff\xfe\x00\xd8",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_what_does_not_parse_is_refused_at_first_and_ignored_later(
    tmp_path: Path, content: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "one.yaml"
    broken = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(broken)
    with pytest.raises(InvalidSettings) as failure:
        IssuerFiles([path]).current()
    assert "planted" not in str(failure.value)
    put(path, listing("good"))
    files = IssuerFiles([path])
    good = files.current()
    path.write_bytes(broken)
    for _ in range(3):
        assert files.current() is good
    assert len(caplog.records) == 1, "told once"
    put(path, listing("better"))
    assert names(files) == ["better"]
    path.unlink()
    assert names(files) == ["better"]
    with pytest.raises(InvalidSettings):
        IssuerFiles([path]).current()
