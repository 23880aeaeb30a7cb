"""Texts of a server that a login may print: short, printable, and addresses of http or https only.

Nothing else that a server says is printed, because a body may hold a token.
"""

import re
from urllib.parse import urlsplit

from csidriver.kubectl.errors import LoginFailed

_LONGEST_CODE = 64
_LONGEST_URL = 2048
# RFC 3986 section 2. It leaves out what a terminal or a careless script of a browser interprets.
_URL = re.compile(r"[A-Za-z0-9._~:/?#@!$&'()*+,;=%\[\]-]+", re.ASCII)
# An `error` of RFC 6749 section 5.2 and its successors; a token looks otherwise.
_ERROR = re.compile("[a-z]{2,16}(_[a-z]{2,16}){0,3}", re.ASCII)


def user_code(value: object) -> str:
    """Return the code that the user types, or raise LoginFailed."""
    if isinstance(value, str) and 0 < len(value) <= _LONGEST_CODE and value.isprintable():
        return value
    raise LoginFailed("the authorization server sent no code that can be printed")


def web_address(value: object, name: str, *, allow_http: bool) -> str:
    """Return the URL that a user may open, or raise LoginFailed with the field's name."""
    if isinstance(value, str) and is_web_address(value, allow_http=allow_http):
        return value
    wanted = "an http or https address" if allow_http else "an https address"
    raise LoginFailed(f"the authorization server's {name} is not {wanted}")


def is_web_address(url: str, *, allow_http: bool) -> bool:
    """Return True for a URL that is safe to print and to request."""
    if len(url) > _LONGEST_URL or not _URL.fullmatch(url):
        return False
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if parts.scheme not in (("https", "http") if allow_http else ("https",)):
        return False
    return bool(host) and parts.username is None and parts.password is None and not parts.fragment


def quote_error(error: object) -> str:
    """Return an error code in quotes, or words for one that is not like an error code."""
    if isinstance(error, str) and _ERROR.fullmatch(error):
        return f'"{error}"'
    return "an unknown error"
