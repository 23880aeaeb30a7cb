"""A token survives everything that users and tools do to its Secret."""

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
from tests.cluster.user_namespace import UserNamespace
from tests.processes import running
from tests.refresher.bench import Bench, until

pytestmark = pytest.mark.tools(*PROGRAMS)
NS = "frank"
ADMISSION = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic"
REFRESHER = "system:serviceaccount:oauth2-csi:oauth2-csi-refresher"

Manifest = dict[str, Any]


class Served:
    """A user whose tokens a refresher with the rights of `deploy/` keeps fresh."""

    def __init__(self, user: UserNamespace, bench: Bench) -> None:
        self.user = user
        self.issuer = bench.issuer

    def fresh(self, name: str) -> Manifest:
        """The manifest of a Secret whose token was just refreshed, not for the first time."""
        original = self.user.apply(name, self.issuer.seed("my-app"))
        until(lambda: self.user.generation(name) >= 2, "it is adopted and refreshed")
        self.user.refresh_repeatedly(name)
        return original


@pytest.fixture(scope="module")
def served(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("reapply")
    cluster.reset_namespaces(NS)
    flags = ["--store", "kubernetes", "--kubeconfig", str(cluster.refresher)]
    flags += ["--spool-dir", str(folder / "spool"), "--identity", "pod", "--listen", "127.0.0.1:0"]
    with Bench(folder) as bench:
        flags += ["--issuers", str(bench.issuers)]
        with running("refresher", *flags) as (_, log):
            yield Served(UserNamespace(cluster, NS), bench)
            assert "Traceback" not in log.read_text("utf-8")


def encoded(original: Manifest) -> Manifest:
    """The same Secret with `data` instead of `stringData`."""
    plain = original["stringData"].items()
    data = {key: base64.b64encode(text.encode()).decode() for key, text in plain}
    return {key: original[key] for key in original if key != "stringData"} | {"data": data}


def apply(user: UserNamespace, original: Manifest) -> None:
    user.kubectl("apply", stdin=original)


def server_side_text(user: UserNamespace, original: Manifest) -> None:
    user.kubectl("apply", "--server-side", "--force-conflicts", stdin=original)


def server_side_data(user: UserNamespace, original: Manifest) -> None:
    user.kubectl("apply", "--server-side", "--force-conflicts", stdin=encoded(original))


def replace(user: UserNamespace, original: Manifest) -> None:
    user.kubectl("replace", stdin=original)


def recreate(user: UserNamespace, original: Manifest) -> None:
    user.kubectl("delete", "secret", original["metadata"]["name"])
    user.kubectl("create", stdin=original)


def a_restored_seed(served: Served, strike: Callable[[UserNamespace, Manifest], None]) -> None:
    user, name = served.user, strike.__name__.replace("_", "-")
    original = served.fresh(name)
    strike(user, original)
    until(lambda: TokenWarning.OLD_SEED_RESTORED.value in user.warning(name), "the user is told")
    user.refresh_repeatedly(name)
    until(lambda: user.is_mirrored(name), "the live document is back")
    assert not user.warning(name)
    user.refresh_repeatedly(name)


def an_immutable_secret(served: Served) -> None:
    user = served.user
    served.fresh("stone")
    user.kubectl("patch", "secret", "stone", "--patch", '{"immutable": true}')
    before = user.source("stone").data
    user.refresh_repeatedly("stone")
    until(lambda: user.warning("stone") == TokenWarning.MIRROR_REFUSED.value, "the user is told")
    user.refresh_repeatedly("stone", 2)
    assert user.source("stone").data == before
    assert not user.is_mirrored("stone")


@contextmanager
def policy(served: Served, name: str, expression: str) -> Iterator[None]:
    """A policy that rejects writes to a Secret which this expression does not allow."""
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
    api = served.user.plane.api
    for path, content in objects.items():
        api("POST", ADMISSION + path, {"metadata": {"name": f"{name}.example"}, "spec": content})
    try:
        yield
    finally:
        for path in objects:
            api("DELETE", f"{ADMISSION}{path}/{name}.example")


def a_policy_that_guards_data(served: Served) -> None:
    user = served.user
    served.fresh("guarded")

    def refused() -> bool:
        user.refresh_repeatedly("guarded")
        until(lambda: user.is_mirrored("guarded") or user.warning("guarded"))
        return user.warning("guarded") == TokenWarning.MIRROR_REFUSED.value

    with policy(served, "guarded", "object.data == oldObject.data"):
        until(refused, "the policy is in force, and the user is told")
        user.refresh_repeatedly("guarded", 2)
        assert not user.is_mirrored("guarded")


def a_policy_that_refuses_everything(served: Served) -> None:
    user = served.user
    served.fresh("closed")

    def refused() -> bool:
        user.refresh_repeatedly("closed")
        # Nothing can be written to it, so an Event is where the user finds the reason.
        told = TokenWarning.MIRROR_REFUSED.value
        until(lambda: user.is_mirrored("closed") or told in user.events("closed"))
        return not user.is_mirrored("closed")

    with policy(served, "closed", "false"):
        until(refused, "the policy is in force, and the user is told")
        before = user.source("closed")
        user.refresh_repeatedly("closed", 2)
        assert user.source("closed") == before
        seen = user.companion("closed")
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
    user = served.user
    served.fresh("again")
    fresh = served.issuer.seed("my-app")

    def adopted() -> bool:
        grant = user.grant("again")
        return grant is not None and fresh.hash() in grant.spent

    user.apply("again", fresh)
    until(adopted, "the new login is proved and the only one that is used")
    until(lambda: user.is_mirrored("again"))
    user.refresh_repeatedly("again")


def test_nothing_was_spent_twice(served: Served, ends: Mapping[str, Future[None]]) -> None:
    wait(ends.values())
    assert {row.outcome for row in served.issuer.presentations()} == {Outcome.ROTATED}
    assert served.issuer.max_presentations() == 1
