"""The pages of the strict authorization server: plain HTML, which needs no script."""

from collections.abc import Mapping
from html import escape

from csidriver.demo.http_messages import HttpReply

_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    # Without form-action, which browsers apply to the redirect after the form, too.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "frame-ancestors 'none'; base-uri 'none'",
}
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 1.1em sans-serif; max-width: 30em; margin: 10vh auto; padding: 0 1em }}
button, input {{ font: inherit; padding: .4em 1em; margin: .5em .5em .5em 0 }}
</style>
<h1>{title}</h1>
<p>{text}</p>
{form}
"""
_BUTTONS = """<p><button id="allow" name="decision" value="allow">Allow</button>
<button id="deny" name="decision" value="deny">Deny</button></p>
"""


def message_page(title: str, text: str, status: int = 200) -> HttpReply:
    return _page(title, text, "", status)


def device_page(user_code: str, asks: str, problem: str = "") -> HttpReply:
    """Return the page on which a user compares or types a code, and decides."""
    field = (
        '<label>Code <input id="user_code" name="user_code" autocomplete="off" required '
        f'value="{escape(user_code)}"></label>'
    )
    text = problem or f"{asks} Go on only if this is the code that it shows you."
    return _page("Device login", text, _form("device", field), 400 if problem else 200)


def authorization_page(asks: str, parameters: Mapping[str, str]) -> HttpReply:
    """Return the page on which a user decides a request, which the form sends once more."""
    fields = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">\n'
        for name, value in parameters.items()
    )
    return _page("Login", asks, _form("authorize", fields))


def _form(action: str, fields: str) -> str:
    # Relative, so that it also works through a forwarded port.
    return f'<form method="post" action="{action}">\n{fields}\n{_BUTTONS}</form>'


def _page(title: str, text: str, form: str, status: int = 200) -> HttpReply:
    content = _PAGE.format(title=escape(title), text=escape(text), form=form)
    return HttpReply(status, _HEADERS, content.encode())
