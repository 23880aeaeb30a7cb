"""Lines as the templates of the command line let kubectl print them."""

from collections.abc import Sequence

import pytest

from csidriver.core import annotations
from csidriver.core.kubernetes.timestamp import format_rfc3339
from csidriver.kubectl.tokens.token import KEYS

Capture = pytest.CaptureFixture[str]
# A minute with a round number of seconds, 2027-01-15T08:00:00Z.
NOW = 1_800_000_000.0
READY = {
    annotations.IS_TOKEN: "true",
    annotations.BOUND_ISSUER: "cern",
    annotations.STATUS: "Ready",
    annotations.MESSAGE: "the access token is fresh",
    annotations.EXPIRES_AT: format_rfc3339(NOW + 312),
    annotations.REFRESHED_AT: format_rfc3339(NOW - 888),
    annotations.NEXT_REFRESH: format_rfc3339(NOW + 75),
}
NEEDS_REAUTH = {
    **READY,
    annotations.STATUS: "NeedsReauth",
    annotations.MESSAGE: "the refresh token is no longer valid; log in again; "
    "run: kubectl oauth2-csi login mail -n team-a",
    annotations.EXPIRES_AT: format_rfc3339(NOW - 60),
    annotations.NEXT_REFRESH: "",
}
EXPIRING = {
    **READY,
    annotations.WARNING: "TrailingBytes, RefreshTokenExpiring",
    annotations.LOGIN_EXPIRES_AT: format_rfc3339(NOW + 3 * 86400),
}
ROBOT = {**READY, annotations.GRANT_TYPE: "client_credentials"}
DERIVED = {**READY, annotations.GRANT_TYPE: "token-exchange", annotations.LOGIN: "mail"}
WAITING = {
    **DERIVED,
    annotations.STATUS: "WaitsForLogin",
    annotations.MESSAGE: "Secret mail, from whose access token this one is made, is NeedsReauth; "
    "run: kubectl oauth2-csi describe mail -n team-a",
    annotations.EXPIRES_AT: format_rfc3339(NOW + 40),
}


def secret(namespace: str, name: str, values: dict[str, str] | None = None, event: str = "") -> str:
    """Return the line of a Secret; `event` is the type of an event of a watch."""
    values = READY if values is None else values
    created = format_rfc3339(NOW - 5 * 86400)
    fields = [namespace, name, f"uid-of-{name}", created, *(values.get(key, "") for key in KEYS)]
    return _line([event, *fields] if event else fields)


def pod(
    name: str,
    token: str,
    *,
    phase: str = "Running",
    node: str = "node-1",
    event: str = "",
    mounts: Sequence[tuple[str, str, str]] = (("main", "/run/token", ""),),
) -> str:
    """Return the line of the volume of a pod in team-a."""
    texts = [event, "team-a", name, "token", phase, node, token, ""]
    text = ",".join(f"[{','.join(map(_quote, mount))}]," for mount in mounts).replace(",,", ",")
    return "[" + ",".join([*map(_quote, texts), f"[{text}]"]) + "]\n"


def _line(fields: Sequence[str]) -> str:
    return "[" + ",".join(map(_quote, fields)) + "]\n"


def _quote(text: str) -> str:
    """Quote like Go's `%+q`."""
    escaped = text.encode("unicode_escape").decode().replace('"', '\\"')
    return f'"{escaped}"'
