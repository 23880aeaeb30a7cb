from pathlib import Path

import pytest

from csidriver.core.status import Status, TokenWarning

PAGE = Path(__file__).parents[2] / "docs/troubleshooting.md"


@pytest.mark.parametrize("value", [*Status, *TokenWarning], ids=lambda value: value.value)
def test_an_operator_finds_every_status_and_warning(value: Status | TokenWarning) -> None:
    assert f"`{value.value}`" in PAGE.read_text(encoding="utf-8")
