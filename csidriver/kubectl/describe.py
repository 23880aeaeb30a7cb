"""`kubectl oauth2-csi describe`: one token in full, and the command that helps it."""

import argparse
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from csidriver.core import annotations
from csidriver.core.names import SourceRef
from csidriver.core.refresh.messages import WARNINGS
from csidriver.core.status import TokenWarning
from csidriver.kubectl import event_rows
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.errors import Forbidden
from csidriver.kubectl.event_rows import EventRow
from csidriver.kubectl.next_step import next_step
from csidriver.kubectl.output.ages import human_duration
from csidriver.kubectl.output.table import Table
from csidriver.kubectl.status import try_read_volumes
from csidriver.kubectl.terminal import Terminal
from csidriver.kubectl.tokens.overview import NONE, grant
from csidriver.kubectl.tokens.pod_volumes import PodVolume
from csidriver.kubectl.tokens.token import Token, read_token

_POD_HEADERS = (("Pod", "Status", "Node", "File"), ("---", "------", "----", "----"))
_NOT_ALLOWED = "<you may not list them>"


def add(subparsers: Any) -> None:
    about = "show one token: issuer, login, warnings, pods, events, next step"
    parser = subparsers.add_parser("describe", help=about, description=about)
    parser.add_argument("name", metavar="NAME", help="the Secret")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, kubectl: Kubectl, terminal: Terminal) -> int:
    token = read_token(kubectl, SourceRef(kubectl.namespace(), args.name))
    volumes = try_read_volumes(kubectl, f"--namespace={token.ref.namespace}")
    mine = None if volumes is None else [v for v in volumes if v.token == token.ref]
    waiting = {v.pod for v in mine or () if not v.has_ended}
    try:
        found: list[EventRow] | None = event_rows.read_events(kubectl, token.ref, waiting)
    except Forbidden:
        found = None
    for line in describe(token, mine, found, time.time()):
        terminal.print(line)
    return 0


def describe(
    token: Token,
    volumes: Sequence[PodVolume] | None,
    found: Sequence[EventRow] | None,
    now: float,
) -> Iterator[str]:
    """Yield lines in the form of `kubectl describe`."""
    fields = [*_fields(token, now), *_warnings(token.warnings)]
    sections = [("Pods", _pods(volumes)), ("Events", _events(found, now))]
    fields += [(f"{title}:", rows) for title, rows in sections if isinstance(rows, str)]
    yield from Table(padding=2, narrowest=0).lines(fields)
    for title, rows in sections:
        if not isinstance(rows, str):
            yield f"{title}:"
            for line in Table(padding=2, narrowest=0).lines(rows):
                yield f"  {line}"
    yield f"Next step:  {next_step(token, now) or NONE}"


def _fields(token: Token, now: float) -> list[tuple[str, str]]:
    instants = (
        ("Expires:", annotations.EXPIRES_AT),
        ("Refreshed:", annotations.REFRESHED_AT),
        ("Next refresh:", annotations.NEXT_REFRESH),
        ("Login ends:", annotations.LOGIN_EXPIRES_AT),
    )
    return [
        ("Name:", token.ref.name),
        ("Namespace:", token.ref.namespace),
        ("Issuer:", token.issuer or NONE),
        ("Grant type:", grant(token)),
        ("Status:", token.state),
        ("Message:", token.message or NONE),
        *((name, _instant(token.instant(key), now)) for name, key in instants),
    ]


def _warnings(warnings: Sequence[TokenWarning]) -> list[tuple[str, str]]:
    texts = [f"{warning.value}: {WARNINGS[warning]}" for warning in warnings]
    return [("" if i else "Warnings:", text) for i, text in enumerate(texts or [NONE])]


def _pods(volumes: Sequence[PodVolume] | None) -> str | list[Sequence[str]]:
    if volumes is None:
        return _NOT_ALLOWED
    rows = [
        (volume.pod, volume.phase, volume.node or NONE, ", ".join(volume.paths) or volume.file)
        for volume in sorted(volumes, key=lambda volume: (volume.pod, volume.volume))
    ]
    return [*_POD_HEADERS, *rows] if rows else NONE


def _events(found: Sequence[EventRow] | None, now: float) -> str | list[list[str]]:
    if found is None:
        return _NOT_ALLOWED
    return event_rows.rows(found, now) if found else NONE


def _instant(instant: float | None, now: float) -> str:
    if instant is None:
        return NONE
    date = datetime.fromtimestamp(instant, UTC).strftime("%a, %d %b %Y %H:%M:%S %z")
    duration = human_duration(abs(instant - now))
    return f"{date} (in {duration})" if instant > now else f"{date} ({duration} ago)"
