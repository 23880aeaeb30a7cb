"""Command-line flags of the demo and of its authorization server."""

import argparse

from csidriver.flag_values import address, seconds


def add_demo_issuer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--listen", type=address, default="localhost:8080")
    parser.add_argument("--issuer", default="", help="its name, if not the address it listens on")
    parser.add_argument("--seed", action="append", default=[], help="a first refresh token")
    parser.add_argument("--lifetime", type=seconds, default=20.0, help="of access tokens")


def add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=seconds, help="default: until ^C")
    parser.add_argument("--lifetime", type=seconds, default=20.0, help="of access tokens")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--login", action="store_true", help="begin with a login on a page")
    parser.add_argument("--chaos", choices=["reapply"], help="re-apply the Secret all the time")
