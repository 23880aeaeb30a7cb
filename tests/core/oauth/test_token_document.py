import base64
import json
from typing import Any

import pytest

from csidriver.core.annotations import MAX_DOCUMENT
from csidriver.core.companion import MAX_ACCESS_TOKEN
from csidriver.core.oauth.token_document import MAX_KEPT, MAX_STORED, DocumentError, TokenDocument
from csidriver.core.sensitive import Sensitive

LITERALS = [
    *("1.10", "-0.0", "1E400", "1e-7", "9" * 400, "-0", "null", "true", "{ }", "[ ]"),
    *('"\\u00e9\\/"', '"\\ud800"', '"é\\n"', '"}{,:\\""'),
    *('[1.10, {"a" : [ ]}]', '{"x":1,"x":2}'),
]


def parsed(text: str) -> TokenDocument:
    return TokenDocument.parse(Sensitive(text))[0]


def of(**fields: Any) -> TokenDocument:
    return TokenDocument.parse(Sensitive(json.dumps(fields)), MAX_STORED)[0]


def exact(document: TokenDocument) -> dict[str, str]:
    return {name: raw.reveal() for name, raw in document.fields.items()}


def test_every_field_keeps_its_exact_text() -> None:
    fields = {f"x{number}": raw for number, raw in enumerate(LITERALS)} | {'é"': "1", "": "2"}
    members = ",".join(f"\t{json.dumps(name)} :\r\n{raw} " for name, raw in fields.items())
    text = f' {{"x0": "the last of a name counts",{members}}}\n'
    document = parsed(text)
    assert exact(document) == fields
    rendered = document.to_json().reveal()
    assert json.loads(rendered) == json.loads(text)
    assert exact(parsed(rendered)) == fields
    assert parsed(rendered).to_json().reveal() == rendered


@pytest.mark.parametrize(
    ("text", "trailing"),
    [
        pytest.param('\ufeff\n{"refresh_token": "r"}\n', False, id="byte order mark"),
        pytest.param('\n{\n"refresh_token": "r"\n}\n}\n', True, id="the announcement's example"),
    ],
)
def test_surplus_braces_are_tolerated_and_reported(text: str, *, trailing: bool) -> None:
    document, trailing_braces = TokenDocument.parse(Sensitive(text))
    assert document.refresh_token == Sensitive("r")
    assert trailing_braces is trailing


@pytest.mark.parametrize(
    "text",
    [
        *("", "null", "[]", "{", "{'a': 1}", '{"a": 1,}', '{"a": "line\nbreak"}'),
        *('\ufeff\ufeff{"a": 1}', ' \ufeff{"a": 1}', '{"a": 1} {"b": 2}', '{"a": 1}]'),
        *('{"a": NaN}', '{"a": [-Infinity]}', '{"a": ' + "9" * 5000 + "}"),
        '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
    ids=lambda text: repr(text[:24]),
)
def test_what_is_no_document_is_refused(text: str) -> None:
    with pytest.raises(DocumentError):
        parsed(text)


def base64_of(text: str) -> str:
    return base64.encodebytes(text.encode()).decode()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("eyJhbGciOiJub25lIn0.e30.c2ln\n", "a token alone", id="JWT"),
        pytest.param("eyJhbGciOiJub25lIn0.e30.", "a token alone", id="unsigned JWT"),
        pytest.param(base64_of('{"refresh_token": "r"}'), "encoded twice", id="base64"),
        pytest.param('{"a": eyJ.a.b}', "is not JSON: Expecting value", id="a token inside"),
    ],
)
def test_usual_mistakes_have_a_text_of_their_own(text: str, says: str) -> None:
    with pytest.raises(DocumentError, match=says):
        parsed(text)


def test_the_limit_counts_bytes() -> None:
    frame = len('{"a":""}')
    parsed('{"a":"' + "x" * (MAX_DOCUMENT - frame) + '"}')
    with pytest.raises(DocumentError):
        parsed('{"a":"' + "x" * (MAX_DOCUMENT - frame + 1) + '"}')
    with pytest.raises(DocumentError):
        parsed('{"a":"' + "é" * (MAX_DOCUMENT // 2) + '"}')


def test_a_field_nested_deeper_than_the_stack_is_no_value() -> None:
    deep = Sensitive("[" * 100_000 + "]" * 100_000)
    assert TokenDocument({"error": deep}).value("error") is None


def test_an_access_token_has_visible_characters_only() -> None:
    """Some are of Salesforce, eBay and Facebook; the last has the ends of VSCHAR."""
    usable = ("abc.DEF-1_2~+/==", "00Dx!AR8AQ.x_1", "v^1.1#i^1#r^0", "123|secret", '!~"\\')
    assert all(of(access_token=text).access_token == Sensitive(text) for text in usable)
    others = ("", None, 5, "a b", "a\n", "a:b", "a\x7f", "é", "x" * (MAX_ACCESS_TOKEN + 1))
    assert not any(of(access_token=value).access_token for value in others)
    assert of(access_token="x" * MAX_ACCESS_TOKEN).access_token is not None


def test_a_refresh_token_is_a_text_that_can_be_sent() -> None:
    useless: list[Any] = ["", None, [], True, "\ud800"]
    assert not any(of(refresh_token=raw).refresh_token for raw in useless)
    assert of(refresh_token="any thing: é").refresh_token == Sensitive("any thing: é")


def test_a_token_type_that_says_nothing_is_bearer() -> None:
    assert {of(token_type=raw).token_type for raw in ("", None, 5, "\ud800")} == {"Bearer"}
    assert (of().token_type, of(token_type="DPoP").token_type) == ("Bearer", "DPoP")


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [
        *(('"300"', 300.0), ("-1.5", -1.5), ("1e12", 1e12)),
        *((raw, None) for raw in ("null", "true", '"soon"', '"nan"', '"inf"', "1e999", "[300]")),
        *((raw, None) for raw in ("9" * 400, '"' + "9" * 5000 + '"')),
    ],
    ids=lambda value: str(value)[:12],
)
def test_seconds_survive_hostile_values(raw: str, seconds: float | None) -> None:
    assert parsed('{"expires_in": ' + raw + "}").number("expires_in") == seconds
    assert of().number("expires_in") is None


OLD = {
    "access_token": "old-at",
    "refresh_token": "old-rt",
    "expires_in": 300,
    "expires_at": 1000,
    "refresh_expires_in": 1800,
    "refresh_token_expires_in": 1800,
    "token_type": "bearer",
    "scope": "a b",
    "id_token": "old-id",
    "session_state": "s",
}
FULL = {"access_token": "new-at", "refresh_token": "new-rt", "expires_in": 600, "id_token": "i"}
NEW = FULL | {
    "refresh_expires_in": 0,
    "token_type": "Bearer",
    "scope": "",
    "custom": {},
    "fresh": None,
}
ABSENT = object()


@pytest.mark.parametrize(
    ("field", "reply", "wanted"),
    [
        *(("access_token", reply, "old-at") for reply in (None, "", 5)),
        *(("refresh_token", reply, "old-rt") for reply in (ABSENT, None, "", ["x"])),
        *(
            (field, reply, ABSENT)
            for field in ("expires_in", "id_token")
            for reply in (ABSENT, None)
        ),
        *(
            (field, reply, OLD[field])
            for field in ("scope", "token_type")
            for reply in (ABSENT, None)
        ),
        *(("refresh_expires_in", ABSENT, ABSENT), ("refresh_token_expires_in", ABSENT, ABSENT)),
        *(("expires_at", ABSENT, 2000), ("expires_at", 7, 2000), ("session_state", ABSENT, "s")),
        *((field, reply, reply) for field, reply in NEW.items()),
    ],
)
def test_merge_follows_the_table(field: str, reply: Any, wanted: Any) -> None:
    answer = {name: value for name, value in (FULL | {field: reply}).items() if value is not ABSENT}
    merged = of(**OLD).merge(of(**answer), 2000.7)
    assert (merged.value(field) if field in merged.fields else ABSENT) == wanted


def test_merge_without_tokens_leaves_their_old_expiry() -> None:
    merged = of(**OLD).merge(of(refresh_token="old-rt"), None)
    assert (merged.value("expires_at"), merged.value("refresh_expires_in")) == (1000, 1800)


def test_a_merged_document_that_no_secret_holds_keeps_what_matters() -> None:
    """The commit would be refused for ever, and with it the only copy of the refresh token."""
    old = of(refresh_token="rt-1", note="mine", blob="x" * (MAX_KEPT // 2))
    reply = of(id_token="i" * (MAX_KEPT // 2), access_token="at-2", refresh_token="rt-2")
    kept = old.merge(reply, 1_800_000_000.0)
    assert len(kept.to_json().reveal()) <= MAX_KEPT
    assert kept.refresh_token == Sensitive("rt-2")
    assert kept.access_token == Sensitive("at-2")
    assert kept.value("expires_at") == 1_800_000_000
    assert kept.value("note") == "mine"
    assert kept.value("blob") == old.value("blob"), "the first one that still fits"
    assert "id_token" not in kept.fields


def test_a_document_that_a_secret_holds_is_kept_as_it_is() -> None:
    frame = len(of(a="").to_json().reveal())
    full = of(a="x" * (MAX_KEPT - frame))
    assert full.truncated() is full
    assert of(a="x" * (MAX_KEPT - frame + 1)).truncated().fields == {}
