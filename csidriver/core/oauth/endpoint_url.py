"""URLs to which a request with credentials may go."""

from urllib.parse import urlsplit


def validate_endpoint(url: str, *, internal: bool) -> str:
    """Return why a refresh token must not be sent to this URL, "" if it may."""
    # urlsplit drops tabs and line breaks.
    if not url.isprintable() or " " in url:
        return "has white space or control characters"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in (("https", "http") if internal else ("https",)):
        return "must be an https URL" + ("" if internal else " (http needs internal: true)")
    if not host or parts.username is not None or parts.password is not None or parts.fragment:
        return "must have a host, no user and no fragment"
    return ""


def is_host(text: str) -> bool:
    """Return True for a host, or host:port, without anything else."""
    url = f"https://{text}"
    return not validate_endpoint(url, internal=False) and urlsplit(url).netloc == text
