"""Logging of every role: one line per event, without secrets.

The text of a library's exception may quote a body, a URL or a file. So a line has only its type,
and where it was raised; the texts of our own errors are safe (see `errors`). The text of a
library's log line is omitted, too: urllib3 quotes a header that it cannot parse.
"""

import json
import logging
import os
import sys
import threading
import traceback
from datetime import UTC, datetime
from types import TracebackType

from csidriver.errors import DriverError

log = logging.getLogger(__name__)

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")

# Libraries that log headers, bodies or addresses at level debug or info.
_VERBOSE_LIBRARIES = ("kubernetes", "oauthlib", "requests", "requests_oauthlib", "urllib3", "grpc")

# A line has at most these characters of a text, and places of an error.
_LONGEST = 4096
_MOST_FRAMES = 20


def setup(level: str, log_format: str) -> None:
    """Log to standard error; `level` is one of LEVELS, `log_format` one of FORMATS."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _VERBOSE_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    # Read when gRPC starts. It writes a line of its own for each peer that speaks no TLS.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    logging.raiseExceptions = False  # the report of a faulty log call quotes its arguments
    threading.excepthook = _unhandled_in_thread
    sys.excepthook = _unhandled


def describe(error: BaseException) -> str:
    """Return an exception's type, and the text of our own exceptions."""
    if isinstance(error, DriverError):
        return f"{type(error).__name__}: {error}"[:_LONGEST]
    return type(error).__name__


def message(record: logging.LogRecord) -> str:
    """Return the text of our own log records, and the origin of others."""
    if record.name.partition(".")[0] in ("csidriver", "__main__"):
        return record.getMessage()[:_LONGEST]
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


def _frames(error: BaseException) -> list[str]:
    # The last ones tell where; a recursion without end has a thousand.
    frames = traceback.extract_tb(error.__traceback__)[-_MOST_FRAMES:]
    return [f"{f.filename}:{f.lineno} {f.name}" for f in frames]


def _error_of(record: logging.LogRecord) -> BaseException | None:
    return record.exc_info[1] if record.exc_info else None


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "thread": record.threadName,
            "message": message(record),
        }
        error = _error_of(record)
        if error is not None:
            entry |= {"error": describe(error), "at": _frames(error)}
        return json.dumps(entry)


class TextFormatter(logging.Formatter):
    """Formats a record as text for people, with an error's origin on further lines."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        line = f"{time} {record.levelname:7} {record.name}: {message(record)}"
        error = _error_of(record)
        if error is None:
            return line
        return "\n    ".join([f"{line}: {describe(error)}", *_frames(error)])
