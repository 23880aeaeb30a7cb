"""Templates of token files.

Three names expand, `$$` becomes a dollar sign, everything else stays byte for byte, and nothing is
added, not even a newline. No name expands to a refresh token or a client secret.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from csidriver.core.companion import AccessToken
from csidriver.errors import InvalidTemplate

# Bytes of a file, and of a template, which stays in memory.
MAX_CONTENT = 64 * 1024
MAX_TEMPLATE = 16 * 1024
# A gRPC status has room for a few KiB; a template can have thousands of problems.
_MAX_PROBLEMS = 8

_NAMES: Mapping[str, Callable[[AccessToken], str]] = {
    "ACCESS_TOKEN": lambda token: token.value.reveal(),
    "EXPIRES_AT": lambda token: str(int(token.expires_at)),
    "TOKEN_TYPE": lambda token: token.token_type,
}
# A longer word may be a token in the wrong place, so problems do not quote it.
_SHORT_WORD = re.compile(r"[A-Za-z_]{1,20}", re.ASCII)
_PIECE = re.compile(r"\$\$|\$\(([^)]*)(\)?)")


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Template:
    """A valid template, in UTF-8 as many are in memory. Build it with `parse`."""

    content: bytes

    @classmethod
    def parse(cls, text: str, limit: int = MAX_TEMPLATE) -> "Template":
        """Raise InvalidTemplate with every problem, unless each name is known."""
        problems = []
        if len(text.encode("utf-8", "surrogatepass")) > limit:
            raise InvalidTemplate("template", [f"is larger than {limit // 1024} KiB"])
        for match in _PIECE.finditer(text):
            if match[0] == "$$":
                continue
            if not match[2]:
                problems.append(f"has a $( without ) at character {match.start()}")
            elif match[1] not in _NAMES:
                known = ", ".join(f"$({name})" for name in _NAMES)
                at = f"a text at character {match.start()}"
                word = repr(match[0]) if _SHORT_WORD.fullmatch(match[1]) else at
                problems.append(f"names {word}, which is not one of {known}")
        problems = list(dict.fromkeys(problems))
        if len(problems) > _MAX_PROBLEMS:
            problems[_MAX_PROBLEMS:] = [f"has {len(problems) - _MAX_PROBLEMS} more such problems"]
        if problems:
            raise InvalidTemplate("template", problems)
        return cls(text.encode())

    @property
    def text(self) -> str:
        return self.content.decode()

    def render(self, token: AccessToken) -> bytes:
        """Return the exact bytes of the file, or raise InvalidTemplate if they exceed 64 KiB.

        A template can name the token thousands of times, and all volumes of a node share one file
        system.
        """
        values = {f"$({name})": value(token) for name, value in _NAMES.items()} | {"$$": "$"}
        text = self.text
        pieces = (match[0] for match in _PIECE.finditer(text))
        growth = sum(len(values[piece].encode()) - len(piece) for piece in pieces)
        if len(self.content) + growth > MAX_CONTENT:
            raise InvalidTemplate("template", [f"expands to more than {MAX_CONTENT // 1024} KiB"])
        return _PIECE.sub(lambda match: values[match[0]], text).encode()


DEFAULT = Template.parse("$(ACCESS_TOKEN)")
