"""Whatever users and their tools do to a Secret of a real API server, its token stays alive."""

import base64
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from csidriver.core.status import Status, TokenWarning
from csidriver.demo.presentation_log import Outcome
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS
from tests.cluster.user_namespace import Tenant
from tests.processes import running
from tests.refresher.bench import Bench, until

pytestmark = pytest.mark.tools(*PROGRAMS)
NS = "frank"
ADMISSION = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic"
REFRESHER = "system:serviceaccount:oauth2-csi:oauth2-csi-refresher"

Manifest = dict[str, Any]


class Served:
    """A user whose tokens a refresher with the rights of `deploy/` keeps fresh."""

    def __init__(self, tenant: Tenant, bench: Bench) -> None:
        self.tenant = tenant
        self.issuer = bench.issuer

    def fresh(self, name: str) -> Manifest:
        """The manifest of a Secret whose token was just refreshed, not for the first time."""
        original = self.tenant.apply(name, self.issuer.seed("my-app"))
        until(lambda: self.tenant.generation(name) >= 2, "it is adopted and refreshed")
        self.tenant.rotates(name)
        return original


@pytest.fixture(scope="module")
def served(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("reapply")
    cluster.sweep(NS)
    flags = ["--store", "kubernetes", "--kubeconfig", str(cluster.refresher)]
    flags += ["--spool-dir", str(folder / "spool"), "--identity", "pod", "--listen", "127.0.0.1:0"]
    with Bench(folder) as bench:
        flags += ["--issuers", str(bench.issuers)]
        with running("refresher", *flags) as (_, log):
            yield Served(Tenant(cluster, NS), bench)
            assert "Traceback" not in log.read_text("utf-8")


def encoded(original: Manifest) -> Manifest:
    """The same Secret with `data` instead of `stringData`."""
    plain = original["stringData"].items()
    data = {key: base64.b64encode(text.encode()).decode() for key, text in plain}
    return {key: original[key] for key in original if key != "stringData"} | {"data": data}


def apply(tenant: Tenant, original: Manifest) -> None:
    tenant.kubectl("apply", stdin=original)


def server_side_text(tenant: Tenant, original: Manifest) -> None:
    tenant.kubectl("apply", "--server-side", "--force-conflicts", stdin=original)


def server_side_data(tenant: Tenant, original: Manifest) -> None:
    tenant.kubectl("apply", "--server-side", "--force-conflicts", stdin=encoded(original))


def replace(tenant: Tenant, original: Manifest) -> None:
    tenant.kubectl("replace", stdin=original)


def recreate(tenant: Tenant, original: Manifest) -> None:
    tenant.kubectl("delete", "secret", original["metadata"]["name"])
    tenant.kubectl("create", stdin=original)


def a_restored_seed(served: Served, strike: Callable[[Tenant, Manifest], None]) -> None:
    tenant, name = served.tenant, strike.__name__.replace("_", "-")
    original = served.fresh(name)
    strike(tenant, original)
    until(lambda: TokenWarning.OLD_SEED_RESTORED.value in tenant.warning(name), "the user is told")
    tenant.rotates(name)
    until(lambda: tenant.mirrored(name), "the live document is back")
    assert not tenant.warning(name)
    tenant.rotates(name)


def an_immutable_secret(served: Served) -> None:
    tenant = served.tenant
    served.fresh("stone")
    tenant.kubectl("patch", "secret", "stone", "--patch", '{"immutable": true}')
    before = tenant.source("stone").data
    tenant.rotates("stone")
    until(lambda: tenant.warning("stone") == TokenWarning.MIRROR_REFUSED.value, "the user is told")
    tenant.rotates("stone", 2)
    assert tenant.source("stone").data == before
    assert not tenant.mirrored("stone")


@contextmanager
def policy(served: Served, name: str, expression: str) -> Iterator[None]:
    """What else of the refresher's writes to a Secret than this expression allows is refused."""
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"]}
    conditions = {"name": f"object.metadata.name == '{name}'"}
    conditions["who"] = f"request.userInfo.username == '{REFRESHER}'"
    spec = {
        "matchConstraints": {"resourceRules": [rule | {"resources": ["secrets"]}]},
        "matchConditions": [{"name": k, "expression": v} for k, v in conditions.items()],
        "validations": [{"expression": expression}],
    }
    bound = {"policyName": f"{name}.example", "validationActions": ["Deny"]}
    objects: Mapping[str, Any] = {"ies": spec, "ybindings": bound}
    api = served.tenant.plane.api
    for path, content in objects.items():
        api("POST", ADMISSION + path, {"metadata": {"name": f"{name}.example"}, "spec": content})
    try:
        yield
    finally:
        for path in objects:
            api("DELETE", f"{ADMISSION}{path}/{name}.example")


def a_policy_that_guards_data(served: Served) -> None:
    tenant = served.tenant
    served.fresh("guarded")

    def refused() -> bool:
        tenant.rotates("guarded")
        until(lambda: tenant.mirrored("guarded") or tenant.warning("guarded"))
        return tenant.warning("guarded") == TokenWarning.MIRROR_REFUSED.value

    with policy(served, "guarded", "object.data == oldObject.data"):
        until(refused, "the policy is in force, and the user is told")
        tenant.rotates("guarded", 2)
        assert not tenant.mirrored("guarded")


def a_policy_that_refuses_everything(served: Served) -> None:
    tenant = served.tenant
    served.fresh("closed")

    def refused() -> bool:
        tenant.rotates("closed")
        # Nothing can be written to it, so an Event is where the user finds the reason.
        told = TokenWarning.MIRROR_REFUSED.value
        until(lambda: tenant.mirrored("closed") or told in tenant.events("closed"))
        return not tenant.mirrored("closed")

    with policy(served, "closed", "false"):
        until(refused, "the policy is in force, and the user is told")
        before = tenant.source("closed")
        tenant.rotates("closed", 2)
        assert tenant.source("closed") == before
        seen = tenant.companion("closed")
        assert seen is not None
        assert seen.status is Status.READY


STORIES: Mapping[str, Callable[[Served], None]] = {
    "apply": partial(a_restored_seed, strike=apply),
    "server-side apply of stringData": partial(a_restored_seed, strike=server_side_text),
    "server-side apply of data": partial(a_restored_seed, strike=server_side_data),
    "replace": partial(a_restored_seed, strike=replace),
    "delete and create": partial(a_restored_seed, strike=recreate),
    "immutable": an_immutable_secret,
    "policy on data": a_policy_that_guards_data,
    "policy on everything": a_policy_that_refuses_everything,
}


@pytest.fixture(scope="module")
def ends(served: Served) -> Iterator[Mapping[str, Future[None]]]:
    """All stories at the same time: most of each is waiting for kubectl."""
    with ThreadPoolExecutor(len(STORIES)) as pool:
        yield {name: pool.submit(story, served) for name, story in STORIES.items()}


@pytest.mark.parametrize("story", STORIES)
def test_a_token_goes_on_rotating_whatever_happens_to_its_secret(
    ends: Mapping[str, Future[None]], story: str
) -> None:
    ends[story].result()


def test_a_reseed_is_adopted(served: Served, ends: Mapping[str, Future[None]]) -> None:
    wait(ends.values())
    tenant = served.tenant
    served.fresh("again")
    fresh = served.issuer.seed("my-app")

    def adopted() -> bool:
        grant = tenant.grant("again")
        return grant is not None and fresh.hash() in grant.spent

    tenant.apply("again", fresh)
    until(adopted, "the new login is proved and the only one that is used")
    until(lambda: tenant.mirrored("again"))
    tenant.rotates("again")


def test_nothing_was_spent_twice(served: Served, ends: Mapping[str, Future[None]]) -> None:
    wait(ends.values())
    assert {row.outcome for row in served.issuer.presentations()} == {Outcome.ROTATED}
    assert served.issuer.max_presentations() == 1
