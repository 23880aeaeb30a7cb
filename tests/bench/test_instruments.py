"""The instruments of the bench measure correctly."""

import os
import sys
from pathlib import Path

import pytest

from bench import processes, reads
from bench.node import SIZES, is_whole, random_token
from bench.processes import Program
from csidriver.errors import DriverError
from csidriver.node import tokenfile


def test_a_token_tells_whether_it_is_whole() -> None:
    for size in SIZES:
        content = random_token(size).encode()
        assert len(content) == size
        assert is_whole(content)
        assert not is_whole(content[:-1])
        assert not is_whole(content + b"\n")
        assert not is_whole(content[:600] + random_token(size).encode()[600:])
    assert not is_whole(b"")


def test_leases_are_timed_and_no_bytes_are_changed(tmp_path: Path) -> None:
    path = tmp_path / "token"
    leases = reads.leases_alone(path, 3)
    assert len(leases) == 3
    assert all(0 < each < 1e6 for each in leases)
    assert is_whole(path.read_bytes())
    assert tokenfile.call_chain.__module__ == tokenfile.__name__, "it is put back"


def test_a_refused_lease_is_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, found = tmp_path / "token", list[int]()
    path.write_bytes(b"old")
    monkeypatch.setattr(tokenfile, "call_chain", tokenfile.call_chain)
    reads.report_leases(found.append)
    reading = os.open(path, os.O_RDONLY)
    try:
        assert tokenfile.rewrite(path, b"new") is tokenfile.RewriteResult.BUSY
    finally:
        os.close(reading)
    assert found == []
    assert path.read_bytes() == b"old"


def test_a_program_has_the_variables_of_the_image_and_says_why_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "MEMORY", tmp_path)
    code = "import os, sys; sys.exit(os.environ['MALLOC_ARENA_MAX'] + ' arena')"
    with (
        Program("one", [sys.executable, "-c", code]) as program,
        pytest.raises(DriverError, match="one ended with status 1:\n1 arena"),
    ):
        program.until(lambda: False)
