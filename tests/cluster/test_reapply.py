"""A token survives everything that users and tools do to its Secret."""

import base64
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any

import pytest

from csidriver.core.status import TokenWarning
from csidriver.demo.presentation_log import Outcome
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS
from tests.cluster.user_namespace import UserNamespace
from tests.processes import page_of, running
from tests.refresher.bench import Bench, until

pytestmark = pytest.mark.tools(*PROGRAMS)
NS = "frank"

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
    with Bench(folder) as bench:
        flags = cluster.refresher_flags(bench.issuers, folder / "spool")
        with running("refresher", *flags) as (_, log):
            until(lambda: page_of(log, "readyz")[0] == 200)
            yield Served(UserNamespace(cluster, NS), bench)
            assert "Traceback" not in log.read_text("utf-8")


def encoded(original: Manifest) -> Manifest:
    """The same Secret with `data` instead of `stringData`."""
    plain = original["stringData"].items()
    data = {key: base64.b64encode(text.encode()).decode() for key, text in plain}
    return {key: original[key] for key in original if key != "stringData"} | {"data": data}


def server_side_data(user: UserNamespace, original: Manifest) -> None:
    user.kubectl("apply", "--server-side", "--force-conflicts", stdin=encoded(original))


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


def a_reseed(served: Served) -> None:
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


STORIES: Mapping[str, Callable[[Served], None]] = {
    "server-side apply of data": partial(a_restored_seed, strike=server_side_data),
    "delete and create": partial(a_restored_seed, strike=recreate),
    "a new login": a_reseed,
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


def test_nothing_was_spent_twice(served: Served, ends: Mapping[str, Future[None]]) -> None:
    wait(ends.values())
    assert {row.outcome for row in served.issuer.presentations()} == {Outcome.ROTATED}
    assert served.issuer.max_presentations() == 1
