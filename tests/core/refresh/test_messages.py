import pytest

from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.refresh import messages
from csidriver.core.status import TokenWarning

TEXTS = [
    *messages.FAILURE_MESSAGES.values(),
    *messages.WARNINGS.values(),
    *(text for name, text in vars(messages).items() if name.endswith("_MESSAGE")),
]


def test_every_failure_and_every_warning_has_a_message() -> None:
    assert set(messages.FAILURE_MESSAGES) == set(FailureReason)
    assert set(messages.WARNINGS) == set(TokenWarning)


@pytest.mark.parametrize("text", TEXTS)
def test_a_message_is_one_clean_line(text: str) -> None:
    """Users read it in an annotation, an Event and the error of a pod."""
    assert text.isprintable()
    assert "  " not in text
    assert not text.endswith((".", " "))
