from csidriver.core.kubernetes.change import Namespaces


def test_sources_may_be_in_any_namespace_unless_some_are_named() -> None:
    assert Namespaces() == Namespaces("oauth2-csi", "oauth2-csi-tokens", sources=())
