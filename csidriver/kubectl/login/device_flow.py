"""The device authorization flow (RFC 8628): the user types a code on another page or machine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeGuard

from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.sensitive import Sensitive
from csidriver.kubectl.errors import LoginFailed
from csidriver.kubectl.login import server_text
from csidriver.kubectl.login.https_request import NoAnswer
from csidriver.kubectl.login.login_reply import REFUSALS, read_object, read_poll_reply
from csidriver.kubectl.login.oauth_client import OAuthClient
from csidriver.kubectl.login.polling import PollAnswer, PollSchedule

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:device_code"
_LONGEST_DEVICE_CODE = 16 * 1024


class PollClock(Protocol):
    """A monotonic clock that can be waited on."""

    def monotonic(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class DeviceAuthorization:
    """A device authorization response. `complete_uri` has the code in it, "" if absent."""

    device_code: Sensitive
    user_code: str
    uri: str
    complete_uri: str
    schedule: PollSchedule


def request_device_code(
    client: OAuthClient, scope: str, params: Mapping[str, str], now: float, *, allow_http: bool
) -> DeviceAuthorization:
    """Ask for a device code; raise LoginFailed if the reply cannot be used."""
    form = {**params, **({"scope": scope} if scope else {})}
    form.setdefault("client_id", client.client_id)
    response = client.post(client.endpoints.device_authorization, form)
    reply = read_object(response.status, response.body, "device authorization endpoint")
    device_code = reply.get("device_code")
    if not _is_device_code(device_code):
        raise LoginFailed("the device authorization endpoint sent no device code")
    # Google calls it `verification_url`.
    uri = reply.get("verification_uri", reply.get("verification_url"))
    complete = reply.get("verification_uri_complete")
    usable = isinstance(complete, str) and server_text.is_web_address(
        complete, allow_http=allow_http
    )
    return DeviceAuthorization(
        Sensitive(device_code),
        server_text.user_code(reply.get("user_code")),
        server_text.web_address(uri, "verification_uri", allow_http=allow_http),
        str(complete) if usable else "",
        PollSchedule.start(now, reply.get("interval"), reply.get("expires_in")),
    )


def poll_for_tokens(
    client: OAuthClient,
    authorization: DeviceAuthorization,
    clock: PollClock,
    say: Callable[[str], None],
) -> TokenDocument:
    """Ask until the user has confirmed; raise LoginFailed when he cannot any more."""
    schedule = authorization.schedule
    form = {
        "grant_type": GRANT_TYPE,
        "device_code": authorization.device_code.reveal(),
        "client_id": client.client_id,
    }
    while not schedule.is_over(clock.monotonic()):
        clock.sleep(schedule.delay)
        answer = _poll(client, form)
        if isinstance(answer, TokenDocument):
            return answer
        if answer is PollAnswer.MISSING and not schedule.unanswered:
            say("The authorization server does not answer; waiting for it ...")
        schedule = schedule.after(answer)
    if schedule.unanswered:
        raise LoginFailed(
            "the authorization server did not answer until the code expired; check the network, "
            "and run the command again"
        )
    raise LoginFailed(REFUSALS["expired_token"])


def _is_device_code(value: object) -> TypeGuard[str]:
    # A lone surrogate is not printable, and no request can have it.
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_DEVICE_CODE and value.isprintable()


def _poll(client: OAuthClient, form: Mapping[str, str]) -> PollAnswer | TokenDocument:
    try:
        response = client.post(client.endpoints.token, form)
    except NoAnswer:
        return PollAnswer.MISSING
    return read_poll_reply(response.status, response.body)
