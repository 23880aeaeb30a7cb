"""The pages about authorization servers: configurations that parse, and what was tried."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from csidriver.core import annotations
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.oauth.grant_type import GrantType
from csidriver.core.oauth.issuers import Issuers
from csidriver.core.refresh.source import Source

DOCS = Path(__file__).parents[1] / "docs"
INDEX = DOCS / "issuers.md"
PAGES = sorted((DOCS / "issuers").glob("*.md"))
_BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def documents(page: Path) -> list[Any]:
    return [yaml.safe_load(block) for block in _BLOCK.findall(page.read_text(encoding="utf-8"))]


def configurations(page: Path) -> list[Any]:
    return [document for document in documents(page) if "issuers" in document]


@pytest.mark.parametrize("page", [INDEX, *PAGES], ids=lambda page: page.stem)
def test_every_configuration_of_a_page_is_valid_and_those_of_a_server_fit_together(
    page: Path,
) -> None:
    found = [(f"block {number}", each) for number, each in enumerate(configurations(page))]
    assert found
    for parts in [[each] for each in found] if page == INDEX else [found]:
        assert Issuers.parse(parts).by_name


def test_the_secret_of_the_index_asks_for_what_its_issuer_allows() -> None:
    (secret,) = [found for found in documents(INDEX) if found.get("kind") == "Secret"]
    asked = secret["metadata"]["annotations"]
    assert asked[annotations.IS_TOKEN] == "true"
    assert GrantType(asked[annotations.GRANT_TYPE]) is GrantType.TOKEN_EXCHANGE
    allowed = {
        f"{annotations.PREFIX}{name}"
        for document in configurations(INDEX)
        for issuer in Issuers.parse([("", document)]).by_name.values()
        for name in issuer.allowed_params
    }
    own = {annotations.IS_TOKEN, annotations.GRANT_TYPE, annotations.LOGIN}
    assert set(asked) - own == allowed
    source = Source.parse(Secret.from_manifest(secret))
    assert (source.login, source.params) == ("hello-token", (("audience", "storage"),))


def test_every_server_says_what_was_tried_and_is_in_the_table() -> None:
    assert len(PAGES) >= 8
    rows = [line for line in INDEX.read_text(encoding="utf-8").splitlines() if line[:2] == "| "]
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        _, found, tried = text.partition("\n## What was tried\n")
        assert found, page.stem
        (row,) = [row for row in rows if f"](issuers/{page.name})" in row]
        # A page of which the table claims nothing claims nothing itself.
        assert (" tried " in row) == (not tried.strip().startswith("Nothing.")), page.stem
