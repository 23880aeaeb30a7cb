"""The instruments of the bench measure correctly."""

import os
import time
from pathlib import Path

import pytest

from bench import lease_probe, marked, naive, peer
from bench.hammer import Tally, _hammer, share_of
from bench.observer import Observer
from bench.process import environment
from bench.review import review
from csidriver.core.admission import review as admission_review
from csidriver.errors import DriverError
from csidriver.node import tokenfile


def test_a_token_tells_whether_it_is_whole() -> None:
    for size in (marked.SIZE, marked.LARGE_SIZE):
        content = marked.token(size).encode()
        assert len(content) == size
        assert marked.is_whole(content)
        assert not marked.is_whole(content[:-1])
        assert not marked.is_whole(content + b"\n")
        assert not marked.is_whole(content[:600] + marked.token(size).encode()[600:])
    assert not marked.is_whole(b"")


@pytest.mark.parametrize("way", naive.WAYS)
def test_naive_writers_write_whole_tokens_of_any_length(tmp_path: Path, way: str) -> None:
    path = tmp_path / "token"
    path.write_bytes(b"")
    for size in (marked.LARGE_SIZE, marked.SIZE):
        content = marked.token(size).encode()
        naive.WAYS[way](str(path), content)
        assert path.read_bytes() == content


def test_a_hammer_counts_reads_bad_ones_and_opens(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text(marked.token())
    bad.write_text(marked.token()[:-1])
    tally = _hammer(str(good), str(good), 1000, 60.0)
    assert (tally.reads, tally.bad, tally.tokens) == (1024, 0, 1)
    assert sum(tally.opens) == 1024
    assert sum(tally.idle_opens) == 128
    spoiled = _hammer(str(bad), str(good), 512, 60.0)
    assert (spoiled.reads, spoiled.bad) == (512, 512)
    tally.add(spoiled)
    assert (tally.reads, tally.bad, sum(tally.opens)) == (1536, 512, 1536)


def test_a_share_of_counted_opens() -> None:
    tally = Tally()
    tally.opens[3] = 998
    tally.opens[70] = 1
    tally.opens[900] = 1
    assert share_of(tally.opens, 0.5) == 3
    assert share_of(tally.opens, 0.999) == 70
    assert share_of(tally.opens, 1.0) == 900


def test_an_observer_hears_of_the_last_writer_and_opens_nothing(tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in "abc"]
    for file in files:
        Path(file).touch()
    with Observer(files) as observer:
        observer.forget()
        began = time.time_ns()
        for file in files:
            tokenfile.rewrite(Path(file), b"new")
        last = observer.last(files, 30.0)
        assert began <= last <= time.time_ns()
        observer.forget()
        with pytest.raises(DriverError, match="not all files"):
            observer.last(files, 0.0)


def test_a_missing_file_cannot_be_observed(tmp_path: Path) -> None:
    with pytest.raises(DriverError, match="No such file"):
        Observer([str(tmp_path / "nothing")])


def test_the_probe_tells_of_every_lease_and_changes_no_bytes(tmp_path: Path) -> None:
    path = tmp_path / "token"
    contents = [marked.token(size).encode() for size in (1200, 6000, 1200)]
    holds = lease_probe.alone(path, iter(contents), 3)
    assert len(holds) == 3
    assert all(0 < hold < 1e6 for hold in holds)
    assert path.read_bytes() == contents[-1]
    assert tokenfile.call_chain.__module__ == tokenfile.__name__, "it is put back"


def test_the_probe_tells_of_no_lease_that_was_refused(tmp_path: Path) -> None:
    path, told = tmp_path / "token", list[int]()
    path.write_bytes(b"old")
    before = tokenfile.call_chain
    lease_probe.probe(told.append)
    reading = os.open(path, os.O_RDONLY)
    try:
        assert tokenfile.rewrite(path, b"new") is tokenfile.RewriteResult.BUSY
    finally:
        os.close(reading)
        tokenfile.call_chain = before
    assert told == []
    assert path.read_bytes() == b"old"


def test_holds_are_read_from_a_file_that_is_being_written(tmp_path: Path) -> None:
    path = tmp_path / "holds"
    assert lease_probe.holds(path) == []
    path.write_bytes((1500).to_bytes(8, "little") + (2000).to_bytes(8, "little") + b"\1\2")
    assert lease_probe.holds(path) == [1.5, 2.0]


def test_what_is_measured_has_the_variables_of_the_image_and_compiled_byte_code() -> None:
    variables = environment(Path("/folder"))
    assert variables["MALLOC_ARENA_MAX"] == "1"
    assert variables["PYTHONPYCACHEPREFIX"] == "/folder/bytecode"
    assert variables["PYTHONDONTWRITEBYTECODE"] == ""


def test_the_review_of_the_bench_is_one_that_injects() -> None:
    response = admission_review.review(review())["response"]
    assert response["allowed"]
    assert response["patch"]


def test_without_the_go_pair_what_compares_with_it_is_skipped_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("OAUTH2_CSI_TOOLS", str(tmp_path))
    skipped = peer.skipped()
    assert "publish_ratio_go" in skipped
    assert "node_pod_ratio_go" in skipped
    assert "publish_p50_ms" not in skipped
    for name in (peer.DRIVER, peer.REGISTRAR):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    assert peer.skipped() == {}
