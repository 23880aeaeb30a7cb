"""The demo's judge must see what it is there to see."""

import os
import time
from pathlib import Path

import pytest

from csidriver.demo.jwt import sign_jwt
from csidriver.demo.reader import Reader

KEY = b"k" * 32


def token(lives: float) -> str:
    return sign_jwt({"exp": time.time() + lives, "jti": str(lives)}, KEY)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "token"


def reader(path: Path, prefix: str = "", suffix: str = "") -> Reader:
    return Reader(str(path), KEY, prefix, suffix)


def test_whole_and_valid_reads_are_good(path: Path) -> None:
    path.write_text(token(60))
    judge = reader(path)
    for chunk in (65536, 7):
        judge.read(chunk=chunk)
    assert (judge.tally.reads, judge.tally.torn, judge.tally.expired) == (2, 0, 0)


@pytest.mark.parametrize("damage", [lambda t: t[:-1], lambda _: "", lambda t: t + t])
def test_anything_but_the_whole_token_is_torn(path: Path, damage: object) -> None:
    assert callable(damage)
    path.write_text(damage(token(60)))
    judge = reader(path)
    judge.read(chunk=65536)
    assert judge.tally.torn == 1


def test_a_token_past_its_expiry_is_expired_at_every_read(path: Path) -> None:
    path.write_text(token(-1))
    judge = reader(path)
    judge.read(chunk=65536)
    judge.read(chunk=65536)
    assert judge.tally.expired == 2


def test_the_text_around_the_token_counts_too(path: Path) -> None:
    path.write_text(f"oauth2:{token(60)}:resource")
    judge = reader(path, "oauth2:", ":resource")
    judge.read(chunk=65536)
    assert judge.tally.torn == 0
    path.write_text(f"oauth2:{token(70)}")
    judge.read(chunk=65536)
    assert judge.tally.torn == 1


def test_a_replaced_file_is_another_inode(path: Path) -> None:
    path.write_text(token(60))
    judge = reader(path)
    judge.read(chunk=65536)
    draft = path.with_name("draft")
    draft.write_text(token(60))
    os.replace(draft, path)  # noqa: PTH105 - what a naive writer does
    judge.read(chunk=65536)
    assert judge.tally.inode_changes == 1
