"""The webhook role's flags, and what they say as values."""

import argparse
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from csidriver import values
from csidriver.core import names as core_names
from csidriver.core.kubernetes.validation import is_dns1123_label, is_dns1123_subdomain
from csidriver.errors import InvalidSettings


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """PEM files that somebody else renews, such as cert-manager."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """`names` are what the certificate is made for, and `configuration` what trusts it.

    With `files` neither matters.
    """

    listen: tuple[str, int]
    names: frozenset[str]
    configuration: str
    files: CertificateFiles | None


def add_webhook(parser: argparse.ArgumentParser) -> None:
    """Add the webhook role's flags."""
    parser.add_argument(
        "--webhook-listen",
        type=values.address,
        default=":9443",
        metavar="[HOST]:PORT",
        help=f"where to serve {core_names.ADMISSION_PATH} over HTTPS (default %(default)s)",
    )
    parser.add_argument(
        "--webhook-service",
        type=_reached_by,
        action="append",
        metavar="SERVICE|HOST|ADDRESS",
        help="the Service in front, in the driver's namespace, or where the configuration has a "
        f"url its host; repeatable (default {core_names.WEBHOOK})",
    )
    parser.add_argument(
        "--webhook-config",
        type=_configuration,
        default=core_names.WEBHOOK,
        help="the MutatingWebhookConfiguration whose caBundle is kept (default %(default)s)",
    )
    parser.add_argument(
        "--tls-cert-file",
        type=Path,
        default=None,
        help="a certificate that is renewed by others, read again on change; caBundle is then "
        "theirs, too (default: certificates of its own making)",
    )
    parser.add_argument("--tls-key-file", type=Path, default=None, help="its key")


def webhook(flags: argparse.Namespace) -> WebhookSettings:
    """The flags of `add_webhook`. Raises InvalidSettings for those that do not go together."""
    certificate, key = flags.tls_cert_file, flags.tls_key_file
    if (certificate is None) != (key is None):
        raise InvalidSettings("flags", ["--tls-cert-file and --tls-key-file need each other"])
    reached_by = flags.webhook_service or [core_names.WEBHOOK]
    return WebhookSettings(
        listen=flags.webhook_listen,
        names=frozenset(_name(one, flags.driver_namespace) for one in reached_by),
        configuration=flags.webhook_config,
        files=None if certificate is None else CertificateFiles(certificate, key),
    )


def _reached_by(text: str) -> str:
    if is_dns1123_subdomain(text) or _is_address(text):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is no Service, host or address")


def _configuration(text: str) -> str:
    if not is_dns1123_subdomain(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of an object")
    return text


def _name(reached_by: str, namespace: str) -> str:
    """What kube-apiserver verifies: for a Service it is this form, however it finds the pod."""
    return f"{reached_by}.{namespace}.svc" if is_dns1123_label(reached_by) else reached_by


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
