"""Records of chosen fields, which a template lets kubectl print: one literal per line.

Nothing else of an object comes into this process. Go's quotes are a part of Python's.
"""

import ast
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from csidriver.kubectl.errors import KubectlFailed

DELETED = "DELETED"


def quoted(expression: str) -> str:
    """Return the template of a text, empty if it is absent."""
    return f'{{{{printf "%+q" (or {expression} "")}}}}'


def record(fields: Iterable[str]) -> str:
    """Return the template of a line with these fields."""
    return "[" + ",".join(fields) + ']{{"\\n"}}'


def of_each(template: str) -> str:
    """Return the template of a list of objects, or of one object."""
    of_list = f"{{{{range .items}}}}{template}{{{{end}}}}"
    return f"{{{{if .metadata.name}}}}{template}{{{{else}}}}{of_list}{{{{end}}}}"


def of_event(template: str) -> str:
    """Return the template of an event of a watch; its type is the variable `$type`."""
    return f"{{{{$type := .type}}}}{{{{with .object}}}}{template}{{{{end}}}}"


def option(template: str) -> str:
    return f"--output=go-template={template}"


def parse_records(lines: Iterable[str], width: int) -> Iterator[Sequence[Any]]:
    """Yield the fields of each line; raise KubectlFailed if it is not a record of this width."""
    for line in lines:
        try:
            fields = ast.literal_eval(line)
        except (ValueError, SyntaxError):
            raise KubectlFailed("kubectl printed something that is not a record") from None
        if not isinstance(fields, list) or len(fields) != width:
            raise KubectlFailed("kubectl printed something that is not a record")
        yield fields
