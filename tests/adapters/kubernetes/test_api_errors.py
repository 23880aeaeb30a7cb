import pytest

from csidriver.adapters.kubernetes import KubernetesStore
from csidriver.adapters.kubernetes.json_stream import MAX_OBJECT_BYTES
from csidriver.errors import (
    StoreConflict,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)
from tests.adapters.exposure import shown
from tests.adapters.kubernetes.requests import BASE, NEEDLE, PATCH, TOKEN, manifest, status
from tests.adapters.kubernetes.scripted import Says, Scripted

PATCHES: dict[str, tuple[Says, type[StoreError], str]] = {
    "changed": (status(409, "Conflict", kind="secrets"), StoreConflict, "changed"),
    "quota is changing": (status(409, "Conflict", kind="resourcequotas"), StoreUnavailable, "busy"),
    "gone": (status(404, "NotFound"), StoreConflict, "does not exist"),
    "no right": (
        status(403, "Forbidden", "secrets is forbidden: User x cannot patch resource"),
        StoreRefused,
        "the right to patch secrets in namespace alice",
    ),
    "immutable": (status(422, "Invalid"), StoreRefused, "immutable"),
    "a webhook with a conflict": (
        status(409, "Conflict", 'admission webhook "x" denied', kind="secrets"),
        StoreRefused,
        "webhook",
    ),
    "unknown to it": (status(401), StoreRefused, "credentials"),
    "in trouble": (status(500, "InternalError"), StoreUnavailable, "500"),
    "no JSON": (Says(f'{{"x": "{NEEDLE}'.encode()), StoreUnavailable, "JSON"),
    "odd data": (Says(manifest() | {"data": [NEEDLE]}), StoreUnavailable, "Secret"),
    "too long": (Says(b'{"x": "' + b"x" * MAX_OBJECT_BYTES + b'"}'), StoreUnavailable, "too long"),
}


@pytest.mark.parametrize(("said", "error", "word"), PATCHES.values(), ids=PATCHES.keys())
def test_what_becomes_of_a_patch_that_fails(
    api: Scripted, store: KubernetesStore, said: Says, error: type[StoreError], word: str
) -> None:
    api.answering = lambda _: said
    with pytest.raises(StoreError, match=word) as caught:
        store.patch_secret(BASE, PATCH)
    assert type(caught.value) is error
    assert len(api.asked) == 1, "a write that may have arrived is not repeated by the transport"
    for secret in (NEEDLE, TOKEN, "bmVlZGxl"):
        assert secret not in shown(caught.value)
