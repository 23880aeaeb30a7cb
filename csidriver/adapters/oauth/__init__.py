"""Token endpoints over HTTP (RFC 6749 section 6, RFC 8414), on `requests`."""

from csidriver.adapters.oauth.token_endpoint import TokenEndpoints

__all__ = ["TokenEndpoints"]
