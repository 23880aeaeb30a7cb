"""`kubectl oauth2-csi refresh`: ask for a new access token now."""

import argparse
import queue
import threading
import time
from typing import Any

from csidriver.core import annotations
from csidriver.core.kubernetes.timestamp import format_rfc3339
from csidriver.core.login_command import describe_command
from csidriver.core.names import SourceRef
from csidriver.core.refresh.schedule import min_interval
from csidriver.core.status import Status
from csidriver.errors import DriverError, NotReady
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.next_step import next_step, watch_command, with_step
from csidriver.kubectl.output.ages import human_duration
from csidriver.kubectl.terminal import Terminal
from csidriver.kubectl.tokens.overview import remaining
from csidriver.kubectl.tokens.records import DELETED
from csidriver.kubectl.tokens.token import Token, read_token, watch_tokens
from csidriver.kubectl.wait_time import wait_seconds

TIMEOUT = 60.0


def add(subparsers: Any) -> None:
    about = "ask for a new access token now"
    parser = subparsers.add_parser("refresh", help=about, description=about)
    parser.add_argument("name", metavar="NAME", help="the Secret")
    parser.add_argument("--wait", action="store_true", help="wait until the token is new")
    help_text = f"seconds to wait, by default {TIMEOUT:.0f}"
    parser.add_argument(
        "--timeout", type=wait_seconds, default=TIMEOUT, metavar="N", help=help_text
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, kubectl: Kubectl, terminal: Terminal) -> int:
    token = read_token(kubectl, SourceRef(kubectl.namespace(), args.name))
    now = time.time()
    if token.state != Status.READY.value:
        raise DriverError(_refusal(token, now))
    wish = {annotations.REFRESH_REQUESTED_AT: format_rfc3339(now)}
    patch = {"metadata": {"annotations": wish}}
    kubectl.patch("secret", token.ref.name, token.ref.namespace, patch)
    terminal.print(f"secret/{token.ref.name} refresh requested")
    terminal.report(f"the refresher gets a new token {_when(token, now)}")
    if args.wait:
        new = _wait(kubectl, token, args.timeout)
        terminal.print(f"secret/{token.ref.name} refreshed, {_expiry(new)}")
    else:
        terminal.report(f"to see it: {watch_command(token.ref)}")
    return 0


def _refusal(token: Token, now: float) -> str:
    """Return why a request would change nothing, and what does."""
    text = f"Secret {token.ref} is {token.state}: {token.message or 'the refresher has not met it'}"
    next_refresh = token.instant(annotations.NEXT_REFRESH)
    if next_refresh is not None:
        when = f"in {human_duration(next_refresh - now)}" if next_refresh > now else "due"
        text += f"; the next attempt is {when}"
    return with_step(text, next_step(token, now))


def _when(token: Token, now: float) -> str:
    """Return when the refresher honours a request: not too soon after the last refresh."""
    refreshed_at = token.instant(annotations.REFRESHED_AT)
    expires_at = token.instant(annotations.EXPIRES_AT)
    if refreshed_at is None or expires_at is None:
        return "at once"
    gap = min_interval(expires_at - refreshed_at)
    wait = refreshed_at + gap - now
    if wait < 1:
        return "at once"
    return f"in {human_duration(wait)}: two refreshes are at least {human_duration(gap)} apart"


def _wait(kubectl: Kubectl, before: Token, timeout: float) -> Token:
    """Return the refreshed token; raise DriverError if it fails, NotReady after the time-out."""
    events: queue.Queue[tuple[str, Token] | DriverError] = queue.Queue()
    threading.Thread(target=_collect, args=(kubectl, before, events), daemon=True).start()
    deadline = time.monotonic() + timeout
    while True:
        try:
            event = events.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            text = f"there is no new token after {timeout:.0f} s"
            raise NotReady(with_step(text, describe_command(before.ref))) from None
        if isinstance(event, DriverError):
            raise event
        kind, token = event
        if kind == DELETED or not token.is_annotated:
            raise DriverError(f"Secret {before.ref} was deleted, or lost its annotation")
        if token.state != Status.READY.value:
            raise DriverError(_refusal(token, time.time()))
        if token.values[annotations.REFRESHED_AT] != before.values[annotations.REFRESHED_AT]:
            return token


def _collect(
    kubectl: Kubectl, token: Token, events: "queue.Queue[tuple[str, Token] | DriverError]"
) -> None:
    try:
        where = f"--namespace={token.ref.namespace}"
        for event in watch_tokens(kubectl, where, name=token.ref.name):
            events.put(event)
    except DriverError as error:
        events.put(error)


def _expiry(token: Token) -> str:
    expires_at = token.instant(annotations.EXPIRES_AT)
    return f"expires in {remaining(expires_at, time.time(), 'expired')}"
