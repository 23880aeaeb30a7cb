"""Documents with one value changed."""

import copy
from typing import Any

ABSENT = object()


def changed(document: Any, path: str, value: Any) -> Any:
    """Return a copy with another value, or none if ABSENT, below these names."""
    found = copy.deepcopy(document)
    *parents, last = path.split()
    holder = found
    for name in parents:
        holder = holder[name]
    holder[last] = value
    if value is ABSENT:
        del holder[last]
    return found
