"""The worst Secrets that a tenant may create: large, and with texts that cost much memory."""

import json
from typing import Any

from csidriver.core import annotations
from csidriver.core.refresh.source import MAX_CREDENTIAL, MAX_FIELDS

# One emoji makes four bytes of each character of a text in Python.
EMOJI = "\U0001f600"
# Bytes of a value that kube-apiserver still takes.
MOST_JUNK = 900_000
# A source with a refresh token may not have them.
_REFUSED = {annotations.GRANT_TYPE, annotations.LOGIN, annotations.SCOPE, annotations.AUDIENCE}
_REFUSED |= {annotations.RESOURCE, annotations.PARAMS}
_LONG_ANNOTATIONS = dict.fromkeys(set(annotations.LIMITS) - _REFUSED, EMOJI + "a" * 1000)


def largest_document(refresh_token: str) -> str:
    """Return the largest document that is allowed, with the most fields."""
    fields = {"refresh_token": refresh_token, "token_type": "A" * 64}
    fields |= {f"{EMOJI}-{number}": "" for number in range(MAX_FIELDS - 3)}
    room = annotations.MAX_DOCUMENT - len(json.dumps(fields, ensure_ascii=False).encode())
    return json.dumps(fields | {"x": "y" * (room - len(', "x": ""'))}, ensure_ascii=False)


def largest_credential(beginning: str) -> str:
    room = MAX_CREDENTIAL - len(f"{beginning}{EMOJI}".encode())
    return f"{beginning}{EMOJI}{'c' * room}"


def hostile_secret(
    name: str, document: str, client_id: str, client_secret: str, junk: int = 1000
) -> dict[str, Any]:
    """Return the manifest of an annotated Secret, with long annotations and a key of no use."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "annotations": _LONG_ANNOTATIONS
            | {annotations.IS_TOKEN: "true", annotations.ISSUER: "demo"},
        },
        "stringData": {
            annotations.KEY_OAUTH: document,
            annotations.KEY_CLIENT_ID: client_id,
            annotations.KEY_CLIENT_SECRET: client_secret,
            f"junk-of-{name}": EMOJI + "j" * junk,
        },
    }
