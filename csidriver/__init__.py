"""CSI ephemeral volumes that hold OAuth2 access tokens and keep them fresh."""

__version__ = "0.1.0"
