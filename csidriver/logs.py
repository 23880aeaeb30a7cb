"""Logging for every role: one line an event, and nothing of a secret in it.

The text of a foreign exception may quote a body, a URL or a file, so it is never written: a line
shows its type and where it was raised. Our own errors are safe to show (see `errors`). Neither is
the text of a library's log line: a warning of urllib3 quotes the header that it could not parse.
"""

import json
import logging
import sys
import threading
import traceback
from datetime import UTC, datetime
from types import TracebackType

from csidriver.errors import DriverError

log = logging.getLogger(__name__)

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")

# They log headers, bodies or addresses when asked for details.
_VERBOSE_LIBRARIES = ("kubernetes", "oauthlib", "requests", "requests_oauthlib", "urllib3", "grpc")

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def setup(level: str, log_format: str) -> None:
    """Log to standard error from now on; `level` is one of LEVELS, `form` one of FORMATS."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _VERBOSE_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.raiseExceptions = False  # the complaint about a faulty log call quotes its arguments
    threading.excepthook = _unhandled_in_thread
    sys.excepthook = _unhandled


def describe(error: BaseException) -> str:
    """What may be told of an exception: the text of our own, the type and place of others."""
    if isinstance(error, DriverError):
        return f"{type(error).__name__}: {error}"
    return type(error).__name__


def message(record: logging.LogRecord) -> str:
    """What may be told of a record: the text of our own, the place of others."""
    if record.name.partition(".")[0] in ("csidriver", "__main__"):
        return record.getMessage()
    return f"logged in {record.funcName}, {record.pathname}:{record.lineno}"


def _unhandled(
    error_type: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(error_type, KeyboardInterrupt):
        return
    log.critical("not handled", exc_info=(error_type, error, trace))


def _unhandled_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        _unhandled(args.exc_type, args.exc_value, args.exc_traceback)


def _frames(info: _ExcInfo) -> list[str]:
    return [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(info[2])]


def _error_of(record: logging.LogRecord) -> _ExcInfo | None:
    info = record.exc_info
    if not info or info[0] is None or info[1] is None:
        return None
    return info[0], info[1], info[2]


class JsonFormatter(logging.Formatter):
    """One JSON object a line, and of an error only what is safe."""

    def format(self, record: logging.LogRecord) -> str:
        """The line for a record."""
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "thread": record.threadName,
            "message": message(record),
        }
        info = _error_of(record)
        if info is not None:
            entry |= {"error": describe(info[1]), "at": _frames(info)}
        return json.dumps(entry)


class TextFormatter(logging.Formatter):
    """The same for people."""

    def format(self, record: logging.LogRecord) -> str:
        """The line for a record, and for an error where it came from."""
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        line = f"{time} {record.levelname:7} {record.name}: {message(record)}"
        info = _error_of(record)
        if info is None:
            return line
        return "\n    ".join([f"{line}: {describe(info[1])}", *_frames(info)])
