"""Invariants 15 to 18: tokens of grants without a refresh token, and what they are made from."""

import math
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

from csidriver.core import annotations, companion, names
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.oauth.grant_type import GrantType
from csidriver.core.refresh import effects
from csidriver.core.refresh.grant import Grant
from csidriver.core.status import Status
from csidriver.refresher.controller import MAX_BACKOFF
from tests.simulator.grants.issuing import GREEDY_CLIENT, WIDE_SCOPE

if TYPE_CHECKING:
    from tests.simulator.network import Network
    from tests.simulator.replica import Replica

# Seconds in which a companion must be empty after the login was deleted.
GRACE = 2.0
_EPSILON = 0.01


class GrantChecks:
    """Looks at requests, and at companions when something about them should have changed.

    What goes wrong hinders a token, or all of them: then it may expire.
    """

    def __init__(self, network: "Network") -> None:
        self.network, self.loop, self.cluster = network, network.loop, network.cluster
        self.server, self.invariants = network.server, network.invariants
        self.replicas: list[Replica] = []
        self.grants: dict[SourceRef, Grant] = {}
        self._accesses: dict[SourceRef, set[str]] = defaultdict(set)
        # What was exchanged last, and when.
        self._subjects: dict[SourceRef, tuple[str, float]] = {}
        # The access token in each companion whose expiry is checked.
        self._checked: dict[SourceRef, str] = {}
        self._hindered_at: dict[SourceRef, float] = {}
        self._all_hindered_at = -math.inf

    def on_write(self, writer: str, before: Secret | None, after: Secret | None) -> None:
        secret = after or before
        assert secret is not None
        key = secret.namespace, secret.name
        ref = self.cluster.token_objects.get(key, SourceRef(*key))
        if writer == "user":
            self.hinder(ref)
            if after is None and key not in self.cluster.token_objects:
                self._after_deletion(ref)
        found = None if after is None else companion.parse_or_none(after)
        if found is not None and found.token is not None and self._is_repeatable(ref):
            self._check_published(ref, found.token.value.reveal())

    def on_grant(self, ref: SourceRef, grant: Grant | None) -> None:
        if grant is None:
            self.grants.pop(ref, None)
            return
        before, self.grants[ref] = self.grants.get(ref), grant
        if before is not None and before.generation != grant.generation:
            self._after_renewal(ref, grant)
        if grant.document.access_token is not None:
            self._accesses[ref].add(grant.document.access_token.reveal())

    def hinder(self, ref: SourceRef) -> None:
        """Note that something happens to a token that may delay it."""
        self._hindered_at[ref] = self.loop.now

    def hinder_all(self, until: float) -> None:
        """Note that something happens to a process, or to the server."""
        self._all_hindered_at = max(self._all_hindered_at, until)

    def on_request(self, replica: "Replica", effect: effects.RequestRepeatable) -> None:
        ref = effect.ref
        self.loop.record(replica.holder, f"{ref.name}: requests a token")
        self.invariants.refreshes += 1
        grant = self.grants[ref]
        login = SourceRef(ref.namespace, grant.login) if grant.login else None
        renewals = len(self.invariants.histories[login].sent) if login else 0
        self.invariants.check_rate(replica, ref, effect.client.client_id, renewals)
        fields = {name: value.reveal() for name, value in effect.form}
        known = {*self.invariants.issued, *self.server.access_tokens.unasked}
        known |= {t for h in self.invariants.histories.values() for t in h.user_tokens}
        if known.intersection(fields.values()):
            self.loop.report_violation(f"17: {ref.name} presents a refresh token")
        subject = fields.get("subject_token", "")
        record = self.server.access_tokens.tokens.get(subject)
        # A process that is late may still send what the Secret asked for before.
        is_late = subject == "" and not self._is_alone
        made_from_login = login is None or subject in self._accesses[login] or is_late
        if not made_from_login or (record is not None and record.exchanged):
            self.loop.report_violation(f"17: {ref.name} is made from {subject}")
        self._check_need(replica, ref, grant, subject)

    @property
    def _is_alone(self) -> bool:
        parameters = self.network.parameters
        return parameters.leader_election and not parameters.freeze

    def _check_need(self, replica: "Replica", ref: SourceRef, grant: Grant, subject: str) -> None:
        last, at = self._subjects.get(ref, ("", 0.0))
        self._subjects[ref] = subject, self.loop.now
        due = grant.next_refresh is not None and grant.next_refresh <= replica.now()
        # A process that died may not have stored what became of the request before.
        if self._is_alone and not due and subject == last and not self._is_hindered(ref, at):
            self.loop.report_violation(f"16: {ref.name} is requested without need")

    def _is_repeatable(self, ref: SourceRef) -> bool:
        grant = self.grants.get(ref)
        return grant is not None and grant.grant_type.is_repeatable

    def _check_published(self, ref: SourceRef, token: str) -> None:
        record = self.server.access_tokens.tokens.get(token)
        if record is None or (record.exchanged and record.scope == WIDE_SCOPE):
            self.loop.report_violation(f"17: the companion of {ref.name} has {token}")
            return
        if self._checked.get(ref) != token:
            self._checked[ref] = token
            # What hinders its publication makes it expire there, too.
            issued_at = record.expires_at - self.network.parameters.life
            since, at = min(self.loop.now, issued_at) - GRACE, record.expires_at + _EPSILON
            self.loop.call_at(at, lambda: self._check_expired(ref, token, since))

    def _check_expired(self, ref: SourceRef, token: str, since: float) -> None:
        if self._published(ref) != token or self._is_hindered(ref, since):
            return
        self.loop.report_violation(f"15: the companion of {ref.name} has an expired access token")

    def _is_hindered(self, ref: SourceRef, since: float) -> bool:
        """Return True if a token may not have been renewed since an instant."""
        at = max(self._all_hindered_at, self._hindered_at.get(ref, 0.0))
        grant = self.grants.get(ref)
        if at >= since or grant is None:
            return True
        if not grant.login:
            return False
        login = SourceRef(ref.namespace, grant.login)
        parent = self.grants.get(login)
        if parent is None or parent.status is not Status.READY:
            return True
        return self._is_hindered(login, since)

    def _published(self, ref: SourceRef) -> str:
        secret = self.cluster.secrets.get((names.TOKENS_NAMESPACE, ref.companion))
        found = companion.parse_or_none(secret)
        return "" if found is None or found.token is None else found.token.value.reveal()

    def _after_renewal(self, login: SourceRef, renewed: Grant) -> None:
        since, at = self.loop.now, self.loop.now + 2 * GRACE + self.invariants.queueing_time()

        def check(ref: SourceRef) -> None:
            grant = self.grants.get(ref)
            source = self.cluster.secrets.get((ref.namespace, ref.name))
            is_meant = source is not None and _login_of(ref, source) == login
            parent = self.grants.get(login)
            is_new = parent is not None and parent.generation == renewed.generation
            busy = any(ref in replica.reconciliations for replica in self.replicas)
            if grant is None or busy or not (is_meant and is_new) or self._is_hindered(ref, since):
                return
            if grant.login_generation != renewed.generation:
                self.loop.report_violation(f"15: {ref.name} does not follow its login")

        if renewed.grant_type is GrantType.TOKEN_EXCHANGE:
            return
        for ref, grant in self.grants.items():
            if SourceRef(ref.namespace, grant.login) == login:
                self.loop.call_at(at, partial(check, ref))

    def _after_deletion(self, login: SourceRef) -> None:
        for ref, grant in self.grants.items():
            if SourceRef(ref.namespace, grant.login) == login:
                self._recheck(login, ref, GRACE, 0)

    def _recheck(self, login: SourceRef, ref: SourceRef, after: float, quiet: int) -> None:
        at = self.loop.now + after + _EPSILON
        self.loop.call_at(at, lambda: self._check_emptied(login, ref, quiet))

    def _check_emptied(self, login: SourceRef, ref: SourceRef, quiet: int) -> None:
        """Check that a token has ended with its login; `quiet` counts the checks with no excuse."""
        grant = self.grants.get(ref)
        exists = (login.namespace, login.name) in self.cluster.secrets
        if exists or grant is None or grant.login != login.name or not self._published(ref):
            return
        working = [r for r in self.replicas if r.working and not r.is_frozen]
        failed = max(self._hindered_at.get(each, 0.0) for each in (ref, login)) + MAX_BACKOFF
        busy = [r for r in working if {ref, login} & {*r.uninformed, *r.reconciliations}]
        restarted = any(r.working_since + GRACE > self.loop.now for r in working)
        if busy or restarted or not working or self.loop.now < failed:
            self._recheck(login, ref, GRACE, 0)
        elif quiet == 0:
            self._recheck(login, ref, GRACE, 1)
        else:
            text = f"18: {ref.name} has an access token {GRACE} s after {login.name} was deleted"
            self.loop.report_violation(text)

    def check_end(self, ref: SourceRef) -> str:
        """Return a violation of a source without a refresh token, "" if its end has a cause."""
        source = self.cluster.secrets[ref.namespace, ref.name]
        status = source.annotations.get(annotations.STATUS, "")
        expected = self._expected_statuses(ref, source)
        if status not in {each.value for each in expected}:
            return f"6: {ref.name} ends as {status} without a cause"
        grant, login = self.grants.get(ref), self.grants.get(_login_of(ref, source))
        if grant is None or login is None or expected != {Status.READY}:
            return ""
        # The run may end between a renewal of the login and what it leads to.
        latest = self.loop.now - 5.0 - max(map(abs, self.network.parameters.offsets))
        behind = grant.login_generation != login.generation and login.issued_at < latest
        return f"15: {ref.name} stays behind its login" if behind else ""

    def _expected_statuses(self, ref: SourceRef, source: Secret) -> set[Status]:
        if source.annotations.get(annotations.GRANT_TYPE) == GrantType.CLIENT_CREDENTIALS.value:
            return {Status.READY}
        login = _login_of(ref, source)
        parent, grant = (
            self.cluster.secrets.get((login.namespace, login.name)),
            self.grants.get(login),
        )
        if parent is None:
            return {Status.WAITS_FOR_LOGIN}
        if parent.annotations.get(annotations.GRANT_TYPE) == GrantType.TOKEN_EXCHANGE.value:
            return {Status.MISCONFIGURED}
        client = source.data.get(annotations.KEY_CLIENT_ID)
        is_greedy = client is not None and client.reveal() == GREEDY_CLIENT
        token = None if grant is None else grant.document.refresh_token
        lives = token is None or self.server.accepts(token.reveal(), self.loop.now)
        if grant is not None and grant.status is Status.READY and lives:
            return {Status.MISCONFIGURED if is_greedy else Status.READY}
        # The login's end: its token may be refused, or the last one is still good.
        return {Status.READY, Status.MISCONFIGURED, Status.WAITS_FOR_LOGIN}


def _login_of(ref: SourceRef, source: Secret) -> SourceRef:
    return SourceRef(ref.namespace, source.annotations.get(annotations.LOGIN, ""))
