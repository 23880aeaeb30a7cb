from dataclasses import replace

from csidriver.core.annotations import SOURCE_NAME, SOURCE_NAMESPACE
from csidriver.core.kubernetes.change import SecretChange, TokenObject
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.oauth.issuers import Issuers
from csidriver.core.refresh.state import RefreshContext, TokenState
from csidriver.core.sensitive import Sensitive
from csidriver.refresher.resync import Snapshot, initial_states
from csidriver.refresher.state_cache import compact
from tests.refresher.token_states import REF, grant, known


class ListedSecrets:
    def __init__(self, *secrets: Secret) -> None:
        self.secrets = secrets

    def list_secrets(self, namespace: str, type: str) -> list[Secret]:  # noqa: A002 - its name
        return [s for s in self.secrets if (s.namespace, s.type) == (namespace, type)]

    def now(self) -> float:
        raise NotImplementedError

    def monotonic(self) -> float:
        return 7.0


class Poison(dict[str, Sensitive]):
    """Data that fails in a way that no rule expects."""

    def __getitem__(self, key: str) -> Sensitive:
        raise ZeroDivisionError(key)


def test_the_initial_states_contain_every_token_that_was_found() -> None:
    context = RefreshContext(
        issuers=Issuers(), holder="me", driver_namespace="driver", tokens_namespace="tokens"
    )
    lone, orphan, stray = (
        SourceRef("ns", "lone"),
        SourceRef("ns", "orphan"),
        SourceRef("ns", "stray"),
    )
    kept = known()
    assert kept.grant_secret is not None
    assert kept.companion is not None
    listed = replace(kept.companion, annotations={**kept.companion.annotations})
    foreign = replace(kept.grant_secret, name="grant-of-nobody", annotations={})
    misnamed = replace(kept.grant_secret, name=stray.grant)
    poisoned_ref = SourceRef("ns", "poisoned")
    poisoned = replace(
        kept.grant_secret,
        name=poisoned_ref.grant,
        annotations={SOURCE_NAMESPACE: "ns", SOURCE_NAME: "poisoned"},
        data=Poison(),
    )
    listed_secrets = ListedSecrets(listed, poisoned, kept.grant_secret, foreign, misnamed)
    changes = [
        SecretChange(REF, TokenObject.SOURCE, "s1", written_by_driver=True),
        SecretChange(lone, TokenObject.SOURCE, "s2"),
        SecretChange(orphan, TokenObject.COMPANION, "c2"),
        None,
        SecretChange(stray, TokenObject.SOURCE, "later"),
    ]
    rest = iter(changes)
    snapshot = Snapshot.read(rest)
    assert snapshot is not None
    assert next(rest) == changes[-1]
    found = {
        state.ref: state
        for state in initial_states(snapshot, listed_secrets, context, listed_secrets)
    }
    assert set(found) == {REF, lone, orphan, poisoned_ref}
    assert found[poisoned_ref] == TokenState(poisoned_ref)
    assert found[lone] == TokenState(lone)
    assert found[REF].grant == grant()
    assert found[REF].grant_secret == kept.grant_secret
    assert found[REF].companion == compact(kept).companion
    assert found[REF].read_at == 7.0
    assert Snapshot.read(iter(changes[:2])) is None, "a watch that ended early yields nothing"


def test_a_snapshot_diff_also_yields_what_was_deleted() -> None:
    snapshot = Snapshot.read(iter([SecretChange(REF, TokenObject.SOURCE, "s1"), None]))
    assert snapshot is not None
    assert set(snapshot.diff([REF, SourceRef("ns", "gone")])) == {
        SecretChange(REF, TokenObject.SOURCE, "s1"),
        SecretChange(REF, TokenObject.GRANT, ""),
        SecretChange(REF, TokenObject.COMPANION, ""),
        *(SecretChange(SourceRef("ns", "gone"), token_object, "") for token_object in TokenObject),
    }
