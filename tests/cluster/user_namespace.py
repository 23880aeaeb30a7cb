"""A user's namespace in the cluster: creates Secrets, reads what the driver makes of them."""

import json
import time
from dataclasses import replace
from typing import Any

from csidriver.adapters.kubernetes import KubernetesStore
from csidriver.core import annotations as core_annotations
from csidriver.core import names
from csidriver.core.companion import Companion
from csidriver.core.kubernetes.change import Namespaces
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.names import SourceRef
from csidriver.core.refresh import grant_secret
from csidriver.core.refresh.grant import Grant
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from csidriver.errors import StoreConflict
from tests.cluster.cluster import Cluster
from tests.refresher.bench import manifest
from tests.waiting import until

NAMESPACES = Namespaces(names.DRIVER_NAMESPACE, names.TOKENS_NAMESPACE)
FINAL_STATUSES = frozenset({Status.READY, Status.LOST_ROTATION})


class UserNamespace:
    """A namespace with annotated Secrets; `namespaces` are the driver's own."""

    def __init__(
        self, cluster: Cluster, namespace: str, namespaces: Namespaces = NAMESPACES
    ) -> None:
        self.namespace = namespace
        self.plane = cluster.plane
        self._namespaces = namespaces
        self._store = KubernetesStore(cluster.client())

    def kubectl(self, *arguments: str, stdin: dict[str, Any] | None = None) -> str:
        """Run kubectl in the namespace; an object for stdin is its manifest."""
        text = "" if stdin is None else json.dumps(stdin)
        files = () if stdin is None else ("--filename=-",)
        where = f"--namespace={self.namespace}"
        return self.plane.kubectl(*arguments, *files, where, stdin=text)

    def apply(self, name: str, token: Sensitive, **annotations: str) -> dict[str, Any]:
        """Apply an annotated Secret as in the announcement; return its manifest."""
        original = manifest(name, token.reveal(), **annotations)
        self.kubectl("apply", stdin=original)
        return original

    def create(self, name: str, token: Sensitive, **annotations: str) -> None:
        """Create the Secret without kubectl, which takes a tenth of a second."""
        path = f"/api/v1/namespaces/{self.namespace}/secrets?fieldManager=user"
        answer = self.plane.api("POST", path, manifest(name, token.reveal(), **annotations))
        assert answer["kind"] == "Secret", answer

    def source(self, name: str) -> Secret:
        found = self._read(self.namespace, name)
        assert found is not None
        return found

    def warning(self, name: str) -> str:
        return self.source(name).annotations.get(core_annotations.WARNING, "")

    def grant(self, name: str) -> Grant | None:
        found = self._read(self._namespaces.driver, SourceRef(self.namespace, name).grant)
        return None if found is None else grant_secret.from_secret(found)

    def generation(self, name: str) -> int:
        grant = self.grant(name)
        return 0 if grant is None else grant.generation

    def is_final(self, name: str) -> bool:
        """Return True if the token is ready or lost, and companion and source say so."""
        grant, companion = self.grant(name), self.companion(name)
        if grant is None or companion is None or grant.intent is not None:
            return False
        told = self.source(name).annotations.get(core_annotations.STATUS)
        current = companion.generation == grant.generation and companion.status is grant.status
        return current and told == grant.status.value and grant.status in FINAL_STATUSES

    def companion(self, name: str) -> Companion | None:
        found = self._read(self._namespaces.tokens, SourceRef(self.namespace, name).companion)
        return None if found is None else Companion.from_secret(found)

    def is_mirrored(self, name: str) -> bool:
        mirror, grant = self.source(name).data[core_annotations.KEY_OAUTH], self.grant(name)
        return grant is not None and mirror == grant.document.to_json()

    def refresh_repeatedly(self, name: str, times: int = 1) -> None:
        """Make the token due and wait for the new companion, `times` times."""
        for _ in range(times):
            wanted = self.generation(name) + 1
            self.make_due(name)

            def seen(wanted: int = wanted) -> bool:
                companion = self.companion(name)
                return companion is not None and companion.generation >= wanted

            until(seen, f"{name} is refreshed")

    def make_due(self, name: str) -> None:
        until(lambda: self._is_made_due(name), f"{name} is due")

    def _is_made_due(self, name: str) -> bool:
        """Return False after a write conflict, and while a refresh is under way: it writes last."""
        stored = self._read(self._namespaces.driver, SourceRef(self.namespace, name).grant)
        assert stored is not None
        grant = grant_secret.from_secret(stored)
        if grant.intent is not None:
            return False
        due = replace(grant, next_refresh=time.time())
        try:
            self._store.patch_secret(stored, SecretPatch(data=dict(grant_secret.to_data(due))))
        except StoreConflict:
            return False
        return True

    def _read(self, namespace: str, name: str) -> Secret | None:
        return self._store.get_secret(namespace, name)
