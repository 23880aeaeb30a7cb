"""The command with which a user logs in again, as messages name it."""

import shlex

from csidriver.core.names import SourceRef


def login_command(ref: SourceRef) -> str:
    return shlex.join(["kubectl", "oauth2-csi", "login", ref.name, "-n", ref.namespace])


def describe_command(ref: SourceRef) -> str:
    return shlex.join(["kubectl", "oauth2-csi", "describe", ref.name, "-n", ref.namespace])


def ask_for_login(text: str, ref: SourceRef) -> str:
    """Return a text that ends in the command."""
    return f"{text}; run: {login_command(ref)}"
