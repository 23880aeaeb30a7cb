from csidriver.core.sensitive import Sensitive
from csidriver.demo.grants.grant_log import GrantRequest, without_secrets


def test_what_is_secret_is_a_hash() -> None:
    pairs = [("audience", "a"), ("subject_token", "planted"), ("audience", "b")]
    row = GrantRequest(0.0, "app", "x", without_secrets(pairs), "", "")
    assert row.every("audience") == ["a", "b"]
    assert row.every("subject_token") == [Sensitive("planted").hash()]
    assert "planted" not in repr(row)
