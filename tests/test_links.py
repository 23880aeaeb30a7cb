"""Every link of the documents leads somewhere, and every test that they name exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "bench/README.md",
]
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]+))?\)")
# The pages that comments, manifests and messages name without a link.
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
NAMED = re.compile(r"\bdocs/(?:[\w-]+/)*[\w-]+\.md\b")


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    fences = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
    text = fences.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for file, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        there = (page.parent / file) if file else page
        assert there.exists(), file
        if anchor:
            assert anchor in anchors(there), f"{file}#{anchor}"


def test_every_page_that_a_text_names_exists() -> None:
    tops = ("csidriver", "tests", "deploy", "docs", "examples", "bench", "tools")
    files = [file for top in tops for file in (ROOT / top).rglob("*") if file.is_file()]
    named = {
        (str(file.relative_to(ROOT)), page)
        for file in [*files, *ROOT.glob("*")]
        if file.suffix in {".py", ".md", ".yaml", ".txt", ".json", ""} and file.is_file()
        for page in NAMED.findall(file.read_text("utf-8", "replace"))
    }
    assert len(named) > 50
    assert {(file, page) for file, page in named if not (ROOT / page).is_file()} == set()


def test_every_test_that_a_page_names_exists() -> None:
    named = {reference for page in PAGES for reference in TEST.findall(page.read_text("utf-8"))}
    assert len(named) > 50
    texts = {file: (ROOT / file).read_text(encoding="utf-8") for file, _ in named}
    assert [f"{file}::{name}" for file, name in named if f"def {name}(" not in texts[file]] == []


def test_no_page_stands_alone() -> None:
    """A reader of the README finds each page, directly or over other pages."""
    reached, ahead = set[Path](), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page.is_dir():
            ahead += page.glob("*.md")
        elif page.suffix == ".md" and page not in reached:
            reached.add(page)
            links = LINK.findall(page.read_text(encoding="utf-8"))
            ahead += [(page.parent / file).resolve() for file, _ in links if file]
    assert {str(page.relative_to(ROOT)) for page in {*PAGES} - reached} == set()
