"""The wait for the first refresh, which proves the login: Ready, or the reason why not."""

from collections.abc import Callable
from dataclasses import dataclass

from csidriver.core import annotations
from csidriver.core.names import SourceRef
from csidriver.core.status import Status
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.errors import KubectlError, LoginFailed, NotFound
from csidriver.kubectl.login.device_flow import PollClock

WAIT_SECONDS = 60.0
_INTERVAL = 1.0
# The message last, as it is the only one that could have a line break.
_KEYS = (annotations.STATUS, annotations.REFRESHED_AT, annotations.EXPIRES_AT, annotations.MESSAGE)
# The refresher goes on by itself.
_PASSING = frozenset(
    status.value for status in (Status.PENDING, Status.UNCERTAIN, Status.ISSUER_UNAVAILABLE)
)


@dataclass(frozen=True, slots=True)
class TokenStatus:
    """The refresher's annotations of a token; "" for those that are absent."""

    status: str = ""
    refreshed_at: str = ""
    expires_at: str = ""
    message: str = ""


def read_status(kubectl: Kubectl, ref: SourceRef) -> TokenStatus:
    """Read the annotations alone: nothing of the Secret's data comes here."""
    fields = "".join(
        "{.metadata.annotations." + key.replace(".", "\\.") + '}{"\\n"}' for key in _KEYS
    )
    text = kubectl.get_text(
        "secret", ref.name, f"--namespace={ref.namespace}", f"--output=jsonpath={fields}"
    )
    lines = text.split("\n", len(_KEYS) - 1)
    pairs = zip(_KEYS, lines, strict=False)
    return TokenStatus(*(" ".join(line[: annotations.LIMITS[key]].split()) for key, line in pairs))


def is_refreshed(before: TokenStatus, now: TokenStatus) -> bool:
    """Return True if the token was refreshed after `before`."""
    return now.status == Status.READY.value and now.refreshed_at not in ("", before.refreshed_at)


def has_failed(before: TokenStatus, now: TokenStatus) -> bool:
    """Return True if the refresher says, since `before`, that somebody must do something."""
    ended = now.status not in ("", Status.READY.value, *_PASSING)
    return ended and (now.status, now.message) != (before.status, before.message)


def _read_again(kubectl: Kubectl, ref: SourceRef, last: TokenStatus) -> TokenStatus:
    """Read the status, or return the last one while the cluster does not answer."""
    try:
        return read_status(kubectl, ref)
    except NotFound:
        raise LoginFailed(f"somebody else has deleted Secret {ref} after the login") from None
    except KubectlError:
        return last


def wait_until_ready(
    kubectl: Kubectl,
    ref: SourceRef,
    before: TokenStatus,
    seconds: float,
    clock: PollClock,
    say: Callable[[str], None],
) -> TokenStatus:
    """Return the status after the first refresh; raise LoginFailed if it fails or takes longer."""
    deadline = clock.monotonic() + seconds
    last = before
    while True:
        now = _read_again(kubectl, ref, last)
        if is_refreshed(before, now):
            return now
        if has_failed(before, now):
            raise LoginFailed(
                f"the login is in Secret {ref}, but it is {now.status}: {now.message}"
            )
        if now.status != last.status and now.status in _PASSING:
            say(f"{now.status}: {now.message}")
        last = now
        if clock.monotonic() >= deadline:
            break
        clock.sleep(_INTERVAL)
    state = f"it is {last.status}: {last.message}" if last.status else "it has no status"
    raise LoginFailed(
        f"the login is in Secret {ref}, but was not refreshed within {seconds:.0f} s; {state}; "
        f"see: kubectl oauth2-csi doctor"
    )
