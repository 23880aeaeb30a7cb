from pathlib import Path

from csidriver.demo.processes import ProcessFailed, ReaderProcess, RoleProcess
from tests.waiting import until


def ends(process: RoleProcess | ReaderProcess) -> ProcessFailed | None:
    try:
        process.check()
    except ProcessFailed as error:
        return error
    return None


def test_a_role_that_ends_is_reported_with_its_log(tmp_path: Path) -> None:
    role = RoleProcess("node", tmp_path / "log", [])
    try:
        until(lambda: ends(role), "the end of the role", 60.0)
        assert "ended with status 2:" in str(ends(role))
        assert "required: --store" in str(ends(role))
        assert role.metrics() == {}
    finally:
        role.stop()
        role.stop()


def test_a_reader_without_its_file_has_failed(tmp_path: Path) -> None:
    parameters = {"path": str(tmp_path / "none"), "key": "", "template": "$(ACCESS_TOKEN)"}
    reader = ReaderProcess("hello", parameters)
    try:
        until(lambda: ends(reader), "the end of the reader", 60.0)
    finally:
        reader.stop()
