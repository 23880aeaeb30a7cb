"""The house rules, measured."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES = sorted(path for path in (ROOT / "csidriver").rglob("*.py") if "_proto" not in path.parts)
MODULE_CEILING = 250
FUNCTION_CEILING = 40
# Words that CSI, Kubernetes, OAuth and Python have no use for, or have better words for. Each
# would be one more word that a reader of this code has to learn.
WORDS = """
    aftermath anew aside census claim claimed claims crew crowd custody desk devious doom doubt
    doubtful doubts everything fit front gate glance gone guest harm haste hear heard heed herd
    hide hire holding home hooked house judge judged lane leave lineage linger look looks lost
    material meaning mortal namesake namesakes needle needles note noted notes nudge one outdone
    pace patience performance places plight saw scene seat seen setback settle settled
    settlement settles shelf show shown shows sighted sighting signal slot stage story
    surroundings tell telling tells tenant tend tenure told trouble twin unfit ventured verdict
    victim visit visited visits what wire world zygote
"""
COINED = frozenset(WORDS.split())
# Identifiers in which such a word is the right one, and why.
FITTING = {
    **dict.fromkeys(("JwtClaims", "unverified_claims", "claims"), "claims of a JWT, RFC 7519"),
    **dict.fromkeys(("AcquireSendSlot", "acquire_send_slot"), "permits of a rate limiter"),
    **dict.fromkeys(("ReleaseSendSlot", "release_send_slot"), "permits of a rate limiter"),
    **dict.fromkeys(("SlotDecision", "_slot", "_release_slot", "slot"), "these permits"),
    "acquire_slot": "these permits",
    **dict.fromkeys(("LOST_ROTATION", "LOST_ROTATION_MESSAGE"), "a status that users see"),
    "race_lost": "a lost race",
    **dict.fromkeys(("signals", "STOP_SIGNALS", "stop_on_signals"), "signals of POSIX"),
    **dict.fromkeys(("hides", "hides_failures"), "a verb, not a hidden thing"),
    "__slots__": "a name of Python",
    "first_seen": "a time",
    "handle_one_request": "overrides a method of http.server",
    "_abort_one": "a number",
}
# Modules that other tests cover, and why they have no test file of their own.
COVERED_ELSEWHERE = {
    "csidriver/demo/environment.py": "test_demo.py runs the whole",
    "csidriver/kubectl/doctor/finding.py": "values only",
    "csidriver/kubectl/errors.py": "classes only",
    "csidriver/kubectl/published_issuers.py": "doctor, login and completion show what it reads",
    "csidriver/refresher/ports.py": "Protocols only",
}
# What binds a name besides assignments, and the field that has it.
NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler)
BINDING: dict[type[ast.AST], str] = {
    **dict.fromkeys((*NAMED, ast.MatchAs, ast.MatchStar), "name"),
    ast.arg: "arg",
    ast.alias: "asname",
}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{name(path)} {node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


def test_modules_are_short_and_say_what_they_are_for() -> None:
    texts = {name(path): path.read_text(encoding="utf-8") for path in MODULES}
    assert [n for n, text in texts.items() if len(text.splitlines()) > MODULE_CEILING] == []
    assert [n for n, text in texts.items() if not ast.get_docstring(ast.parse(text))] == []


def test_functions_are_short() -> None:
    long = [
        f"{function} has {lines} lines"
        for path in MODULES
        for function, lines in functions(path)
        if lines > FUNCTION_CEILING
    ]
    assert long == []


def parts(identifier: str) -> set[str]:
    """The words of a name in snake_case or CamelCase, in lower case; plurals as singulars, too."""
    words = [word.lower() for word in re.findall("[A-Z]+(?![a-z])|[A-Z]?[a-z]+", identifier)]
    return {*words, *(word.removesuffix("s") for word in words)}


def identifiers(path: Path) -> Iterator[str]:
    """Every name that a module defines or binds, its own and its folder's."""
    yield from (path.parent.name, path.stem)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(getattr(node, "ctx", None), ast.Store):
            text = getattr(node, "id", None) or getattr(node, "attr", None)
        else:
            text = getattr(node, BINDING.get(type(node), ""), None)
        if text:
            yield text


def test_identifiers_are_words_of_the_field() -> None:
    found = [
        f"{name(path)}: {identifier}"
        for path in MODULES
        for identifier in sorted({*identifiers(path)} - FITTING.keys())
        if parts(identifier) & COINED
    ]
    assert found == []


def test_every_module_has_a_test_file_of_its_own() -> None:
    missing = {
        name(path)
        for path in MODULES
        if path.stem not in {"__init__", "__main__"}
        and not (ROOT / "tests" / path.relative_to(ROOT / "csidriver"))
        .with_name(f"test_{path.name}")
        .exists()
    }
    assert missing == COVERED_ELSEWHERE.keys()


def test_the_table_of_places_to_change_names_files() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.partition("\n## Where do I change X\n")[2].partition("\n## ")[0]
    files = re.findall(r"`([\w./]+\.py)`", table)
    assert len(files) > 10
    assert [file for file in files if not (ROOT / file).is_file()] == []
