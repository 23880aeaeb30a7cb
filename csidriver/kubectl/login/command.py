"""The subcommand `login`: everything is checked before the user is sent to a browser."""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from csidriver.core.kubernetes.validation import is_dns1123_subdomain
from csidriver.core.names import SourceRef
from csidriver.core.oauth.issuers import Issuers
from csidriver.core.refresh.source import Client
from csidriver.errors import NotReady
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.errors import INTERRUPTED, Forbidden, LoginFailed, NotFound
from csidriver.kubectl.login.existing_secret import ExistingSecret
from csidriver.kubectl.login.first_refresh import TokenStatus, read_status, wait_until_ready
from csidriver.kubectl.login.https_request import HttpsClient
from csidriver.kubectl.login.issuer_choice import choose_client, choose_issuer, explain_client
from csidriver.kubectl.login.issuer_metadata import choose_scope
from csidriver.kubectl.login.login_flags import LoginFlags, add_login_parser
from csidriver.kubectl.login.login_flow import Flow, LoginPlan, choose_flow, log_in
from csidriver.kubectl.login.loopback import Redirect
from csidriver.kubectl.login.oauth_client import OAuthClient, fetch_endpoints
from csidriver.kubectl.login.secret_writer import (
    SecretContent,
    check_new,
    find_secret,
    new_manifest,
    store,
)
from csidriver.kubectl.output.documents import to_yaml
from csidriver.kubectl.published_issuers import read_published_issuers
from csidriver.kubectl.terminal import Terminal


def add(subparsers: Any) -> None:
    """Add the parser of `login`."""
    add_login_parser(subparsers).set_defaults(run=run)


def run(args: argparse.Namespace, kubectl: Kubectl, terminal: Terminal) -> int:
    """Log in, write the Secret, wait for the first refresh; return the exit status."""
    flags = LoginFlags.parse(args)
    stored = False
    try:
        _check_output(flags)
        ref = _reference(flags, kubectl)
        existing = None if flags.prints else find_secret(kubectl, ref)
        plan, client = _prepare(flags, kubectl, terminal, ref, existing)
        if existing is None and not flags.prints:
            check_new(kubectl, ref, plan.issuer, client.client_id)
        if flags.dry_run:
            _explain(plan, ref, existing, terminal)
            return 0
        before = TokenStatus() if existing is None else read_status(kubectl, ref)
        encoding = getattr(sys.stderr, "encoding", None) or "ascii"
        document = log_in(plan, terminal, time, encoding)
        content = SecretContent(plan.issuer, client, document)
        if flags.prints:
            _write_yaml(flags, to_yaml(new_manifest(ref, content)), terminal)
            return 0
        stored = True
        store(kubectl, ref, existing, content)
        return _follow(flags, kubectl, terminal, ref, before)
    except KeyboardInterrupt:
        outcome = "the Secret may have the new login" if stored else "no Secret was changed"
        terminal.report(f"Interrupted; {outcome}.")
        return INTERRUPTED


def load_issuers(kubectl: Kubectl, flags: LoginFlags) -> Issuers:
    """Return the published issuers; none, where --issuer-url does without them."""
    try:
        return read_published_issuers(kubectl, flags.driver_namespace)
    except (NotFound, Forbidden, NotReady) as error:
        if flags.wanted.issuer_url:
            return Issuers()
        raise LoginFailed(
            f"the issuers of this cluster are not known: {error}; name the driver's namespace "
            "with --driver-namespace, or an issuer with --issuer-url and --client-id"
        ) from None


def _check_output(flags: LoginFlags) -> None:
    if flags.print_to is not None:
        if os.path.lexists(flags.print_to) or not os.path.isdir(flags.print_to.parent):  # noqa: PTH112 - `Path` would raise PermissionError
            raise LoginFailed(f"--print-to needs a new file in a folder: {flags.print_to}")
        # The folder may be read-only, which must not be found out with tokens in hand.
        _create_private(flags.print_to, "")
        flags.print_to.unlink()
    elif flags.prints and sys.stdout.isatty():
        raise LoginFailed(
            "--print would show the tokens on the terminal; add a pipe, as in `| kubeseal`, or "
            "name a file with --print-to"
        )


def _reference(flags: LoginFlags, kubectl: Kubectl) -> SourceRef:
    if not is_dns1123_subdomain(flags.name):
        raise LoginFailed(
            "NAME must be a name of a Secret: lower case letters, digits, - and ., as hello-token"
        )
    return SourceRef(kubectl.namespace(), flags.name)


def _prepare(
    flags: LoginFlags,
    kubectl: Kubectl,
    terminal: Terminal,
    ref: SourceRef,
    existing: ExistingSecret | None,
) -> tuple[LoginPlan, Client]:
    """Check all that can be checked without the user."""
    redirect = Redirect.parse(flags.redirect_url)
    issuers = load_issuers(kubectl, flags)
    issuer = choose_issuer(flags.wanted, issuers, ref.namespace, existing)
    # Before the question for the secret: the user need not type it in vain.
    client = choose_client(flags.wanted, issuer, existing, None)
    if line := explain_client(client, issuer, existing):
        terminal.report(line)
    https = HttpsClient(flags.ca_file)
    endpoints = fetch_endpoints(https, issuer)
    flow = choose_flow(flags.flow, issuer, endpoints)
    if flags.ask_client_secret and not flags.dry_run:
        asked = terminal.ask_secret(f"Secret of client {client.client_id}: ")
        client = choose_client(flags.wanted, issuer, existing, asked)
    configured = issuer.login.scopes if issuer.login else ()
    plan = LoginPlan(
        issuer=issuer,
        client=OAuthClient(https, endpoints, client),
        scope=choose_scope(flags.scope, configured, endpoints.scopes),
        flow=flow,
        redirect=redirect,
        is_chosen=flags.flow is not None,
    )
    return plan, client


def _explain(
    plan: LoginPlan, ref: SourceRef, existing: ExistingSecret | None, terminal: Terminal
) -> None:
    change = f"create Secret {ref}"
    if existing is not None:
        change = f"change key {existing.key} of Secret {ref}"
    terminal.print(f"issuer: {plan.issuer.name or '(not configured here)'} {plan.issuer.issuer}")
    terminal.print(f"client: {plan.client.client_id}")
    terminal.print(f"scope:  {plan.scope or '(that of the issuer)'}")
    terminal.print(f"login:  {plan.flow.value}")
    if plan.flow is not Flow.DEVICE:
        uris = [plan.redirect.uri(port) for port in plan.redirect.ports if port]
        terminal.print(f"        the browser comes back to {' or '.join(uris)}")
    terminal.print(f"then:   {change}")
    terminal.print("Nothing was done (dry run).")


def _write_yaml(flags: LoginFlags, text: str, terminal: Terminal) -> None:
    if flags.print_to is None:
        terminal.print(text)
        return
    _create_private(flags.print_to, f"{text}\n")
    terminal.report(f"The Secret is in {flags.print_to}. It holds the tokens in the clear.")


def _create_private(path: Path, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - with its mode
            file.write(text)
    except OSError as error:
        raise LoginFailed(f"{path} cannot be written: {error.strerror}") from None


def _follow(
    flags: LoginFlags, kubectl: Kubectl, terminal: Terminal, ref: SourceRef, before: TokenStatus
) -> int:
    terminal.report(f"The login is in Secret {ref}.")
    if not flags.wait:
        return 0
    terminal.report("Waiting for the first refresh ...")
    ready = wait_until_ready(kubectl, ref, before, flags.wait, time, terminal.report)
    terminal.print(f"Secret {ref} is Ready; its access token is valid until {ready.expires_at}.")
    return 0
