"""The demo's judge must see what it is there to see."""

import os
import time
from pathlib import Path

from csidriver.demo.jwt import sign_jwt
from csidriver.demo.reader import Reader, Tally

KEY = b"k" * 32


def token(lives: float) -> str:
    return sign_jwt({"exp": time.time() + lives, "jti": str(lives)}, KEY)


def judge(path: Path, *texts: str, prefix: str = "", suffix: str = "") -> Tally:
    """Write each text into the file, and read it."""
    reader = Reader(str(path / "token"), KEY, prefix, suffix)
    for text in texts:
        (path / "token").write_text(text)
        reader.read(chunk=7)
    return reader.tally


def test_whole_and_valid_reads_are_good(tmp_path: Path) -> None:
    tally = judge(tmp_path, token(60), token(61))
    assert (tally.reads, tally.torn, tally.expired, tally.inode_changes) == (2, 0, 0, 0)


def test_anything_but_the_whole_token_is_torn(tmp_path: Path) -> None:
    assert judge(tmp_path, token(60)[:-1], "", token(60) * 2).torn == 3


def test_a_token_past_its_expiry_is_expired_at_every_read(tmp_path: Path) -> None:
    assert judge(tmp_path, *[token(-1)] * 2).expired == 2


def test_the_text_around_the_token_counts_too(tmp_path: Path) -> None:
    texts = [f"oauth2:{token(60)}:resource", f"oauth2:{token(70)}"]
    assert judge(tmp_path, texts[0], prefix="oauth2:", suffix=":resource").torn == 0
    assert judge(tmp_path, *texts, prefix="oauth2:", suffix=":resource").torn == 1


def test_a_replaced_file_is_another_inode(tmp_path: Path) -> None:
    path, draft = tmp_path / "token", tmp_path / "draft"
    reader = Reader(str(path), KEY, "", "")
    path.write_text(token(60))
    reader.read(chunk=65536)
    draft.write_text(token(60))
    os.replace(draft, path)  # noqa: PTH105 - what a naive writer does
    reader.read(chunk=65536)
    assert reader.tally.inode_changes == 1
