from pathlib import Path

from csidriver.adapters.directory import DirectoryStore
from csidriver.core.annotations import STATUS
from csidriver.core.kubernetes.secret import SecretPatch
from csidriver.core.sensitive import Sensitive


def test_applying_again_puts_the_users_fields_back(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    manifest = {"kind": "Secret", "metadata": {"name": "x"}, "stringData": {"oauth": "seed"}}
    store.apply(manifest, "ns")
    base = store.get_secret("ns", "x")
    assert base is not None
    patch = SecretPatch(annotations={STATUS: "Valid"}, data={"oauth": Sensitive("new")})
    store.patch_secret(base, patch)
    store.apply(manifest, "ns")
    after = store.get_secret("ns", "x")
    assert after is not None
    assert (after.annotations, after.data) == ({STATUS: "Valid"}, base.data)
    assert (after.uid, after.manager) == (base.uid, base.manager)
