import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csidriver.core.annotations import MAX_DOCUMENT
from csidriver.core.companion import MAX_ACCESS_TOKEN
from csidriver.core.oauth.token_document import (
    MAX_KEPT,
    DocumentError,
    TokenDocument,
)
from csidriver.core.sensitive import Sensitive

SPACES = st.lists(st.sampled_from(["", " ", "\t", "\r\n "]), min_size=4, max_size=4)


LITERALS = st.sampled_from(
    [
        *("1.10", "-0.0", "1E400", "1e-7", "9" * 400, "-0", "null", "true", "{ }", "[ ]"),
        *('"\\u00e9\\/"', '"\\ud800"', '"é\\n"', '"}{,:\\""'),
        *('[1.10, {"a" : [ ]}]', '{"x":1,"x":2}'),
    ]
)


RANDOM = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=3,
)  # fmt: skip


NAMES = st.sampled_from(
    ["access_token", "refresh_token", "expires_in", "id_token", "scope", "x", "y.z", "", "é", '"']
) | st.text(max_size=5)


@st.composite
def raw_values(draw: st.DrawFn) -> str:
    ascii_only, indent = draw(st.booleans()), draw(st.sampled_from([None, 1]))
    encoded = st.builds(lambda v: json.dumps(v, ensure_ascii=ascii_only, indent=indent), RANDOM)
    return draw(LITERALS | encoded)


@st.composite
def objects(draw: st.DrawFn) -> tuple[str, dict[str, str]]:
    """JSON text of an object, and the exact text of each field (the last of a name counts)."""
    members = draw(st.lists(st.tuples(NAMES, raw_values()), max_size=4))
    a, b, c, d = draw(SPACES)
    inside = ",".join(f"{a}{json.dumps(name)}{b}:{c}{raw}{d}" for name, raw in members)
    return f"{d}{{{inside or a}}}{b}", dict(members)


def parsed(text: str) -> TokenDocument:
    return TokenDocument.parse(Sensitive(text))[0]


def of(**fields: Any) -> TokenDocument:
    return parsed(json.dumps(fields))


def exact(document: TokenDocument) -> dict[str, str]:
    return {name: raw.reveal() for name, raw in document.fields.items()}


@given(objects())
def test_every_field_keeps_its_exact_text(sample: tuple[str, dict[str, str]]) -> None:
    text, fields = sample
    document = parsed(text)
    assert exact(document) == fields
    rendered = document.to_json().reveal()
    assert json.loads(rendered) == json.loads(text)
    assert exact(parsed(rendered)) == fields
    assert parsed(rendered).to_json().reveal() == rendered


@settings(max_examples=60)
@given(objects(), objects())
def test_merge_keeps_exact_texts_and_never_loses_a_token(
    old: tuple[str, dict[str, str]], reply: tuple[str, dict[str, str]]
) -> None:
    known = {"access_token", "refresh_token", "expires_in", "id_token", "scope", "expires_at"}
    before, answer = parsed(old[0]), parsed(reply[0])
    merged = before.merge(answer, 5.9)
    wanted = old[1] | reply[1]
    for name in set(wanted) - known:
        assert exact(merged)[name] == wanted[name]
    assert exact(merged)["expires_at"] == "5"
    assert merged.refresh_token == (answer.refresh_token or before.refresh_token)
    assert merged.access_token == (answer.access_token or before.access_token)


@given(st.text() | objects().map(lambda sample: sample[0]))
def test_garbage_raises_document_error_and_is_never_quoted(text: str) -> None:
    marked = text + "SECRETMARK"
    with pytest.raises(DocumentError) as caught:
        parsed(marked)
    assert "SECRETMARK" not in str(caught.value)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize(
    ("text", "trailing"),
    [
        pytest.param('{"refresh_token": "r"}', False, id="clean"),
        pytest.param('{"refresh_token": "r"}\n  ', False, id="white space"),
        pytest.param('\ufeff\n{"refresh_token": "r"}', False, id="byte order mark"),
        pytest.param('\n{\n"refresh_token": "r"\n}\n}\n', True, id="the announcement's example"),
        pytest.param('{"refresh_token": "r"}}}', True, id="two braces"),
    ],
)
def test_surplus_braces_are_tolerated_and_reported(text: str, *, trailing: bool) -> None:
    document, trailing_braces = TokenDocument.parse(Sensitive(text))
    assert document.refresh_token == Sensitive("r")
    assert trailing_braces is trailing


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("  ", id="blank"),
        pytest.param("null", id="null"),
        pytest.param("[]", id="array"),
        pytest.param('"text"', id="text"),
        pytest.param("{", id="open"),
        pytest.param("{'a': 1}", id="python"),
        pytest.param('{"a": 1,}', id="trailing comma"),
        pytest.param('\ufeff\ufeff{"a": 1}', id="two byte order marks"),
        pytest.param(' \ufeff{"a": 1}', id="byte order mark elsewhere"),
        pytest.param('{"a": NaN}', id="NaN"),
        pytest.param('{"a": [Infinity]}', id="Infinity"),
        pytest.param('{"a": -Infinity}', id="-Infinity"),
        pytest.param('{"a": 1} {"b": 2}', id="two objects"),
        pytest.param('{"a": 1}]', id="surplus bracket"),
        pytest.param('{"a": ' + "9" * 5000 + "}", id="number too long"),
        pytest.param('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", id="nested too deeply"),
        pytest.param('{"a": "line\nbreak"}', id="raw newline"),
    ],
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
        pytest.param(base64_of('{\n  "refresh_token": "r"}' * 9), "encoded twice", id="lines"),
        pytest.param("HTTP/1.1 200 OK", "is not JSON: Expecting value", id="curl -i"),
        pytest.param("ey", "encoded twice", id="short"),
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


@pytest.mark.parametrize(
    ("raw", "usable"),
    [
        pytest.param('"abc.DEF-1_2~+/=="', True, id="b64token"),
        pytest.param('""', False, id="empty"),
        pytest.param("null", False, id="null"),
        pytest.param("5", False, id="number"),
        pytest.param('"a b"', False, id="space"),
        pytest.param('"a\\n"', False, id="newline"),
        pytest.param('"a:b"', False, id="colon"),
        pytest.param('"a=b"', True, id="inner padding"),
        pytest.param('"00Dxx0000001gPL!AR8AQ.x_1"', True, id="Salesforce"),
        pytest.param('"v^1.1#i^1#p^3#r^0"', True, id="eBay"),
        pytest.param('"123|secret"', True, id="Facebook"),
        pytest.param('"!~\\"\\\\"', True, id="the ends of VSCHAR"),
        pytest.param('"a\\u007f"', False, id="delete"),
        pytest.param('"a\\tb"', False, id="tab"),
        pytest.param('"\\u00e9"', False, id="not ascii"),
    ],
)
def test_an_access_token_has_visible_characters_only(raw: str, *, usable: bool) -> None:
    token = parsed('{"access_token": ' + raw + "}").access_token
    assert (token is not None) is usable


@pytest.mark.parametrize("raw", ['""', "null", "5", "[]", "true", '"\\ud800"'])
def test_a_refresh_token_is_a_text_that_can_be_sent(raw: str) -> None:
    assert parsed('{"refresh_token": ' + raw + "}").refresh_token is None
    assert of(refresh_token="any thing: é").refresh_token == Sensitive("any thing: é")


@pytest.mark.parametrize("raw", ['""', "null", "5", '"\\ud800"'])
def test_a_token_type_that_says_nothing_is_bearer(raw: str) -> None:
    assert parsed('{"token_type": ' + raw + "}").token_type == "Bearer"
    assert of().token_type == "Bearer"
    assert of(token_type="DPoP").token_type == "DPoP"


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [
        ("300", 300.0),
        ('"300"', 300.0),
        ("1.5", 1.5),
        ("0", 0.0),
        ("-1", -1.0),
        ("1e12", 1e12),
        ("null", None),
        ("true", None),
        ('"soon"', None),
        ('"nan"', None),
        ('"inf"', None),
        ("1e999", None),
        ("9" * 400, None),
        ('"' + "9" * 5000 + '"', None),
        ("[300]", None),
        ("{}", None),
    ],
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
    "not-before-policy": 0,
    "custom": {"k": 1.10},
}


FULL = {
    "access_token": "new-at",
    "refresh_token": "new-rt",
    "expires_in": 600,
    "id_token": "new-id",
}


ABSENT = object()


@pytest.mark.parametrize(
    ("reply", "field", "wanted"),
    [
        pytest.param({}, "access_token", "new-at", id="access_token replaced"),
        pytest.param({"access_token": None}, "access_token", "old-at", id="access_token null"),
        pytest.param({"access_token": ""}, "access_token", "old-at", id="access_token empty"),
        pytest.param({"access_token": 5}, "access_token", "old-at", id="access_token number"),
        pytest.param({}, "refresh_token", "new-rt", id="refresh_token replaced"),
        pytest.param({"refresh_token": ABSENT}, "refresh_token", "old-rt", id="rt absent"),
        pytest.param({"refresh_token": None}, "refresh_token", "old-rt", id="rt null"),
        pytest.param({"refresh_token": ""}, "refresh_token", "old-rt", id="rt empty"),
        pytest.param({"refresh_token": ["x"]}, "refresh_token", "old-rt", id="rt no text"),
        pytest.param({}, "expires_in", 600, id="expires_in as returned"),
        pytest.param({"expires_in": "600"}, "expires_in", "600", id="expires_in text"),
        pytest.param({"expires_in": ABSENT}, "expires_in", ABSENT, id="expires_in absent"),
        pytest.param({"expires_in": None}, "expires_in", ABSENT, id="expires_in null"),
        pytest.param({}, "expires_at", 2000, id="expires_at added"),
        pytest.param({"expires_at": 7}, "expires_at", 2000, id="expires_at is ours"),
        pytest.param({"refresh_expires_in": 9}, "refresh_expires_in", 9, id="rt life replaced"),
        pytest.param({"refresh_expires_in": 0}, "refresh_expires_in", 0, id="rt life 0 kept"),
        pytest.param({}, "refresh_expires_in", ABSENT, id="rt changed, its life dropped"),
        pytest.param({}, "refresh_token_expires_in", ABSENT, id="rt changed, GitHub"),
        pytest.param(
            {"refresh_token_expires_in": 9}, "refresh_token_expires_in", 9, id="replaced, GitHub"
        ),
        pytest.param(
            {"refresh_token": ABSENT}, "refresh_token_expires_in", 1800, id="rt kept, GitHub"
        ),
        pytest.param(
            {"refresh_token": ABSENT}, "refresh_expires_in", 1800, id="rt kept, its life kept"
        ),
        pytest.param(
            {"refresh_token": "old-rt"}, "refresh_expires_in", 1800, id="rt equal, its life kept"
        ),
        pytest.param({}, "token_type", "bearer", id="token_type kept"),
        pytest.param({"token_type": "Bearer"}, "token_type", "Bearer", id="token_type replaced"),
        pytest.param({"token_type": None}, "token_type", "bearer", id="token_type null"),
        pytest.param({}, "scope", "a b", id="scope unchanged"),
        pytest.param({"scope": "a"}, "scope", "a", id="scope replaced"),
        pytest.param({"scope": ""}, "scope", "", id="scope emptied"),
        pytest.param({"scope": None}, "scope", "a b", id="scope null"),
        pytest.param({}, "id_token", "new-id", id="id_token replaced"),
        pytest.param({"id_token": ABSENT}, "id_token", ABSENT, id="id_token dropped"),
        pytest.param({"id_token": None}, "id_token", ABSENT, id="id_token null"),
        pytest.param({}, "session_state", "s", id="unknown kept"),
        pytest.param({"session_state": "t"}, "session_state", "t", id="unknown replaced"),
        pytest.param({}, "not-before-policy", 0, id="policy kept"),
        pytest.param({"custom": {}}, "custom", {}, id="shallow"),
        pytest.param({"fresh": None}, "fresh", None, id="new unknown, even null"),
    ],
)
def test_merge_follows_the_table(reply: dict[str, Any], field: str, wanted: Any) -> None:
    given_fields = {k: v for k, v in (FULL | reply).items() if v is not ABSENT}
    merged = of(**OLD).merge(of(**given_fields), 2000.7)
    if wanted is ABSENT:
        assert field not in merged.fields
    else:
        assert merged.value(field) == wanted


def test_merge_without_an_access_token_leaves_the_old_expiry() -> None:
    assert of(**OLD).merge(of(refresh_token="new-rt"), None).value("expires_at") == 1000


def test_without_removes_only_what_is_named() -> None:
    assert of(a=1, b=2).drop("b", "c") == of(a=1)


def document_of(**fields: str) -> TokenDocument:
    return TokenDocument({name: Sensitive(json.dumps(text)) for name, text in fields.items()})


def test_a_merged_document_that_no_secret_holds_keeps_what_matters() -> None:
    """The commit would be refused for ever, and with it the only copy of the refresh token."""
    old = document_of(refresh_token="rt-1", note="mine", blob="x" * (MAX_KEPT // 2))
    reply = document_of(id_token="i" * (MAX_KEPT // 2), access_token="at-2", refresh_token="rt-2")
    kept = old.merge(reply, 1_800_000_000.0)
    assert len(kept.to_json().reveal()) <= MAX_KEPT
    assert kept.refresh_token == Sensitive("rt-2")
    assert kept.access_token == Sensitive("at-2")
    assert kept.value("expires_at") == 1_800_000_000
    assert kept.value("note") == "mine"
    assert kept.value("blob") == old.value("blob"), "the first one that still fits"
    assert "id_token" not in kept.fields


def test_a_document_that_a_secret_holds_is_kept_as_it_is() -> None:
    frame = len(document_of(a="").to_json().reveal())
    full = document_of(a="x" * (MAX_KEPT - frame))
    assert full.truncated() is full
    assert document_of(a="x" * (MAX_KEPT - frame + 1)).truncated().fields == {}


def test_an_access_token_that_nodes_refuse_is_not_usable() -> None:
    assert document_of(access_token="x" * MAX_ACCESS_TOKEN).access_token is not None
    assert document_of(access_token="x" * (MAX_ACCESS_TOKEN + 1)).access_token is None
