"""Planted secrets, their spellings in texts, and authorization servers that leak them."""

import base64
import contextlib
import json
import logging
import secrets
import traceback
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote, quote_plus

from csidriver.demo.issuer import DEMO_CLIENT
from tests.issuer.faults import Fault, ReplacedBody, StatusReply


def planted_secret(name: str) -> str:
    return f"Planted-{name}-{secrets.token_urlsafe(24)}"


def spellings(text: str) -> Iterator[str]:
    """Yield the spellings of a text in logs: plain, in URLs, in JSON, within base64."""
    yield text
    yield quote(text, safe="")
    yield quote_plus(text)
    yield json.dumps(text)[1:-1]
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + text.encode()).decode()
        yield encoded[4 : (len(text) + shift) // 3 * 4]


def leaked(text: str, planted: Sequence[str]) -> list[str]:
    """Return the planted secrets that a text contains, in any spelling."""
    return [n for n in planted if any(spelling in text for spelling in spellings(n))]


class LogCollector(logging.Handler):
    """Keeps the full text of every record, its arguments and errors included."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        parts = [record.getMessage(), repr(record.args)]
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            parts += [str(error), repr(error), *traceback.format_exception(error)]
        self.lines.append("\n".join(parts))


LIBRARIES = ("urllib3", "requests", "grpc", "kubernetes", "prometheus_client", "oauthlib", "yaml")


@contextlib.contextmanager
def collect_logs() -> Iterator[LogCollector]:
    """Collect the records of all loggers, libraries included, at DEBUG."""
    handler, root = LogCollector(), logging.getLogger()
    loggers = [root, *(logging.getLogger(name) for name in LIBRARIES)]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


CLIENT_SECRET = DEMO_CLIENT.client_secret.reveal() if DEMO_CLIENT.client_secret else ""


def leaking_replies(n: Mapping[str, str]) -> dict[str, Fault]:
    tokens = json.dumps({"access_token": n["at"], "refresh_token": n["rt"]}).encode()
    described = {"error_description": n["description"], "error_uri": n["description"]}
    typed = json.dumps({"access_token": n["at"], "token_type": n["description"]})
    return {
        "refused": StatusReply(400, json.dumps({"error": "invalid_grant", **described}).encode()),
        "unknown": StatusReply(400, json.dumps({"error": n["description"], **described}).encode()),
        "failing": StatusReply(500, tokens, {"X-Token": n["rt"], "WWW-Authenticate": n["at"]}),
        "cut": ReplacedBody(tokens[:-1]),
        "typed": ReplacedBody(typed.encode()),
        "moved": StatusReply(307, headers={"Location": f"https://as.invalid/?token={n['rt']}"}),
        "moved badly": StatusReply(307, headers={"Location": f"http://[{n['rt']}"}),
        "later": StatusReply(429, tokens, {"Retry-After": n["rt"]}),
        "cookie": StatusReply(403, tokens, {"Set-Cookie": f"t={n['at']}; Max-Age={n['rt']}"}),
    }


# The status of a token after such a reply; after all others the outcome is unknown.
STATUSES = {"refused": "NeedsReauth", "unknown": "Misconfigured", "typed": "Misconfigured"}
STATUSES |= {"moved": "Misconfigured", "moved badly": "Misconfigured"}
STATUSES |= {"later": "IssuerUnavailable", "cookie": "IssuerUnavailable"}
