import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from csidriver.errors import DriverError, InvalidSettings
from csidriver.logs import FORMATS, JsonFormatter, TextFormatter

PLANTED = "planted-in-a-foreign-text"
of_every_format = pytest.mark.parametrize(
    "formatter", [JsonFormatter(), TextFormatter()], ids=FORMATS[::-1]
)


def record(
    error: BaseException | None = None, name: str = "csidriver.x", text: str = "hello %s"
) -> logging.LogRecord:
    info: Any = None
    if error is not None:
        try:
            raise error  # noqa: TRY301 - a traceback is wanted
        except BaseException:  # noqa: BLE001 - whatever the test raises
            info = sys.exc_info()
    return logging.LogRecord(name, logging.ERROR, "here.py", 7, text, ("you",), info, "work")


@of_every_format
def test_a_line_shows_our_texts_and_of_others_type_and_place_only(
    formatter: logging.Formatter,
) -> None:
    line = formatter.format(record(ValueError(PLANTED)))
    assert all(shown in line for shown in ("hello you", "ValueError", __file__))
    assert PLANTED not in line
    ours = InvalidSettings("issuers", ["has no name"])
    ours.__cause__ = ValueError(PLANTED)
    line = formatter.format(record(ours))
    assert "InvalidSettings: issuers: has no name" in line
    assert PLANTED not in line
    for name in ("urllib3.connectionpool", "csidriverx", "root"):
        line = formatter.format(record(name=name, text=f"{PLANTED} %s"))
        assert all(shown in line for shown in ("here.py:7", name))
        assert PLANTED not in line


def test_a_json_line_is_one_object_with_everything() -> None:
    entry = json.loads(JsonFormatter().format(record(DriverError("a\nb"))))
    assert entry.keys() == {"time", "level", "logger", "thread", "message", "error", "at"}
    told = entry["level"], entry["logger"], entry["message"]
    assert told == ("error", "csidriver.x", "hello you")
    assert entry["error"] == "DriverError: a\nb"
    assert entry["time"].endswith("+00:00")
    assert "\n" not in JsonFormatter().format(record(DriverError("a\nb")))


def endless() -> None:
    endless()


@of_every_format
@pytest.mark.parametrize("text", ["x", "\U0001f600"])
def test_a_line_is_short_whatever_happened(formatter: logging.Formatter, text: str) -> None:
    assert len(formatter.format(record(text=f"%s {text * 100_000}"))) < 60_000
    assert len(formatter.format(record(DriverError(text * 100_000)))) < 60_000
    try:
        endless()
    except RecursionError as error:
        line = formatter.format(record(error))
        assert len(line) < 4096
        assert "test_logs.py" in line


def run(program: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )


def test_levels_hold_and_libraries_are_quiet_even_at_debug() -> None:
    done = run(
        f"""
import logging
from csidriver import logs
logs.setup("debug", "text")
logging.getLogger("csidriver.x").debug("ours at debug")
for name in ("urllib3", "urllib3.connectionpool", "requests", "oauthlib", "kubernetes", "grpc",
             "requests_oauthlib"):
    logging.getLogger(name).debug("{PLANTED}")
    logging.getLogger(name).info("{PLANTED}")
    logging.getLogger(name).warning("{PLANTED} %s", "{PLANTED}")
logs.setup("warning", "text")
logging.getLogger("csidriver.x").info("too quiet")
"""
    )
    assert done.returncode == 0
    assert done.stdout == ""
    assert "ours at debug" in done.stderr
    assert PLANTED not in done.stderr
    assert "too quiet" not in done.stderr
    assert len(done.stderr.splitlines()) == 1 + 7, "one line each, also after a second set-up"


def test_errors_that_nobody_handled_keep_their_text_to_themselves() -> None:
    done = run(
        f"""
import logging, threading
from csidriver import logs
logs.setup("info", "json")
logging.getLogger("csidriver.x").info("%d", "{PLANTED}")
def fail():
    raise ValueError("{PLANTED}")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
fail()
"""
    )
    assert done.returncode == 1
    assert PLANTED not in done.stderr + done.stdout
    entries = [json.loads(line) for line in done.stderr.splitlines()]
    assert [entry["error"] for entry in entries] == ["ValueError", "ValueError"]
    assert all("fail" in entry["at"][-1] for entry in entries)


def test_grpc_writes_no_lines_of_its_own() -> None:
    """It would write one for each peer that speaks no TLS, in another format."""
    result = run(
        """
import socket, threading
from csidriver import logs
logs.setup("debug", "json")
import grpc
rude = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=lambda: rude.accept()[0].sendall(b"no TLS at all"), daemon=True).start()
target = f"127.0.0.1:{rude.getsockname()[1]}"
with grpc.secure_channel(target, grpc.ssl_channel_credentials()) as channel:
    try:
        channel.unary_unary("/a/b")(b"", timeout=10)
    except grpc.RpcError as error:
        print(error.code().name)
"""
    )
    assert (result.stdout.strip(), result.stderr) == ("UNAVAILABLE", "")
