"""The issuer and the client of a login: from flags, the Secret that exists, and the ConfigMap."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from csidriver.core.oauth.endpoint_url import validate_endpoint
from csidriver.core.oauth.issuers import Issuer, Issuers
from csidriver.core.quoting import quote_untrusted
from csidriver.core.refresh.source import MAX_CREDENTIAL, Client
from csidriver.core.sensitive import Sensitive
from csidriver.kubectl.errors import LoginFailed
from csidriver.kubectl.login.existing_secret import ExistingSecret, delete_command
from csidriver.kubectl.login.loopback import is_loopback


@dataclass(frozen=True, slots=True)
class Wanted:
    """The flags that choose issuer and client; "" for one that is absent."""

    issuer: str = ""
    issuer_url: str = ""
    client_id: str = ""
    client_secret_file: str = ""


def choose_issuer(
    wanted: Wanted, issuers: Issuers, namespace: str, existing: ExistingSecret | None
) -> Issuer:
    """Return the issuer of a login, or raise LoginFailed. One without a name is not published."""
    own = None if existing is None else _issuer_of(existing, issuers)
    chosen = find_issuer(wanted, issuers) or own or _default(issuers)
    if existing is not None and own is not None and not _is_same(own, chosen):
        raise LoginFailed(
            f"Secret {existing.ref} is of issuer {own.name or own.issuer}; choose another name for "
            f"the new one, or delete it first: {delete_command(existing.ref)}"
        )
    if not chosen.identifier:
        raise LoginFailed(
            f"the issuer that an annotation of the Secret names, {quote_untrusted(chosen.name)}, "
            "is not known here; name its address with --issuer-url"
        )
    if not chosen.is_open_to(namespace):
        raise LoginFailed(
            f"issuer {chosen.name} is not open to namespace {namespace}; choose another issuer "
            f"with --issuer ({_names(issuers, namespace)}), or ask the operator"
        )
    return chosen


def choose_client(
    wanted: Wanted, issuer: Issuer, existing: ExistingSecret | None, asked: Sensitive | None
) -> Client:
    """Return the client of a login; `asked` is the secret that the user typed, if he did."""
    own = "" if existing is None else existing.client_id
    if existing is not None and own and wanted.client_id not in ("", own):
        raise LoginFailed(
            f"Secret {existing.ref} is of client {quote_untrusted(own)}; choose another name for "
            f"the new one, or delete it first: {delete_command(existing.ref)}"
        )
    published = issuer.login.client_id if issuer.login else ""
    client_id = wanted.client_id or own or published
    if not client_id:
        raise LoginFailed(
            f"the operator has named no client for issuer {issuer.name or issuer.issuer}; give "
            "yours with --client-id"
        )
    secret = Sensitive("")
    if wanted.client_secret_file:
        secret = read_client_secret(Path(wanted.client_secret_file))
    elif asked is not None:
        secret = asked
    elif existing is not None and own == client_id:
        secret = existing.client_secret
    if secret.size > MAX_CREDENTIAL:
        raise LoginFailed(f"the client secret is larger than {MAX_CREDENTIAL // 1024} KiB")
    return Client(client_id, secret)


def explain_client(client: Client, issuer: Issuer, existing: ExistingSecret | None) -> str:
    """Return a line if the Secret has another client than the operator names, else ""."""
    published = issuer.login.client_id if issuer.login else ""
    if (
        existing is None
        or existing.client_id != client.client_id
        or published in ("", existing.client_id)
    ):
        return ""
    return (
        f"The Secret is of client {quote_untrusted(client.client_id)}, so this one logs in. If it "
        f"cannot, delete the Secret, and {quote_untrusted(published)} does: "
        f"{delete_command(existing.ref)}"
    )


def read_client_secret(path: Path) -> Sensitive:
    """Return the client secret in a file, without the line break of an editor."""
    try:
        with path.open(encoding="utf-8") as file:
            secret = file.read(MAX_CREDENTIAL + 2).strip()
    except (OSError, UnicodeDecodeError):
        raise LoginFailed(f"--client-secret-file {path} cannot be read as text") from None
    if not secret:
        raise LoginFailed(f"--client-secret-file {path} is empty")
    return Sensitive(secret)


def find_issuer(wanted: Wanted, issuers: Issuers) -> Issuer | None:
    """Return the issuer that the flags name, None if they name none; raise LoginFailed."""
    if wanted.issuer_url:
        return _by_url(wanted, issuers)
    if not wanted.issuer:
        return None
    if wanted.issuer not in issuers.by_name:
        known = ", ".join(sorted(issuers.by_name)) or "none"
        raise LoginFailed(
            f"issuer {quote_untrusted(wanted.issuer)} is not known; choose one of: {known}"
        )
    return issuers.by_name[wanted.issuer]


def _by_url(wanted: Wanted, issuers: Issuers) -> Issuer:
    """Return the published issuer with this address, or one that is not published."""
    url = wanted.issuer_url
    for issuer in issuers.by_name.values():
        if issuer.issuer == url and wanted.issuer in ("", issuer.name):
            return issuer
    internal = is_loopback(urlsplit(url).hostname or "") if url.isprintable() else False
    if fault := validate_endpoint(url, internal=internal):
        raise LoginFailed(f"--issuer-url {fault.partition(' (')[0]}")
    return Issuer(name=wanted.issuer, issuer=url, internal=internal)


def _issuer_of(existing: ExistingSecret, issuers: Issuers) -> Issuer | None:
    """Return the issuer of a Secret, None if it cannot be told."""
    if name := existing.issuer or existing.bound_issuer:
        # The name alone is enough for a comparison.
        return issuers.by_name.get(name) or Issuer(name=name)
    for issuer in issuers.by_name.values():
        known = (issuer.issuer, *issuer.access_token_issuers)
        if existing.iss and existing.iss in (text.removesuffix("/") for text in known):
            return issuer
    return None


def _is_same(own: Issuer, chosen: Issuer) -> bool:
    return own.name == chosen.name or not chosen.name


def _default(issuers: Issuers) -> Issuer:
    for issuer in issuers.by_name.values():
        if issuer.default:
            return issuer
    known = ", ".join(sorted(issuers.by_name))
    if known:
        raise LoginFailed(f"no issuer is the default; choose one with --issuer: {known}")
    raise LoginFailed("no issuer is known here; name one with --issuer-url and --client-id")


def _names(issuers: Issuers, namespace: str) -> str:
    usable = [issuer.name for issuer in issuers.by_name.values() if issuer.is_open_to(namespace)]
    return ", ".join(sorted(usable)) or "none is open to it"
