"""Templates of token files: which bytes a reader finds.

Three names expand, `$$` is a literal dollar sign, everything else stays byte for byte; nothing is
added, no newline either. Names that would expose a refresh token or client secret do not exist.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from csidriver.core.companion import AccessToken
from csidriver.errors import InvalidTemplate

MAX_CONTENT = 64 * 1024
# A gRPC status has room for a few KiB, a template for thousands of faults.
_MAX_PROBLEMS = 8

_NAMES: Mapping[str, Callable[[AccessToken], str]] = {
    "ACCESS_TOKEN": lambda token: token.value.reveal(),
    "EXPIRES_AT": lambda token: str(int(token.expires_at)),
    "TOKEN_TYPE": lambda token: token.token_type,
}
_PIECE = re.compile(r"\$\$|\$\(([^)]*)(\)?)")


@dataclass(frozen=True, slots=True)
class Template:
    """A template that was checked. Build it with `parse`."""

    text: str

    @classmethod
    def parse(cls, text: str) -> "Template":
        """Raises InvalidTemplate, with every fault, unless each name is known."""
        problems = []
        if len(text.encode("utf-8", "surrogatepass")) > MAX_CONTENT:
            problems.append(f"is larger than {MAX_CONTENT // 1024} KiB")
        for match in _PIECE.finditer(text):
            if match[0] == "$$":
                continue
            if not match[2]:
                problems.append(f"has a $( without ) at character {match.start()}")
            elif match[1] not in _NAMES:
                known = ", ".join(f"$({name})" for name in _NAMES)
                problems.append(f"names {match[0][:40]!r}, which is not one of {known}")
        problems = list(dict.fromkeys(problems))
        if len(problems) > _MAX_PROBLEMS:
            problems[_MAX_PROBLEMS:] = [f"has {len(problems) - _MAX_PROBLEMS} more such problems"]
        if problems:
            raise InvalidTemplate("template", problems)
        return cls(text)

    def render(self, token: AccessToken) -> bytes:
        """The exact bytes of the file.

        Raises InvalidTemplate when they would be more than 64 KiB: a template may name the token
        thousands of times, and the file system is shared by every volume of the node.
        """
        values = {f"$({name})": value(token) for name, value in _NAMES.items()} | {"$$": "$"}
        pieces = (match[0] for match in _PIECE.finditer(self.text))
        growth = sum(len(values[piece].encode()) - len(piece) for piece in pieces)
        if len(self.text.encode()) + growth > MAX_CONTENT:
            raise InvalidTemplate("template", [f"expands to more than {MAX_CONTENT // 1024} KiB"])
        return _PIECE.sub(lambda match: values[match[0]], self.text).encode()


DEFAULT = Template("$(ACCESS_TOKEN)")
