import json

import pytest

from csidriver.errors import InvalidSettings, NotReady
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.published_issuers import read_published_issuers
from tests.kubectl.stand_in import StandIn


def test_issuers_are_read_from_the_driver_namespace(stand_in: StandIn) -> None:
    entry = {"name": "cern", "issuer": "https://auth.example"}
    stand_in.answer(
        *("configmap", "oauth2-csi-issuers-public", "--namespace=elsewhere"),
        stdout={"data": {"issuers.json": json.dumps({"issuers": [entry]})}},
    )
    assert list(read_published_issuers(Kubectl(), "elsewhere").by_name) == ["cern"]


@pytest.mark.parametrize("found", [{}, {"data": None}, {"data": {"more": "x"}}])
def test_an_empty_config_map_is_not_ready(stand_in: StandIn, found: object) -> None:
    stand_in.answer("configmap", stdout=found)
    with pytest.raises(NotReady, match="no refresher has written it"):
        read_published_issuers(Kubectl(), "oauth2-csi")


def test_a_broken_config_map_is_not_valid(stand_in: StandIn) -> None:
    stand_in.answer("configmap", stdout={"data": {"issuers.json": "{"}})
    with pytest.raises(InvalidSettings):
        read_published_issuers(Kubectl(), "oauth2-csi")
