"""The list of `make promises` breaks each promise of the README, and fits today's tree."""

import re

import pytest

from tools.promises import ROOT, Broken, read

ROW = re.compile(r"^\| (.+?) \|", re.MULTILINE)


@pytest.mark.parametrize("broken", read(), ids=lambda broken: broken.how)
def test_an_entry_changes_one_text_and_names_tests(broken: Broken) -> None:
    assert (ROOT / broken.file).read_text().count(broken.text) == 1
    assert all((ROOT / test).exists() for test in broken.tests)


def test_every_promise_is_broken() -> None:
    text = (ROOT / "README.md").read_text().partition("## What it promises")[2]
    _head, *promises = ROW.findall(text.partition("\n## ")[0])
    broken = {broken.promise for broken in read()}
    assert [row for row in promises if not row.startswith((*broken, "---"))] == []
    assert {b for b in broken if not any(row.startswith(b) for row in promises)} == set()
