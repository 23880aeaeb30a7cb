from csidriver.core import annotations
from csidriver.core.kubernetes.secret import own_annotations

KEYS = [
    value
    for name, value in vars(annotations).items()
    if name.isupper() and not name.endswith(("PREFIX", "_SECRET_TYPE")) and "/" in repr(value)
    if isinstance(value, str)
]


def test_a_decoded_secret_keeps_every_annotation_of_the_driver() -> None:
    assert len(KEYS) == 23
    assert set(own_annotations(dict.fromkeys(KEYS, ""))) == set(KEYS)
