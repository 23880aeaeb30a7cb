from pathlib import Path

import pytest

from csidriver.errors import StoreUnavailable
from csidriver.node.companions.broker_address import BrokerAddress


def address(folder: Path, host: str = "127.0.0.1") -> BrokerAddress:
    return BrokerAddress(host, 9444, folder / "ca.crt", folder / "token")


@pytest.mark.parametrize(
    ("host", "targets"),
    [
        ("127.0.0.1", {"ipv4:127.0.0.1:9444"}),
        ("::1", {"ipv6:[::1]:9444"}),
        ("broker.invalid", set()),
    ],
)
def test_a_name_has_addresses(tmp_path: Path, host: str, targets: set[str]) -> None:
    assert address(tmp_path, host).resolve() == targets


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="token of the node plugin cannot be read"):
        address(tmp_path).read_token()
    with pytest.raises(StoreUnavailable, match=r"ca\.crt: the CAs of the broker cannot be read"):
        address(tmp_path).connect("ipv4:127.0.0.1:1")
