"""Runs in a pod, with the project's image: prints the answer of each URL, or its error, as JSON."""

import json
import sys
import urllib.request


def fetch(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - http of a test
            return str(answer.read().decode())
    except OSError as error:
        return f"{type(error).__name__}: {error}"


print(json.dumps({url: fetch(url) for url in sys.argv[1:]}))
