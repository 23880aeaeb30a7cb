"""Token documents: the JSON a user pastes, the JSON an authorization server answers with.

A document keeps the exact text of every field, so that merging a reply never reformats or drops
what this driver does not understand. What a reply means for the schedule is not decided here.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from csidriver.core.sensitive import Sensitive

# Kubernetes caps a Secret at 1 MiB and the document is stored three times; real ones have 2-8 KiB.
MAX_DOCUMENT = 256 * 1024
# A reply may be larger, and what was stored once is read whatever its size: in both there may be
# a refresh token that exists nowhere else.
MAX_REPLY = 1 << 20
MAX_STORED = 4 << 20
# What is stored at most: a Secret holds 1 MiB, state and credentials stand beside the document.
MAX_KEPT = 896 * 1024
# A larger access token would leave no room for anything else.
MAX_ACCESS_TOKEN = 512 * 1024

# The fields that a document is kept for, the most precious first.
_KEPT_FIRST = ("refresh_token", "access_token", "token_type", "expires_at", "refresh_expires_in")

# RFC 6750 section 2.1, b64token: also keeps newlines and `:` out of token files.
_B64TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*", re.ASCII)
_SPACE = re.compile(r"[ \t\n\r]*")

# RFC 6749 section 5.1 and Keycloak's additions, by what a missing field in a reply means.
_DROPPED_WHEN_ABSENT = ("expires_in", "id_token")


class DocumentError(ValueError):
    """A text that is no token document; the message never quotes it."""


@dataclass(frozen=True, slots=True)
class TokenDocument:
    """One JSON object, each field as its exact JSON text. Build it with `parse`."""

    fields: Mapping[str, Sensitive]

    @classmethod
    def parse(cls, text: Sensitive, limit: int = MAX_DOCUMENT) -> "tuple[TokenDocument, bool]":
        """The document, and whether surplus `}` followed it (the announcement's own example).

        Raises:
            DocumentError: not one JSON object of at most `limit` bytes, or NaN and Infinity in it.
        """
        raw = text.reveal()
        if len(raw.encode("utf-8", "surrogatepass")) > limit:
            raise DocumentError(f"is larger than {limit // 1024} KiB")
        fields, end = _scan(raw)
        rest = raw[end:]
        if rest.strip(" \t\r\n}"):
            raise DocumentError(f"has text after the JSON object (from character {end})")
        return cls(fields), "}" in rest

    def value(self, name: str) -> Any:
        """A field decoded, None if absent or nested deeper than this stack can follow."""
        raw = self.fields.get(name)
        try:
            return None if raw is None else json.loads(raw.reveal())
        except RecursionError:
            return None

    @property
    def refresh_token(self) -> Sensitive | None:
        """The refresh token: a non-empty string that can be sent, else None."""
        value = self.value("refresh_token")
        return Sensitive(value) if isinstance(value, str) and value and _sendable(value) else None

    @property
    def access_token(self) -> Sensitive | None:
        """The access token if it is usable as a bearer token (RFC 6750 section 2.1), else None.

        One of over 512 KiB is not: it could not be stored beside its refresh token.
        """
        value = self.value("access_token")
        usable = isinstance(value, str) and len(value) <= MAX_ACCESS_TOKEN
        return Sensitive(value) if usable and _B64TOKEN.fullmatch(value) else None

    @property
    def token_type(self) -> str:
        """`Bearer` when absent, as in a document that a user wrote by hand."""
        value = self.value("token_type")
        return value if isinstance(value, str) and value and _sendable(value) else "Bearer"

    def number(self, name: str) -> float | None:
        """A numeric field (seconds), None if absent or no finite number; text numbers count."""
        value = self.value(name)
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return None
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return None
        return number if math.isfinite(number) else None

    def drop(self, *names: str) -> "TokenDocument":
        """This document less some fields."""
        return TokenDocument({k: v for k, v in self.fields.items() if k not in names})

    def merge(self, reply: "TokenDocument", expires_at: float | None) -> "TokenDocument":
        """This document after a refresh: the reply wins, what it does not name stays verbatim.

        RFC 6749 section 6: a reply without a refresh token leaves the old one valid.
        `expires_at` is the new access token's expiry in epoch seconds, None if it brought none.
        """
        merged = dict(self.drop(*_DROPPED_WHEN_ABSENT).fields)
        rotated = reply.refresh_token is not None and reply.refresh_token != self.refresh_token
        if rotated and "refresh_expires_in" not in reply.fields:
            merged.pop("refresh_expires_in", None)
        merged |= {n: raw for n, raw in reply.fields.items() if not _is_ignorable(reply, n, raw)}
        if expires_at is not None:
            merged["expires_at"] = Sensitive(str(int(expires_at)))
        return TokenDocument(merged).truncated()

    def truncated(self) -> "TokenDocument":
        """As much of it as one Secret holds: all of it, but for fields that are too large."""
        if len(self.to_json().reveal().encode("utf-8", "surrogatepass")) <= MAX_KEPT:
            return self
        kept: dict[str, Sensitive] = {}
        room = MAX_KEPT
        first = [name for name in _KEPT_FIRST if name in self.fields]
        for name in dict.fromkeys([*first, *self.fields]):
            alone = TokenDocument({name: self.fields[name]}).to_json().reveal()
            size = len(alone.encode("utf-8", "surrogatepass"))
            if size <= room:
                kept[name], room = self.fields[name], room - size
        return TokenDocument(kept)

    @property
    def is_mirrorable(self) -> bool:
        """Whether `parse` would read it back where a user may have written it."""
        return len(self.to_json().reveal().encode("utf-8", "surrogatepass")) <= MAX_DOCUMENT

    def to_json(self) -> Sensitive:
        """The JSON text; a field that was parsed keeps its exact spelling."""
        parts = (f"{json.dumps(name)}:{raw.reveal()}" for name, raw in self.fields.items())
        return Sensitive("{" + ",".join(parts) + "}")


def _is_ignorable(reply: TokenDocument, name: str, raw: Sensitive) -> bool:
    """Whether a field of a reply says nothing: null, or a token that cannot be used."""
    if name == "refresh_token":
        return reply.refresh_token is None
    if name == "access_token":
        return reply.access_token is None
    if name == "expires_in":
        return reply.number(name) is None
    return name in ("token_type", "scope", "id_token") and raw.reveal() == "null"


def _sendable(token: str) -> bool:
    """Whether a token survives encoding: a lone surrogate does not."""
    return token.isascii() or not any("\ud800" <= char <= "\udfff" for char in token)


def _refuse_constant(name: str) -> NoReturn:
    raise DocumentError(f"contains {name}, which is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _scan(text: str) -> tuple[dict[str, Sensitive], int]:
    """Fields of the JSON object at the start of a text with their exact text, and where it ends."""
    start = _skip(text, 0)
    try:
        whole, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        # The decoder's message names what it expected, never what it found.
        raise DocumentError(f"is not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise DocumentError("is nested too deeply") from None
    except DocumentError:
        raise
    except ValueError:
        raise DocumentError("contains a number that is too long") from None
    if not isinstance(whole, dict):
        raise DocumentError("is not a JSON object")
    fields: dict[str, Sensitive] = {}
    at = _skip(text, start + 1)
    while text[at] != "}":
        name, at = _DECODER.raw_decode(text, at)
        value_at = _skip(text, _skip(text, at) + 1)
        _, at = _DECODER.raw_decode(text, value_at)
        fields[name] = Sensitive(text[value_at:at])
        at = _skip(text, at)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return fields, end


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return at if match is None else match.end()
