"""The leak test: planted secrets, every path that may show them, every place where they would show.

A planted secret may stand in the data of the source and of the grant; an access token in the
companion and in the token file too. Nowhere else, at any log level, encoded or not.
"""

import base64
import contextlib
import copy
import json
import logging
from pathlib import Path

import grpc
import pytest
import yaml
from prometheus_client import generate_latest

from csidriver.core import names as core_names
from csidriver.core.annotations import ISSUER
from csidriver.core.sensitive import Sensitive
from tests.adapters.oauth.peer import Peer, certificate, http
from tests.issuer.faults import Fault
from tests.issuer.policy import Policy
from tests.kubectl_store import LAST_APPLIED
from tests.leak_detection import (
    CLIENT_SECRET,
    STATUSES,
    LogCollector,
    leaked,
    leaking_replies,
    planted_secret,
    spellings,
)
from tests.node.plugin import Node
from tests.refresher.bench import NAMESPACE, Bench, manifest
from tests.waiting import until


def shown_by_store(root: Path) -> str:
    """All that a store shows to those who may not read the data of Secrets."""
    shown = []
    for path in sorted(root.rglob("*.yaml")):
        stored = copy.deepcopy(yaml.safe_load(path.read_text(encoding="utf-8")))
        if stored["kind"] == "Secret":
            stored.pop("data", None)
            for written_by_user in (LAST_APPLIED, ISSUER):
                (stored["metadata"].get("annotations") or {}).pop(written_by_user, None)
        shown.append(yaml.safe_dump(stored, width=1 << 20))
    return "\n".join(shown)


def data_of(namespace: Path) -> str:
    """The data of a namespace's Secrets, decoded."""
    found = [
        yaml.safe_load(path.read_text(encoding="utf-8")) for path in namespace.glob("secret.*")
    ]
    texts = [base64.b64decode(v).decode() for f in found for v in (f.get("data") or {}).values()]
    return "\n".join(texts)


def test_the_refresher_shows_no_secret(tmp_path: Path, logs: LogCollector) -> None:
    kinds = ("rt", "at", "description", "id_token", "malformed", "last_applied", "issuer")
    planted = {kind: planted_secret(kind) for kind in kinds}
    policy = Policy(lifetime=3600.0, extra={"id_token": planted["id_token"]})
    seeds: list[str] = []
    with Bench(tmp_path, policy) as bench:
        address = bench.issuer.url.removeprefix("http://")
        bench.configure(
            bench.entry(),
            {"name": "tls", "tokenEndpoint": f"https://{address}/token"},
            {"name": "ca", "tokenEndpoint": f"https://{address}/token", "caFile": "/nowhere"},
        )
        bench.start()

        def add(name: str, *, wanted: str = "", fault: Fault | None = None, **notes: str) -> None:
            seed = bench.issuer.seed("my-app", Sensitive(planted_secret(f"seed-{len(seeds)}")))
            seeds.append(seed.reveal())
            bench.issuer.add_faults(*([fault] if fault else []))
            bench.apply(name, seed, **notes)
            until(lambda: bench.status(name) == wanted if wanted else bench.refreshed(name), name)

        add("good")
        for name, fault in leaking_replies(planted).items():
            wanted = STATUSES.get(name, "Uncertain")
            add(name.replace(" ", "-"), wanted=wanted, fault=fault)
        add("tls", wanted="IssuerUnavailable", issuer="tls")
        add("ca", wanted="Misconfigured", issuer="ca")
        add("misplaced", wanted="Misconfigured", issuer=planted["issuer"])
        broken = manifest("broken", "", document=f'{{"refresh_token": "{planted["malformed"]}"')
        broken["metadata"]["annotations"][LAST_APPLIED] = planted["last_applied"]
        bench.store.apply(broken, NAMESPACE)
        until(lambda: bench.status("broken") == "Invalid")

        good = bench.grant("good").document
        bench.stop()
        metrics = generate_latest(bench.registry).decode()

    assert good.refresh_token
    assert good.access_token
    refresh, access = [good.refresh_token.reveal()], [good.access_token.reveal()]
    never = [*planted.values(), *seeds, *refresh, CLIENT_SECRET]
    said = "\n".join(logs.lines)
    assert "POST /token" in said, "the libraries were listened to as well"
    assert leaked(said, [*never, *access]) == []
    assert leaked(metrics, [*never, *access]) == []
    assert leaked(shown_by_store(bench.root), [*never, *access]) == []
    mirrored = data_of(bench.root / core_names.TOKENS_NAMESPACE)
    assert leaked(mirrored, [*never, *access]) == access
    assert leaked(data_of(bench.root / "oauth2-csi"), refresh) == refresh, "the search sees them"


def test_an_https_issuer_that_is_asked_about_a_token_shows_no_secret(
    tmp_path: Path, logs: LogCollector
) -> None:
    planted = {kind: planted_secret(kind) for kind in ("rt", "at", "username", "header", "seed")}
    ca_file, context = certificate(tmp_path)
    said_of_token = {"active": False, "username": planted["username"], "token": planted["rt"]}
    tokens = {"access_token": planted["at"], "refresh_token": planted["rt"]}
    headers = f"X-Token: {planted['header']}\r\n"
    replies = {
        "/introspect": http(json.dumps(said_of_token).encode(), headers=headers),
        "/token": http(json.dumps(tokens).encode(), "502 Bad Gateway", headers),
    }
    with Bench(tmp_path) as bench, Peer(b"", by_path=replies, tls=context) as peer:
        # An answer may take a sixteenth of it, and nothing is asked for a quarter of it.
        own = {"name": "far", "caFile": str(ca_file), "defaultLifetime": 32}
        own |= {"tokenEndpoint": f"https://{peer.address}/token"}
        own |= {"introspectionEndpoint": f"https://{peer.address}/introspect"}
        bench.configure(bench.entry(), own)
        bench.start()
        bench.apply("doubtful", Sensitive(planted["seed"]), issuer="far")
        # The mirror shows it a moment before the gauge does.
        until(lambda: bench.tokens("LostRotation") == 1)
        metrics = generate_latest(bench.registry).decode()
        bench.stop()
    sent = "".join(peer.requests)
    assert planted["seed"] in sent
    assert "POST /introspect" in sent
    assert 'answer="inactive"' in metrics
    assert 'status="LostRotation"} 1.0' in metrics, "the gauges were there to be searched"
    for text in ("\n".join(logs.lines), metrics, shown_by_store(bench.root)):
        assert leaked(text, [*planted.values(), CLIENT_SECRET]) == []


def test_a_deliberate_leak_is_found_in_every_spelling_in_an_error_and_of_a_library(
    logs: LogCollector,
) -> None:
    held, log = planted_secret("de/li+be rate"), logging.getLogger("csidriver.x")
    for form in (held, *spellings(f"token={held}&more")):
        log.warning("oops: %s", form)
        assert leaked("\n".join(logs.lines), [held]) == [held]
        logs.lines.clear()
    log.error("went wrong", exc_info=ValueError(held))
    assert leaked("\n".join(logs.lines), [held]) == [held]
    logs.lines.clear()
    logging.getLogger("urllib3.connectionpool").debug("header %s", held)
    assert leaked("\n".join(logs.lines), [held]) == [held]


@pytest.mark.mounts
def test_a_node_shows_no_secret_whatever_its_libraries_say(logs: LogCollector) -> None:
    access, held = [planted_secret("at"), planted_secret("at")], planted_secret("reference")
    with contextlib.closing(Node()) as node:
        node.write_token(access[0])
        node.start()
        node.publish(node.request())
        node.write_token(access[1], 2)
        until(lambda: node.content() == access[1])
        request = node.request("v2")
        request.secrets.update({"refresh_token": held, held: "x"})
        with pytest.raises(grpc.RpcError) as refused:
            node.publish(request)
        metrics = generate_latest(node.registry).decode()
        record = (node.folder() / "volume.json").read_text(encoding="utf-8")
    assert logs.lines
    told = f"{refused.value} {refused.value!r}"
    assert "nodePublishSecretRef is refused" in told
    for text in ("\n".join(logs.lines), told, metrics, record):
        assert leaked(text, [*access, held]) == []
