"""An OAuth client of the strict authorization server."""

from typing import Any

import requests

from csidriver.core.sensitive import Sensitive
from csidriver.demo.issuer import StrictIssuer

TIMEOUT = 10.0  # seconds; only a defect waits for it


def post(url: str, form: Any, **options: Any) -> requests.Response:
    return requests.post(url, data=form, timeout=TIMEOUT, allow_redirects=False, **options)


def grant(token: Sensitive, **fields: str) -> dict[str, str]:
    return {"grant_type": "refresh_token", "refresh_token": token.reveal(), **fields}


def refresh(
    issuer: StrictIssuer, token: Sensitive, auth: tuple[str, str] = ("app", "s3cret")
) -> requests.Response:
    return post(f"{issuer.url}/token", grant(token), auth=auth)
