"""Logins in progress, without HTTP: device codes (RFC 8628) and authorization codes (RFC 6749)."""

import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from csidriver.core.sensitive import Sensitive
from csidriver.demo.families import OAuthError
from csidriver.demo.jwt import encode_base64url

DEVICE_CODE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
# RFC 8628 section 6.1: no vowels, which could form words, and nothing to mistake.
_ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
_SLOW_DOWN = 5.0  # RFC 8628 section 3.5
_TOLERANCE = 0.2  # seconds that a poll may come early: the one before may have been on its way
_CODE_LIFETIME = 60.0  # seconds of an authorization code


@dataclass(slots=True)
class DeviceLogin:
    """A login that a user decides on a page, while its client polls. Times as `now` has them."""

    client_id: str
    scope: str
    user_code: str
    device_code: Sensitive
    ends_at: float
    interval: float
    next_poll_at: float
    allowed: bool | None = None


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A request of the authorization code flow with PKCE (RFC 7636)."""

    client_id: str
    redirect_uri: str
    scope: str
    code_challenge: str


class PendingLogins:
    """The logins that wait for their users or clients. Lifetime and interval are in seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.lifetime = 600.0
        self.interval = 2.0
        self._now = now
        self._lock = threading.Lock()
        self._devices: dict[Sensitive, DeviceLogin] = {}
        self._codes: dict[Sensitive, tuple[AuthorizationRequest, float]] = {}

    def start_device(self, client_id: str, scope: str) -> DeviceLogin:
        now = self._now()
        code = "".join(secrets.choice(_ALPHABET) for _ in range(8))
        login = DeviceLogin(
            client_id,
            scope,
            f"{code[:4]}-{code[4:]}",
            Sensitive(secrets.token_urlsafe(32)),
            ends_at=now + self.lifetime,
            interval=self.interval,
            next_poll_at=now,
        )
        with self._lock:
            kept = {c: d for c, d in self._devices.items() if now < d.ends_at + self.lifetime}
            self._devices = {**kept, login.device_code: login}
        return login

    def find_device(self, user_code: str) -> DeviceLogin | None:
        """Return the login with this code, however it is written, if it can be decided."""
        wanted = _letters(user_code)
        with self._lock:
            for login in self._devices.values():
                is_open = login.allowed is None and self._now() < login.ends_at
                if is_open and _letters(login.user_code) == wanted:
                    return login
        return None

    def redeem_device(self, client_id: str, device_code: Sensitive) -> str:
        """Return the granted scope, or raise OAuthError; a device code works once."""
        with self._lock:
            now, login = self._now(), self._devices.get(device_code)
            if login is None or login.client_id != client_id:
                raise OAuthError("invalid_grant", "device_code is unknown or used")
            if now >= login.ends_at:
                raise OAuthError("expired_token", "device_code has expired")
            if now < login.next_poll_at - _TOLERANCE:
                login.interval += _SLOW_DOWN
                login.next_poll_at = now + login.interval
                raise OAuthError("slow_down", f"poll every {login.interval:g} s")
            login.next_poll_at = now + login.interval
            if login.allowed is None:
                raise OAuthError("authorization_pending", "the user has not decided yet")
            del self._devices[device_code]
            if not login.allowed:
                raise OAuthError("access_denied", "the user has denied the login")
            return login.scope

    def issue_code(self, request: AuthorizationRequest) -> Sensitive:
        code = Sensitive(secrets.token_urlsafe(32))
        with self._lock:
            self._codes[code] = request, self._now() + _CODE_LIFETIME
        return code

    def redeem_code(self, client_id: str, code: Sensitive, redirect_uri: str, verifier: str) -> str:
        """Return the granted scope, or raise OAuthError; a code works once, rightly or not."""
        with self._lock:
            request, ends_at = self._codes.pop(code, (None, 0.0))
            if request is None or self._now() >= ends_at:
                raise OAuthError("invalid_grant", "code is unknown, used or expired")
        if (client_id, redirect_uri) != (request.client_id, request.redirect_uri):
            raise OAuthError("invalid_grant", "code belongs to another client or redirect_uri")
        digest = hashlib.sha256(verifier.encode()).digest()
        if encode_base64url(digest) != request.code_challenge:
            raise OAuthError("invalid_grant", "code_verifier does not fit the code_challenge")
        return request.scope


def _letters(code: str) -> str:
    return "".join(letter for letter in code.upper() if letter in _ALPHABET)
