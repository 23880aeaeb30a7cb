"""What its policy lets the refresher change in users' Secrets, at a real API server."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from csidriver.core.annotations import IS_TOKEN, STATUS
from csidriver.core.names import REFRESHER
from tests.cluster.account import Account, Patch, told
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS
from tests.cluster.user_namespace import UserNamespace
from tests.processes import running
from tests.refresher.bench import Bench, until

pytestmark = pytest.mark.tools(*PROGRAMS)
NS = "policies"
OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x"}
SEEN = {STATUS: "Seen"}


@pytest.fixture(scope="module")
def user(cluster: Cluster) -> UserNamespace:
    """With one enrolled Secret, and two that are not."""
    cluster.reset_namespaces(NS)
    user = UserNamespace(cluster, NS)
    for name, annotations in {
        "enrolled": {IS_TOKEN: "true", "other": "a"},
        "not-any-more": {IS_TOKEN: "false"},
        "password": {},
    }.items():
        secret: Patch = {"apiVersion": "v1", "kind": "Secret"}
        secret["metadata"] = {"name": name, "annotations": annotations, "labels": {"a": "b"}}
        user.kubectl("create", stdin=secret | {"stringData": {"oauth": "a", "other": "b"}})
    return user


@pytest.fixture(scope="module")
def refresher(cluster: Cluster, user: UserNamespace) -> Account:
    account = Account(cluster, REFRESHER, "secret", user.namespace)
    account.wait_until_refused("password", noted(SEEN))
    return account


def noted(annotations: Mapping[str, str | None]) -> Patch:
    return {"metadata": {"annotations": annotations}}


NOT_ENROLLED = "the Secret is not annotated"
ANNOTATIONS = "the refresher changes only annotations under"
KEYS = "the refresher changes only the keys oauth and oauth2, and removes none"
REST = "the refresher changes neither immutable nor"
SECRETS: dict[str, tuple[str, Patch, str]] = {
    "token of an unannotated": ("password", {"stringData": {"oauth": "x"}}, NOT_ENROLLED),
    "status of an unannotated": ("password", noted(SEEN), NOT_ENROLLED),
    "enrolment": ("password", noted({IS_TOKEN: "true"}), NOT_ENROLLED),
    "status of one that is annotated otherwise": ("not-any-more", noted(SEEN), NOT_ENROLLED),
    "enrolment again": ("not-any-more", noted({IS_TOKEN: "true"}), NOT_ENROLLED),
    "end of an enrolment": ("enrolled", noted({IS_TOKEN: None}), ANNOTATIONS),
    "end of all annotations": ("enrolled", {"metadata": {"annotations": None}}, ANNOTATIONS),
    "another enrolment": ("enrolled", noted({IS_TOKEN: "false"}), ANNOTATIONS),
    "further annotation": ("enrolled", noted({"more": "x"}), ANNOTATIONS),
    "other annotation": ("enrolled", noted({"other": "x"}), ANNOTATIONS),
    "end of an annotation": ("enrolled", noted({"other": None}), ANNOTATIONS),
    "further key": ("enrolled", {"stringData": {"more": "x"}}, KEYS),
    "other key": ("enrolled", {"stringData": {"other": "x"}}, KEYS),
    "end of a key": ("enrolled", {"data": {"other": None}}, KEYS),
    "end of the token": ("enrolled", {"data": {"oauth": None}}, KEYS),
    "end of all keys": ("enrolled", {"data": None}, KEYS),
    "immutable": ("enrolled", {"immutable": True}, REST),
    "label": ("enrolled", {"metadata": {"labels": {"a": "c"}}}, REST),
    "end of labels": ("enrolled", {"metadata": {"labels": None}}, REST),
    "owner": ("enrolled", {"metadata": {"ownerReferences": [OWNER]}}, REST),
    "finalizer": ("enrolled", {"metadata": {"finalizers": ["a.b/c"]}}, REST),
}


@pytest.mark.parametrize(("name", "patch", "text"), SECRETS.values(), ids=SECRETS.keys())
def test_a_stolen_token_of_the_refresher_does_not_change(
    user: UserNamespace, refresher: Account, name: str, patch: Patch, text: str
) -> None:
    before = user.source(name)
    done = refresher.patch(name, patch)
    assert told(REFRESHER, text) in done.stderr
    assert user.source(name) == before


@pytest.mark.parametrize("many", ["annotations", "data"])
def test_a_secret_with_more_entries_than_the_policy_walks_through_is_refused(
    user: UserNamespace, refresher: Account, many: str
) -> None:
    entries = {f"key-{number}": "" for number in range(501)}
    annotations = {IS_TOKEN: "true", **(entries if many == "annotations" else {})}
    secret: Patch = {"metadata": {"name": f"many-{many}", "annotations": annotations}}
    secret["data"] = entries if many == "data" else {}
    user.plane.api("POST", f"/api/v1/namespaces/{NS}/secrets", secret)
    done = refresher.patch(f"many-{many}", noted(SEEN))
    assert told(REFRESHER, "the Secret has more than 500 keys or 500 annotations") in done.stderr


def test_nobody_changes_the_type_of_a_secret(refresher: Account) -> None:
    """So the policy need not."""
    assert "field is immutable" in refresher.patch("enrolled", {"type": "x"}).stderr


@pytest.mark.parametrize("key", ["oauth", "oauth2"])
def test_the_refresher_changes_tokens_and_its_annotations(refresher: Account, key: str) -> None:
    patch = {"stringData": {key: "new"}, **noted(SEEN)}
    for each in (patch, noted({STATUS: None})):
        assert refresher.patch("enrolled", each).stderr == ""


def test_others_are_not_judged(user: UserNamespace, refresher: Account) -> None:
    del refresher
    for name in ("password", "enrolled"):
        user.kubectl("label", "secret", name, "mine=true")
        user.kubectl("annotate", "secret", name, "mine=true")


def test_a_whole_refresh_passes(cluster: Cluster, refresher: Account, tmp_path: Path) -> None:
    """By a process with the rights of `deploy/` alone, on a Secret with all that a user may add."""
    del refresher
    user = UserNamespace(cluster, NS)
    with Bench(tmp_path) as bench:
        user.apply("whole", bench.issuer.seed("my-app"))
        user.kubectl("annotate", "secret", "whole", "mine=true")
        user.kubectl("label", "secret", "whole", "mine=true")
        user.kubectl("patch", "secret", "whole", '--patch={"stringData": {"mine": "true"}}')
        flags = ["--store", "kubernetes", "--kubeconfig", str(cluster.refresher)]
        flags += ["--issuers", str(bench.issuers), "--listen", "127.0.0.1:0"]
        with running("refresher", *flags, "--spool-dir", str(tmp_path / "spool")) as (_, log):
            until(lambda: user.is_final("whole") and user.is_mirrored("whole"))
            user.refresh_repeatedly("whole", 2)
            until(lambda: user.is_final("whole") and user.is_mirrored("whole"))
            assert user.warning("whole") == ""
            assert "policy" not in log.read_text(encoding="utf-8")
