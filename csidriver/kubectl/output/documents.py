"""JSON and YAML as kubectl prints them: sorted keys, lists at the indentation of their key."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

# Texts that YAML reads as they are. Anything else is quoted, and JSON's quotes are YAML's, too.
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*( [A-Za-z0-9_./()-]+)*", re.ASCII)
_WORDS = frozenset(["null", "true", "false", "yes", "no", "on", "off", "y", "n"])


def to_json(value: Any) -> str:
    text = json.dumps(value, indent=4, sort_keys=True, ensure_ascii=False)
    return _escaped(text, lambda char: json.dumps(char)[1:-1])


def to_yaml(value: Any) -> str:
    return "\n".join(_block(value, ""))


def _block(value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for key in sorted(value):
            yield from _entry(f"{indent}{_scalar(key)}:", value[key], indent)
    elif isinstance(value, list) and value:
        for item in value:
            yield from _item(item, indent)
    else:
        yield indent + _scalar(value)


def _entry(head: str, value: Any, indent: str) -> Iterator[str]:
    if not isinstance(value, (Mapping, list)) or not value:
        yield f"{head} {_scalar(value)}"
        return
    yield head
    yield from _block(value, indent if isinstance(value, list) else indent + "  ")


def _item(item: Any, indent: str) -> Iterator[str]:
    lines = list(_block(item, indent + "  "))
    yield f"{indent}- {lines[0][len(indent) + 2 :]}"
    yield from lines[1:]


def _scalar(value: Any) -> str:
    is_plain = isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS
    if is_plain:
        return str(value)
    return _escaped(json.dumps(value, ensure_ascii=False), lambda char: f"\\U{ord(char):08x}")


def _escaped(text: str, escape: Callable[[str], str]) -> str:
    """Escape characters that could end a line or control a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else escape(c) for c in text)


def to_list(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the list of objects that `kubectl get` prints."""
    metadata = {"resourceVersion": ""}
    return {"apiVersion": "v1", "items": list(items), "kind": "List", "metadata": metadata}
