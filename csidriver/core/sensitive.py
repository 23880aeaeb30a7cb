"""The type that holds secrets and keeps them out of logs, messages and serialised forms."""

import hashlib
import hmac
from typing import NoReturn, final


@final
class Sensitive:
    """A secret text. Only `reveal` returns it, so a search for that word finds every use."""

    # In a `str`, one emoji would make four bytes of each character.
    __slots__ = ("_utf8",)

    def __init__(self, text: str) -> None:
        self._utf8 = text.encode("utf-8", "surrogatepass")

    def reveal(self) -> str:
        """Return the secret, which callers pass only to a connection, a file or a parser."""
        return self._utf8.decode("utf-8", "surrogatepass")

    @property
    def size(self) -> int:
        """The number of bytes in UTF-8."""
        return len(self._utf8)

    def hash(self) -> str:
        """Return 16 hex digits of SHA-256, which identify a token without disclosing it."""
        return hashlib.sha256(self._utf8).hexdigest()[:16]

    def __bool__(self) -> bool:
        return bool(self._utf8)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sensitive):
            return NotImplemented
        return hmac.compare_digest(self._utf8, other._utf8)

    def __hash__(self) -> int:
        return hash((Sensitive, self._utf8))

    def __repr__(self) -> str:
        return "Sensitive(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Sensitive value must not be serialised")
