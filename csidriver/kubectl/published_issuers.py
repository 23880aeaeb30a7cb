"""The issuers that the driver publishes for users in a ConfigMap."""

from csidriver.core.names import PUBLIC_ISSUERS
from csidriver.core.oauth.issuers import Issuers
from csidriver.core.oauth.public_issuers import ISSUERS_JSON, parse_public_issuers
from csidriver.errors import NotReady
from csidriver.kubectl.client import Kubectl


def read_published_issuers(kubectl: Kubectl, driver_namespace: str) -> Issuers:
    """Return the issuers; raise NotReady if no refresher has written them."""
    where = f"--namespace={driver_namespace}"
    text = (kubectl.get("configmap", PUBLIC_ISSUERS, where).get("data") or {}).get(ISSUERS_JSON)
    if text is None:
        raise NotReady(
            f"ConfigMap {driver_namespace}/{PUBLIC_ISSUERS} is empty: no refresher has written it"
        )
    return parse_public_issuers(text)
