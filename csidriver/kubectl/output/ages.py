"""Durations as kubectl prints ages: two or three significant figures, such as `5m12s`."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_YEAR = 365 * _DAY


def human_duration(seconds: float) -> str:
    """Return what `HumanDuration` of k8s.io/apimachinery returns."""
    whole = int(seconds)
    if whole < 0:
        return "0s" if whole == -1 else "<invalid>"
    for limit, unit, small in _FORMS:
        if whole < limit:
            return _spell(whole, unit, small)
    return f"{whole // _YEAR}y"


# Below a limit: the unit, and the smaller unit that is printed, too, unless it is 0.
_FORMS = (
    (2 * _MINUTE, 1, 0),
    (10 * _MINUTE, _MINUTE, 1),
    (3 * _HOUR, _MINUTE, 0),
    (8 * _HOUR, _HOUR, _MINUTE),
    (2 * _DAY, _HOUR, 0),
    (8 * _DAY, _DAY, _HOUR),
    (2 * _YEAR, _DAY, 0),
    (8 * _YEAR, _YEAR, _DAY),
)
_NAMES = {1: "s", _MINUTE: "m", _HOUR: "h", _DAY: "d", _YEAR: "y"}


def _spell(seconds: int, unit: int, small: int) -> str:
    text = f"{seconds // unit}{_NAMES[unit]}"
    rest = seconds % unit // small if small else 0
    return f"{text}{rest}{_NAMES[small]}" if rest else text
