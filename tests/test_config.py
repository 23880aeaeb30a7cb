from pathlib import Path

import pytest

from csidriver.config import LeaseTimings, NodeFolders
from csidriver.errors import InvalidSettings


def test_one_renewal_of_a_lease_may_fail() -> None:
    lease = LeaseTimings(10.0, 5.0)
    assert (lease.renew_deadline, lease.retry_period) == (5.0, 0.625)
    with pytest.raises(InvalidSettings, match="at least twice --lease-renew"):
        LeaseTimings(9.9, 5.0)


def test_all_paths_of_a_plugin_are_below_kubelets_folder() -> None:
    folders = NodeFolders(kubelet_dir=Path("/k"), view=Path("/v"))
    assert folders.plugin_dir == Path("/k/plugins/oauth2.csi.cern.ch")
    assert folders.pods == Path("/k/pods")
    assert folders.socket == Path("/k/plugins/oauth2.csi.cern.ch/csi.sock")
    assert folders.registration_socket == Path("/k/plugins_registry/oauth2.csi.cern.ch-reg.sock")
