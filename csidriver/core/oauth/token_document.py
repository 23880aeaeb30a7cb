"""Token documents: the JSON that a user pastes, or that an authorization server replies with.

A document keeps the exact text of every field, so that merging a reply changes no field that this
driver does not understand.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from csidriver.core.annotations import MAX_DOCUMENT
from csidriver.core.companion import MAX_ACCESS_TOKEN
from csidriver.core.sensitive import Sensitive

# Replies and stored documents may be larger: they may hold the only copy of a refresh token.
MAX_REPLY = 1 << 20
MAX_STORED = 4 << 20
# The most that is written, so that the grant has room for its state and the client credentials.
MAX_KEPT = 896 * 1024

# The lifetime of the refresh token: Keycloak's name, and that of GitHub, Google, Entra and others.
_REFRESH_LIFETIMES = ("refresh_expires_in", "refresh_token_expires_in")
# Fields that a document keeps if not all fit, the most important first.
_KEPT_FIRST = ("refresh_token", "access_token", "token_type", "expires_at", *_REFRESH_LIFETIMES)

# RFC 6749 appendix A.12, but for the blank, and for `:`, which ends the token in EOS templates.
# Salesforce, eBay and Facebook do not keep to the b64token of RFC 6750.
_ACCESS_TOKEN = re.compile("[!-9;-~]+")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SPACE = re.compile(r"[ \t\n\r]*")
# Written by editors and shells of Windows; RFC 8259 section 8.1 allows to ignore it.
BYTE_ORDER_MARK = "\ufeff"
# What users put in instead of a document.
_MISTAKES = {
    r"[\w-]+\.[\w-]*\.[\w-]*": "is a token alone, not the whole JSON of the token response",
    r"e[wy][\w+/\s]*=*": "is not JSON but base64: it was encoded twice",
}

# Fields of an old document that describe its old access token only.
_DROPPED_WHEN_ABSENT = ("expires_in", "id_token")


class DocumentError(ValueError):
    """A text is not a token document. The message does not quote the text."""


@dataclass(frozen=True, slots=True)
class TokenDocument:
    """One JSON object, each field as its exact JSON text. Build it with `parse`."""

    fields: Mapping[str, Sensitive]

    @classmethod
    def parse(cls, text: Sensitive, limit: int = MAX_DOCUMENT) -> "tuple[TokenDocument, bool]":
        """Return the document, and whether surplus `}` follow it, as in the announced example.

        Raises DocumentError unless the text is one JSON object of at most `limit` bytes.
        """
        return cls._parse(text, limit, _DECODER)

    @classmethod
    def parse_reply(cls, text: Sensitive) -> "TokenDocument":
        """Return the document of a reply, without the fields that nobody else could read.

        These hold a NaN, an Infinity or a number of thousands of digits. They must not cost the
        refresh token beside them. Raises DocumentError like `parse`.
        """
        document, _ = cls._parse(text, MAX_REPLY, _LENIENT_DECODER)
        return cls({name: raw for name, raw in document.fields.items() if _is_readable(raw)})

    @classmethod
    def _parse(
        cls, text: Sensitive, limit: int, decoder: json.JSONDecoder
    ) -> "tuple[TokenDocument, bool]":
        if text.size > limit:
            raise DocumentError(f"is larger than {limit // 1024} KiB")
        raw = text.reveal()
        fields, end = _scan(raw, decoder)
        rest = raw[end:]
        if rest.strip(" \t\r\n}"):
            raise DocumentError(f"has text after the JSON object (from character {end})")
        return cls(fields), "}" in rest

    def value(self, name: str) -> Any:
        """Decode a field; None if it is absent or nested too deeply."""
        raw = self.fields.get(name)
        try:
            return None if raw is None else json.loads(raw.reveal())
        except RecursionError:
            return None

    @property
    def refresh_token(self) -> Sensitive | None:
        """The refresh token, None if it is not a text that can be sent."""
        text = self._text("refresh_token")
        return Sensitive(text) if text else None

    @property
    def access_token(self) -> Sensitive | None:
        """The access token, None if too large or with characters that a token file may not have."""
        value = self.value("access_token")
        usable = isinstance(value, str) and len(value) <= MAX_ACCESS_TOKEN
        return Sensitive(value) if usable and _ACCESS_TOKEN.fullmatch(value) else None

    @property
    def token_type(self) -> str:
        """The token type; `Bearer` if absent, as in a document that a user wrote."""
        return self._text("token_type") or "Bearer"

    def _text(self, name: str) -> str:
        value = self.value(name)
        # A lone surrogate cannot be encoded, so it cannot be sent.
        return value if isinstance(value, str) and not _SURROGATE.search(value) else ""

    def number(self, name: str) -> float | None:
        """Return a field as a finite number, None if it is neither a number nor a text of one."""
        value = self.value(name)
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return None
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return None
        return number if math.isfinite(number) else None

    @property
    def refresh_expires_in(self) -> float | None:
        """The lifetime of the refresh token in seconds, None if it is not stated."""
        stated = (self.number(name) for name in _REFRESH_LIFETIMES)
        return next((lifetime for lifetime in stated if lifetime is not None), None)

    def drop(self, *names: str) -> "TokenDocument":
        return TokenDocument({k: v for k, v in self.fields.items() if k not in names})

    def merge(self, reply: "TokenDocument", expires_at: float | None) -> "TokenDocument":
        """Return this document after a refresh; fields that the reply lacks stay verbatim.

        RFC 6749 section 6: if the reply has no refresh token, the old one stays valid.
        `expires_at` is the expiry of the new access token in epoch seconds, None if unknown.
        """
        merged = dict(self.drop(*_DROPPED_WHEN_ABSENT).fields)
        rotated = reply.refresh_token is not None and reply.refresh_token != self.refresh_token
        for name in _REFRESH_LIFETIMES if rotated else ():
            merged.pop(name, None)
        merged |= {n: raw for n, raw in reply.fields.items() if not _is_ignorable(reply, n, raw)}
        if expires_at is not None:
            merged["expires_at"] = Sensitive(str(int(expires_at)))
        return TokenDocument(merged).truncated()

    def truncated(self) -> "TokenDocument":
        """Return the document, without the fields for which one Secret has no room."""
        if self.to_json().size <= MAX_KEPT:
            return self
        kept: dict[str, Sensitive] = {}
        room = MAX_KEPT
        first = [name for name in _KEPT_FIRST if name in self.fields]
        for name in dict.fromkeys([*first, *self.fields]):
            size = TokenDocument({name: self.fields[name]}).to_json().size
            if size <= room:
                kept[name], room = self.fields[name], room - size
        return TokenDocument(kept)

    def to_json(self) -> Sensitive:
        parts = (f"{json.dumps(name)}:{raw.reveal()}" for name, raw in self.fields.items())
        return Sensitive("{" + ",".join(parts) + "}")


def _is_ignorable(reply: TokenDocument, name: str, raw: Sensitive) -> bool:
    if name == "refresh_token":
        return reply.refresh_token is None
    if name == "access_token":
        return reply.access_token is None
    if name == "expires_in":
        return reply.number(name) is None
    return name in ("token_type", "scope", "id_token") and raw.reveal() == "null"


def _refuse_constant(name: str) -> NoReturn:
    raise DocumentError(f"contains {name}, which is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
# Converting an integer of over 4300 digits would raise ValueError.
_LENIENT_DECODER = json.JSONDecoder(parse_int=float)


def _is_readable(raw: Sensitive) -> bool:
    try:
        _DECODER.decode(raw.reveal())
    except (ValueError, RecursionError):
        return False
    return True


def _scan(text: str, decoder: json.JSONDecoder) -> tuple[dict[str, Sensitive], int]:
    """Return the fields of the JSON object at the start of a text, and the object's end."""
    start = _skip(text, 1 if text.startswith(BYTE_ORDER_MARK) else 0)
    try:
        whole, end = decoder.raw_decode(text, start)
    except json.JSONDecodeError as error:
        for pattern, problem in _MISTAKES.items():
            if re.fullmatch(pattern, text.strip(), re.ASCII):
                raise DocumentError(problem) from None
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
        name, at = decoder.raw_decode(text, at)
        value_at = _skip(text, _skip(text, at) + 1)
        _, at = decoder.raw_decode(text, value_at)
        fields[name] = Sensitive(text[value_at:at])
        at = _skip(text, at)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return fields, end


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return at if match is None else match.end()
