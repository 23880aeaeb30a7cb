"""Users of all grant types: they switch between them, name other logins, delete what they need."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random

from csidriver.core import annotations
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.oauth.grant_type import GrantType
from csidriver.core.sensitive import Sensitive
from tests.simulator.event_loop import START
from tests.simulator.grants import kinds
from tests.simulator.grants.issuing import GREEDY_CLIENT
from tests.simulator.network import Network
from tests.simulator.users import NAMESPACE, Users

_LOGIN = "token-0"


@dataclass
class GrantUsers:
    """The users of the Secrets without a refresh token, and of the logins of these."""

    network: Network
    users: Users

    def __post_init__(self) -> None:
        seed = self.network.parameters.seed
        self.rng = Random(f"{seed} users of others")  # noqa: S311 - repeatable on purpose

    def create_secrets(self) -> None:
        self.network.server.access_tokens.refusal = self.rng.choice(
            ("invalid_request", "invalid_grant")
        )
        for kind in self.network.parameters.others:
            ref = SourceRef(NAMESPACE, kind)
            self.network.cluster.add_token(ref)
            self.network.cluster.create(_secret(ref, kind))

    def plan_actions(self) -> None:
        """Let users act, and the operator of the server switch these grants off for a while."""
        loop, horizon = self.network.loop, self.network.parameters.horizon
        for _ in range(self.network.parameters.other_actions):
            loop.call_at(START + self.rng.uniform(0.0, horizon), self._do_something)
        if self.network.parameters.grant_outage:
            begins = self.rng.uniform(0.0, horizon)
            ends = min(horizon, begins + self.rng.uniform(1.0, self.network.parameters.life))
            loop.call_at(START + begins, lambda: self._switch_grants(off=True))
            loop.call_at(START + ends, lambda: self._switch_grants(off=False))

    def _switch_grants(self, *, off: bool) -> None:
        self.network.loop.record("admin", f"switches grants {'off' if off else 'on'}")
        self.network.server.access_tokens.is_off = off

    def _do_something(self) -> None:
        annotate, delete = self._annotate_for_a_while, self._delete_for_a_while
        names = (kinds.CLIENT, kinds.DERIVED, "absent-login")
        actions: dict[str, Callable[[], None]] = {
            "switch_login": lambda: annotate(_LOGIN, self._no_login()),
            # Then others are derived twice.
            "switch_client": lambda: annotate(kinds.CLIENT, _exchange(_LOGIN)),
            "rename_login": lambda: annotate(kinds.DERIVED, _exchange(self.rng.choice(names))),
            "delete_client": lambda: delete(kinds.CLIENT, 900.0),
            # Its grant must survive: the Secret comes back with an old refresh token.
            "delete_login": lambda: delete(_LOGIN, 500.0),
        }
        action = self.rng.choice(list(actions))
        self.network.loop.record("user", action)
        actions[action]()

    def _no_login(self) -> dict[str, str]:
        """Return the annotations of a client's own token, or of one of another login."""
        own = {annotations.GRANT_TYPE: GrantType.CLIENT_CREDENTIALS.value}
        return _exchange(kinds.CLIENT) if self.rng.random() < 0.5 else own

    def _annotate_for_a_while(self, name: str, wanted: Mapping[str, str]) -> None:
        self._annotate(name, wanted)
        back = _annotations(name)
        self._later(300.0, lambda: self._annotate(name, back))

    def _delete_for_a_while(self, name: str, longest: float) -> None:
        key = NAMESPACE, name
        current = self.network.cluster.secrets.get(key)
        if current is None:
            return
        self.network.cluster.delete(current)

        def create() -> None:
            if key not in self.network.cluster.secrets:
                kept = replace(current, annotations=_annotations(name))
                self.network.cluster.create(kept)

        self._later(longest, create)

    def _later(self, longest: float, action: Callable[[], None]) -> None:
        loop = self.network.loop
        loop.call_at(loop.now + self.rng.uniform(0.05, longest), action)

    def _annotate(self, name: str, wanted: Mapping[str, str]) -> None:
        current = self.network.cluster.secrets.get((NAMESPACE, name))
        if current is None:
            return
        own = (annotations.GRANT_TYPE, annotations.LOGIN)
        kept = {key: value for key, value in current.annotations.items() if key not in own}
        changed = replace(current, annotations={**kept, **wanted})
        self.network.cluster.store(changed)


def _exchange(login: str) -> dict[str, str]:
    return {annotations.GRANT_TYPE: GrantType.TOKEN_EXCHANGE.value, annotations.LOGIN: login}


def _annotations(kind: str) -> dict[str, str]:
    own = {annotations.IS_TOKEN: "true"}
    if kind == kinds.CLIENT:
        return own | {annotations.GRANT_TYPE: GrantType.CLIENT_CREDENTIALS.value}
    return own | _exchange(kinds.LOGINS[kind]) if kind in kinds.LOGINS else own


def _secret(ref: SourceRef, kind: str) -> Secret:
    client = {kinds.CLIENT: "robot", kinds.GREEDY: GREEDY_CLIENT}.get(kind, "")
    data = {"clientID": Sensitive(client), "clientSecret": Sensitive("s3cret")} if client else {}
    return Secret(ref.namespace, ref.name, annotations=_annotations(kind), data=data)
