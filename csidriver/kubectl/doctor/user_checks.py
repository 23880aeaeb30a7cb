"""The user: rights for Secrets, and the statuses of the tokens."""

import shlex
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from csidriver.core import annotations
from csidriver.core.login_command import describe_command
from csidriver.core.oauth.issuers import Issuers
from csidriver.core.status import Status
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.doctor.finding import Finding, Level, ok, problem
from csidriver.kubectl.errors import KubectlError
from csidriver.kubectl.next_step import next_step
from csidriver.kubectl.tokens.token import Token, read_tokens

VERBS = ("get", "create", "patch")
_ROLE = "oauth2-csi-login"
_DOCTOR = "kubectl oauth2-csi doctor"
_NO_ISSUER = "no issuer"
# Somebody must do something.
_BROKEN = frozenset(
    status.value
    for status in (
        *(Status.NEEDS_REAUTH, Status.LOST_ROTATION, Status.DUPLICATE_GRANT),
        *(Status.CLIENT_REJECTED, Status.MISCONFIGURED, Status.INVALID),
    )
)


def check_rights(kubectl: Kubectl, namespace: str) -> Iterator[Finding]:
    missing = [verb for verb in VERBS if not kubectl.can_i(verb, "secrets", namespace)]
    if not missing:
        yield ok("rights", f"you may {_listed(VERBS)} Secrets in namespace {namespace}")
        return
    where = f"-n {shlex.quote(namespace)}"
    verbs = ",".join((*VERBS, "list", "watch"))
    yield problem(
        "rights",
        f"you may not {_listed(missing, 'or')} Secrets in namespace {namespace}, as `login` does",
        f"an administrator of the namespace runs: kubectl create role {_ROLE} {where} "
        f"--verb={verbs} --resource=secrets && kubectl create rolebinding {_ROLE} {where} "
        f"--role={_ROLE} --user={shlex.quote(_user(kubectl))}",
    )


def check_tokens(kubectl: Kubectl, where: str, issuers: Issuers, name: str) -> Iterator[Finding]:
    """Yield a finding for each issuer, or for the one of this name; also for those of tokens."""
    default = next((issuer.name for issuer in issuers.by_name.values() if issuer.default), "")
    groups: dict[str, list[Token]] = {name: []} if name else {each: [] for each in issuers.by_name}
    for token in read_tokens(kubectl, where):
        groups.setdefault(token.issuer or default, []).append(token)
    for issuer, tokens in groups.items():
        if name in ("", issuer):
            yield _summary(issuer or _NO_ISSUER, tokens, time.time())


def _summary(name: str, tokens: Sequence[Token], now: float) -> Finding:
    if not tokens:
        return ok(name, "there is no token of this issuer")
    states = Counter(token.state for token in tokens).most_common()
    text = ", ".join(f"{count} {state}" for state, count in states)
    text = f"{len(tokens)} token{'' if len(tokens) == 1 else 's'}: {text}"
    levels = list(Level)
    worst = max(tokens, key=lambda token: levels.index(_level(token, now)))
    level = _level(worst, now)
    if level is Level.OK:
        return ok(name, text)
    warnings = ", ".join(found.value for found in worst.warnings)
    message = worst.message or "the refresher has not met it"
    reason = f"Secret {worst.ref} is {worst.state}: {message}"
    if warnings and worst.state == Status.READY.value:
        reason = f"Secret {worst.ref} has the warning {warnings}"
    step = _step(worst, now)
    return Finding(level, name, f"{text}; {reason.removesuffix(f'; run: {step}')}", f"run: {step}")


def _level(token: Token, now: float) -> Level:
    expires_at = token.instant(annotations.EXPIRES_AT)
    if token.state in _BROKEN or (expires_at is not None and expires_at <= now):
        return Level.PROBLEM
    works = token.state in (Status.READY.value, Status.PENDING.value)
    return Level.OK if works and not next_step(token, now) else Level.WARNING


def _step(token: Token, now: float) -> str:
    """Return the command that helps; this one is running."""
    step = next_step(token, now)
    return describe_command(token.ref) if not step or step.startswith(_DOCTOR) else step


def _user(kubectl: Kubectl) -> str:
    try:
        return kubectl.user() or "USER"
    except KubectlError:
        return "USER"


def _listed(verbs: Sequence[str], conjunction: str = "and") -> str:
    *first, last = verbs
    return f"{', '.join(first)} {conjunction} {last}" if first else last
