"""Flags of the roles that serve others over TLS, webhook and broker, and their settings."""

import argparse
from collections.abc import Iterable
from pathlib import Path

from csidriver import config
from csidriver.core import names
from csidriver.core.kubernetes.validation import is_dns1123_label
from csidriver.errors import InvalidSettings
from csidriver.flag_values import address, namespace, object_name, service_or_host


def add_broker(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--broker-listen",
        type=address,
        default=f":{config.BROKER_PORT}",
        metavar="[HOST]:PORT",
        help="where to serve node plugins (default %(default)s)",
    )
    parser.add_argument(
        "--broker-service",
        type=service_or_host,
        action="append",
        metavar="SERVICE|HOST|ADDRESS",
        help=f"the name by which nodes verify it (default {names.BROKER})",
    )
    parser.add_argument(
        "--namespace",
        type=namespace,
        action="append",
        default=[],
        help="a namespace whose pods have tokens, repeatable (default: all)",
    )
    parser.add_argument(
        "--node-account",
        type=object_name,
        default=names.NODE,
        help="the node plugin's service account (default %(default)s)",
    )
    _add_certificate(parser)


def broker_settings(args: argparse.Namespace) -> config.BrokerSettings:
    if args.store is not None:
        raise InvalidSettings("broker", ["it needs --store kubernetes; nodes read a folder alone"])
    return config.BrokerSettings(
        listen=args.broker_listen,
        names=_certificate_names(args.broker_service or [names.BROKER], args.driver_namespace),
        files=_certificate_files(args),
        namespaces=tuple(dict.fromkeys(args.namespace)),
        account=f"{args.driver_namespace}:{args.node_account}",
    )


def add_webhook(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--webhook-listen",
        type=address,
        default=":9443",
        metavar="[HOST]:PORT",
        help=f"where to serve {names.ADMISSION_PATH} over HTTPS (default %(default)s)",
    )
    parser.add_argument(
        "--webhook-service",
        type=service_or_host,
        action="append",
        metavar="SERVICE|HOST|ADDRESS",
        help=f"its Service, or the host in the url of its configuration (default {names.WEBHOOK})",
    )
    parser.add_argument(
        "--webhook-config",
        type=object_name,
        default=names.WEBHOOK,
        help="the MutatingWebhookConfiguration whose caBundle is kept (default %(default)s)",
    )
    _add_certificate(parser)


def webhook_settings(args: argparse.Namespace) -> config.WebhookSettings:
    return config.WebhookSettings(
        listen=args.webhook_listen,
        names=_certificate_names(args.webhook_service or [names.WEBHOOK], args.driver_namespace),
        configuration_name=args.webhook_config,
        files=_certificate_files(args),
    )


def _add_certificate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tls-cert-file",
        type=Path,
        help="a certificate that another program renews, as it does the CA that clients trust "
        "(default: its own)",
    )
    parser.add_argument("--tls-key-file", type=Path, help="its key")


def _certificate_files(args: argparse.Namespace) -> config.CertificateFiles | None:
    certificate, key = args.tls_cert_file, args.tls_key_file
    if (certificate is None) != (key is None):
        raise InvalidSettings("flags", ["--tls-cert-file and --tls-key-file need each other"])
    return None if certificate is None else config.CertificateFiles(certificate, key)


def _certificate_names(hosts: Iterable[str], namespace: str) -> frozenset[str]:
    """Return the names in the certificate: of Services in a namespace, or hosts as they are."""
    # kube-apiserver verifies this form of a Service's name, however it finds the pod.
    return frozenset(
        f"{host}.{namespace}.svc" if is_dns1123_label(host) else host for host in hosts
    )
