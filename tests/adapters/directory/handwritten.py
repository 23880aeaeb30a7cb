"""Files as people write them, and what tests read of them."""

from csidriver.adapters.directory import DirectoryStore
from csidriver.core.annotations import IS_TOKEN

NEEDLE = "needle-in-a-broken-file"
HEAD = "kind: Secret\nmetadata: {name: x}\n"
WAIT = 20.0  # seconds
BY_HAND = f"""\
# a comment, as people write them
apiVersion: v1
kind: Secret
metadata:
  name: x
  annotations:
    {IS_TOKEN}: "true"
    example.org/since: 2026-01-01T00:00:00Z
data:
  clientID: Y2xpZW50
stringData:
  oauth: '{{"refresh_token": "r1"}}'
"""


def listing(store: DirectoryStore) -> list[str]:
    return [secret.name for secret in store.list_secrets("ns", "Opaque")]
