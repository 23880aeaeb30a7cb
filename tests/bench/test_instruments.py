from pathlib import Path

import pytest

from bench import peer
from bench.node import SIZES, is_whole, random_token


def test_a_token_tells_whether_it_is_whole() -> None:
    for size in SIZES:
        content = random_token(size).encode()
        assert len(content) == size
        assert is_whole(content)
        assert not is_whole(content[:-1])
        assert not is_whole(content[:600] + random_token(size).encode()[600:])


def test_without_its_programs_there_is_no_pair_and_its_numbers_are_skipped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OAUTH2_CSI_TOOLS", str(tmp_path))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with peer.running() as pair:
        assert pair is None
    row = peer.compare("publish_ratio_go", [], ">= 5")
    assert row.verdict == f"skipped: no {peer.DRIVER} and no {peer.REGISTRAR}"
