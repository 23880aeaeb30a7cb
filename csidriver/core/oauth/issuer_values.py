"""Values of configuration keys, by the fields of the dataclass that holds them.

What is wrong with a value is a ValueError, with a text for each fault that names no key.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from csidriver.core.oauth.login_settings import unknown_key


def key_of(field: str) -> str:
    """Return the configuration key of a field: its name in camel case."""
    return re.sub(r"_(id\b|.)", lambda found: found[1].upper(), field)


def convert(default: Any, raw: Any) -> Any:
    """Return a value of the type that the default of its field has. Raises ValueError."""
    if isinstance(default, bool):
        if isinstance(raw, bool):
            return raw
        raise ValueError("must be true or false")
    if isinstance(default, str):
        if isinstance(raw, str):
            return raw
        raise ValueError("must be a string")
    if isinstance(default, tuple):
        if isinstance(raw, list) and all(isinstance(item, str) for item in raw):
            return tuple(raw)
        raise ValueError("must be a list of strings")
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not 0 <= raw < float("inf"):
        raise ValueError("must be a number that is not negative")
    return type(default)(raw)


def parse_fields(
    kind: type[Any],
    raw: Mapping[Any, Any],
    parsers: Mapping[str, Callable[[Any], Any]],
    problems: list[str],
) -> dict[str, Any]:
    """Return the values of a dataclass's fields; what is empty keeps the default."""
    known, values = {key_of(field.name): field for field in fields(kind)}, {}
    for key, value in raw.items():
        field = known.get(key)
        try:
            if field is None:
                problems.append(unknown_key(key, known))
            elif value is not None and not (value == "" and isinstance(field.default, str)):
                parser = parsers.get(field.name)
                values[field.name] = parser(value) if parser else convert(field.default, value)
        except (ValueError, OverflowError) as error:
            problems += [f"{key}: {fault}" for fault in error.args]
    return values


def parse(kind: type[Any], raw: Any) -> Any:
    """Return a dataclass with the values of a mapping. Raises ValueError."""
    if not isinstance(raw, Mapping):
        raise ValueError("must be a mapping")  # noqa: TRY004 - as every other fault
    problems: list[str] = []
    parsed = kind(**parse_fields(kind, raw, {}, problems))
    if problems:
        raise ValueError(*problems)
    return parsed
