from csidriver.core.kubernetes.validation import is_dns1123_subdomain
from csidriver.core.names import SourceRef

REF = SourceRef("physics", "hello-token")


def test_the_names_of_a_source_never_change_between_releases() -> None:
    """Grants and companions of earlier releases are found by them, so they are written out."""
    assert str(REF) == "physics/hello-token"
    assert REF.grant == f"grant-{REF.id}"
    assert REF.companion == f"token-{REF.id}"
    assert REF.id == "c278158a5736f69c40cae8ac2b13e732"


def test_the_longest_source_has_valid_names() -> None:
    ref = SourceRef("n" * 63, "s" * 253)
    assert is_dns1123_subdomain(ref.grant)
    assert is_dns1123_subdomain(ref.companion)
