"""The objects of 1,000 nodes are what a broker reads, and its reviews begin at once."""

import statistics

import pytest

from bench import scripted_objects
from bench.scripted_api import ScriptedApi
from bench.steady_broker import SteadyLimits
from csidriver.broker.node_stream import StreamLimits
from csidriver.core.broker.caller import reviewed_plugin
from csidriver.core.broker.denial import Denied
from csidriver.core.broker.pod_access import AccessRequest, PodRef, check_access
from csidriver.core.companion import Companion
from csidriver.core.kubernetes.secret import Secret

ACCOUNT = "oauth2-csi:oauth2-csi-node"


@pytest.mark.parametrize("number", [0, 19])
def test_each_node_may_have_the_companions_of_its_pods(number: int) -> None:
    _, node = reviewed_plugin(scripted_objects.review("node-7"), ACCOUNT)
    name = scripted_objects.pod_name(7, number)
    source = scripted_objects.source_of(7, number)
    pod = PodRef(source.namespace, name, scripted_objects.uid(name))
    check_access(scripted_objects.pod(name), AccessRequest(pod, source.name), node)
    assert (scripted_objects.source_of(8, number) == source) is (number == 0)


def test_other_callers_are_refused() -> None:
    with pytest.raises(Denied):
        reviewed_plugin(scripted_objects.review("of-nobody"), ACCOUNT)


def test_a_change_brings_a_new_generation_of_the_shared_companion() -> None:
    api = ScriptedApi()
    generation, _ = api.change()
    shared = scripted_objects.source_of(1, 0)
    listed = api._list({"limit": "9999"}, as_metadata=False)
    found = {item["metadata"]["name"]: item for item in listed["items"]}
    written = Companion.from_secret(Secret.from_manifest(found[shared.companion]))
    assert (written.source, written.generation) == (shared, generation)
    assert api.change()[0] > generation


def test_reviews_have_their_usual_pace_from_the_start() -> None:
    limits, usual = SteadyLimits(), StreamLimits()
    pauses = [limits.review_every for _ in range(4000)]
    assert statistics.mean(pauses) == pytest.approx(usual.review_every, rel=0.1)
    assert min(pauses) < usual.review_every / 100
    assert limits.subscriptions == usual.subscriptions
