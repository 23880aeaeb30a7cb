from csidriver.core.names import SourceRef
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.tokens.pod_volumes import read_pod_volumes
from tests.kubectl.printed import pod
from tests.kubectl.stand_in import StandIn


def test_a_volume_names_its_token_its_node_and_its_files(stand_in: StandIn) -> None:
    mounts = [("main", "/run/token", ""), ("side", "/tmp/t/", ""), ("sub", "/etc/tok", "token")]
    stand_in.answer("pods", stdout=pod("reader", "mail", mounts=mounts))
    (volume,) = read_pod_volumes(Kubectl(), "--namespace=team-a")
    assert volume.token == SourceRef("team-a", "mail")
    assert (volume.pod, volume.node, volume.phase) == ("reader", "node-1", "Running")
    assert volume.paths == ["/run/token/token", "/tmp/t/token", "/etc/tok"]
