import copy
import json
import pickle
import sys
import traceback
from dataclasses import asdict, dataclass

import pytest

from csidriver.core.sensitive import Sensitive

TEXT = "rt-super-secret"
SECRET = Sensitive(TEXT)


@dataclass(frozen=True, slots=True)
class Holder:
    name: str
    token: Sensitive


class Failure(Exception):
    pass


def test_a_secret_does_not_show() -> None:
    shown = [repr(SECRET), str(SECRET), f"{SECRET!r:>40}", f"{SECRET:>40}"]
    shown += ["%s %r" % (SECRET, SECRET), repr(Holder("n", SECRET))]  # noqa: UP031 - on purpose
    shown += [repr({"a": [SECRET]}), str(Failure("refused", SECRET))]
    assert all(TEXT not in text and "***" in text for text in shown)


def test_a_traceback_with_locals_does_not_show_it() -> None:
    def fail(token: Sensitive) -> None:
        raise Failure(token, Holder("n", token))

    with pytest.raises(Failure) as caught:
        fail(SECRET)
    lines = traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
    text = "".join(lines)
    assert TEXT not in text
    assert "Sensitive(***)" in text


def test_it_is_not_serialised() -> None:
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError) as caught:
            attempt(SECRET)
        assert TEXT not in str(caught.value)
    with pytest.raises(TypeError):
        asdict(Holder("n", SECRET))


def test_it_equals_by_text_and_nothing_else() -> None:
    assert Sensitive("a") == Sensitive("a")
    assert Sensitive("a") != Sensitive("b")
    assert Sensitive("\ud800") != Sensitive("\ud801")
    assert Sensitive("a") != "a"
    assert len({Sensitive("a"), Sensitive("a"), Sensitive("b")}) == 2


def test_its_hash_is_the_start_of_sha_256() -> None:
    assert Sensitive("abc").hash() == "ba7816bf8f01cfea"
    assert len(Sensitive("\ud800").hash()) == 16
    assert Sensitive(TEXT).reveal() == TEXT


@pytest.mark.parametrize("text", ["", "a", "é", "\U0001f600", "\ud800", "\ud83d\ude00", "\ufeff"])
def test_every_text_survives(text: str) -> None:
    assert Sensitive(text).reveal() == text
    assert Sensitive(text).size == len(text.encode("utf-8", "surrogatepass"))


def test_one_emoji_makes_no_other_character_larger() -> None:
    text = "x" * 100_000 + "\U0001f600"
    assert sys.getsizeof(text) > 400_000
    assert sys.getsizeof(Sensitive(text)._utf8) < 101_000
