import pytest

from tests.simulator.fault_matrix import ALL_CELLS, run_cell
from tests.simulator.fault_table import DOCUMENT, POLICIES, SECONDS
from tests.simulator.gateway import Fault

# Every so many cells; a prime, so that each value of each dimension has its turn.
STEP = 89


def test_the_matrix_has_all_combinations() -> None:
    assert len(set(ALL_CELLS)) == 10 * 3 * 3 * 2 * 3 * 2 * 4


@pytest.mark.parametrize("number", range(0, len(ALL_CELLS), STEP))
def test_no_fault_costs_a_login_or_makes_a_status_lie(number: int) -> None:
    result = run_cell(number)
    assert result.violations == (), f"{result.cell}: {result.trace[-40:]}"


def test_the_document_has_a_row_for_each_fault_and_length() -> None:
    rows = [line for line in DOCUMENT.read_text("utf-8").splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + len(Fault) * len(SECONDS)
    assert {row.count("|") for row in rows} == {3 + 2 * len(POLICIES)}
