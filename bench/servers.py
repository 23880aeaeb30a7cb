"""Requests counted where they arrive: at kube-apiserver and at the authorization server."""

import json
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import urllib3

from bench.scale_issuer import PresentedToken
from bench.scale_process import RefresherProcess
from csidriver.errors import DriverError
from tests.cluster.controlplane import ControlPlane

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE", "APPLY"})
READS = frozenset({"GET", "LIST"})
_COUNTED = re.compile(r"^apiserver_request_total\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_ROUNDS = 200

Counts = Mapping[tuple[str, str, str], float]


@dataclass(frozen=True, slots=True)
class Reading:
    """The counts of all servers at a moment without running requests."""

    at: float
    requests: Counts
    shown: Sequence[PresentedToken]
    cpu: float
    rss: float


class TokenLog(Protocol):
    """An authorization server that tells which tokens it was shown."""

    def log(self) -> list[PresentedToken]:
        """Return all presentations so far, oldest first."""
        ...


class Servers:
    """The counts of kube-apiserver and the authorization server."""

    def __init__(self, plane: ControlPlane, issuer: TokenLog) -> None:
        self._url = f"{plane.server}/metrics"
        (user,) = json.loads(plane.kubeconfig.read_text(encoding="utf-8"))["users"]
        self._headers = {"Authorization": f"Bearer {user['user']['token']}"}
        self._pool = urllib3.PoolManager(ca_certs=str(plane.ca))
        self._issuer = issuer

    def requests(self) -> Counts:
        """Return the requests by verb, resource and status."""
        text = self._pool.request("GET", self._url, headers=self._headers).data.decode()
        found: Counter[tuple[str, str, str]] = Counter()
        for labels, value in _COUNTED.findall(text):
            named = dict(_LABEL.findall(labels))
            found[named["verb"], named["resource"], named["code"]] += int(float(value))
        return found

    def read(self, process: RefresherProcess) -> Reading:
        """Look until nothing is under way: a refresh in parts would count in parts."""
        before = self.requests()
        for _ in range(_ROUNDS):
            now, cpu, shown = time.time(), process.cpu(), self._issuer.log()
            after = self.requests()
            if refresh_requests(after, WRITES) == refresh_requests(before, WRITES):
                return Reading(now, after, shown, cpu, process.memory())
            before = after
        raise DriverError("there was no moment without a request")


def refresh_requests(counts: Counts, verbs: frozenset[str]) -> float:
    """Return the requests of refreshes; those of the lease do not depend on the tokens."""
    touched = ("secrets", "events")
    return sum(n for (verb, what, _), n in counts.items() if verb in verbs and what in touched)


def describe(what: str, before: Counts, after: Counts) -> str:
    """Describe the requests between two counts."""
    more = {key: n - before.get(key, 0) for key, n in after.items()}
    shown = (
        f"{verb} {resource} {code}: {n:.0f}"
        for (verb, resource, code), n in sorted(more.items())
        if n and resource in {"secrets", "events", "leases"}
    )
    return f"{what}: {'; '.join(shown)}"
