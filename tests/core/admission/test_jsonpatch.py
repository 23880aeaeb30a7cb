from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from csidriver.core.admission.jsonpatch import patch
from tests.core.admission.reviews import applied

JSON = st.recursive(
    st.none() | st.text(max_size=3) | st.integers(2, 9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a/b", "~", "c"]), inner)
    ),
    max_leaves=8,
)


@given(JSON, JSON)
def test_a_patch_makes_any_document_of_any_other(before: Any, after: Any) -> None:
    assert applied(before, patch(before, after)) == after
