"""The type that holds secrets and keeps them out of logs, messages and serialised forms."""

import hashlib
import hmac
from typing import NoReturn, final


@final
class Sensitive:
    """A secret text. Only `reveal` returns it, so a search for that word finds every use."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the secret, which callers pass only to a connection, a file or a parser."""
        return self._text

    def hash(self) -> str:
        """Return 16 hex digits of SHA-256, which identify a token without disclosing it."""
        return hashlib.sha256(self._text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sensitive):
            return NotImplemented
        ours, theirs = (s._text.encode("utf-8", "surrogatepass") for s in (self, other))  # noqa: SLF001
        return hmac.compare_digest(ours, theirs)

    def __hash__(self) -> int:
        return hash((Sensitive, self._text))

    def __repr__(self) -> str:
        return "Sensitive(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Sensitive value must not be serialised")
