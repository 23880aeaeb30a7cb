"""The leak test: planted secrets, every path that may show them, every place where they would show.

A planted secret may stand in the data of the source and of the grant; an access token in the
companion and in the token file too. Nowhere else, at any log level, encoded or not.
"""

import base64
import copy
import json
import logging
import os
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from prometheus_client import generate_latest

from csidriver._proto import csi_pb2, csi_pb2_grpc
from csidriver.adapters.mounts import Mounts
from csidriver.core import names as core_names
from csidriver.core.annotations import ISSUER
from csidriver.core.sensitive import Sensitive
from csidriver.demo.kubelet import Kubelet, KubeletError
from tests.adapters.oauth.peer import Peer, certificate, http
from tests.issuer.faults import Delay, Fault
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
from tests.processes import running
from tests.refresher.bench import NAMESPACE, Bench, manifest, until


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


def companions(root: Path) -> str:
    found = [
        yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in (root / core_names.TOKENS_NAMESPACE).glob("*.yaml")
    ]
    texts = [base64.b64decode(v).decode() for f in found for v in (f.get("data") or {}).values()]
    return "\n".join(texts)


def live_tokens(bench: Bench, *names: str) -> tuple[list[str], list[str]]:
    """The refresh and the access tokens that grants hold now."""
    documents = [bench.grant(name).document for name in names]
    refresh = [d.refresh_token.reveal() for d in documents if d.refresh_token]
    access = [d.access_token.reveal() for d in documents if d.access_token]
    return refresh, access


def test_the_refresher_shows_no_secret(tmp_path: Path, logs: LogCollector) -> None:  # noqa: PLR0915 - one story
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

        conflicting = bench.issuer.seed("my-app", Sensitive(planted_secret("conflict")))
        seeds.append(conflicting.reveal())
        bench.issuer.add_faults(Delay(0.3))
        bench.apply("conflicting", conflicting)
        until(lambda: bench.companion("conflicting"))
        for number in range(5):
            changed = manifest("conflicting", conflicting.reveal())
            changed["metadata"]["labels"] = {"round": str(number)}
            bench.store.apply(changed, NAMESPACE)
        until(lambda: bench.refreshed("conflicting"))

        until(lambda: not list(bench.spool.glob("*.draft")))
        bench.spool.rename(tmp_path / "spooled")
        bench.spool.write_text("no folder", encoding="ascii")
        spoilt = bench.issuer.seed("my-app", Sensitive(planted_secret("spool")))
        seeds.append(spoilt.reveal())
        bench.apply("spoilt", spoilt)
        failed = "oauth2_csi_refresher_failed_visits_total"
        until(lambda: bench.registry.get_sample_value(failed))

        refresh, access = live_tokens(bench, "good", "conflicting")
        bench.stop()
        metrics = generate_latest(bench.registry).decode()

    assert len(refresh) == len(access) == 2
    never = [*planted.values(), *seeds, *refresh, CLIENT_SECRET]
    said = "\n".join(logs.lines)
    assert "POST /token" in said, "the libraries were listened to as well"
    assert leaked(said, [*never, *access]) == []
    assert leaked(metrics, [*never, *access]) == []
    assert leaked(shown_by_store(bench.root), [*never, *access]) == []
    assert sorted(leaked(companions(bench.root), [*never, *access])) == sorted(access)
    grants = "".join(
        p.read_text(encoding="utf-8") for p in (bench.root / "oauth2-csi").glob("secret.*")
    )
    assert set(refresh) <= set(leaks_in_data(grants, refresh)), "the search sees where they are"


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


def leaks_in_data(text: str, planted: Sequence[str]) -> list[str]:
    """The same search over the base64 of YAML data."""
    stored = yaml.safe_load_all(text.replace("apiVersion", "---\napiVersion"))
    values = [value for one in stored for value in (one.get("data") or {}).values()]
    return leaked("\n".join(base64.b64decode(v).decode() for v in values), planted)


def pod(name: str, **attributes: str) -> dict[str, Any]:
    csi = {"driver": core_names.DRIVER_NAME, "readOnly": True, "volumeAttributes": attributes}
    volume = {"name": "token", "csi": csi}
    mount = {"name": "token", "mountPath": "/token"}
    spec = {"volumes": [volume], "containers": [{"name": "main", "volumeMounts": [mount]}]}
    return {"metadata": {"name": name}, "spec": spec}


def publish_with_secrets(kubelet: Kubelet, held: str) -> str:
    """The status text for a volume with nodePublishSecretRef."""
    socket = kubelet.root / "plugins" / core_names.DRIVER_NAME / "csi.sock"
    request = csi_pb2.NodePublishVolumeRequest(
        volume_id="csi-secrets",
        target_path=str(kubelet.root / "pods" / "x" / "mount"),
        secrets={"refresh_token": held, held: "x"},
        volume_context={"secretName": "hello"},
    )
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        try:
            csi_pb2_grpc.NodeStub(channel).NodePublishVolume(request, timeout=10)
        except grpc.RpcError as error:
            return f"{error.code().name} {error.details()} {error} {error.debug_error_string()}"
    raise AssertionError("it was accepted")


@pytest.mark.mounts
def test_neither_role_shows_a_secret_to_node_and_pod() -> None:
    planted = {
        kind: planted_secret(kind) for kind in ("rt", "at", "description", "id_token", "reference")
    }
    policy = Policy(lifetime=12.0, extra={"id_token": planted["id_token"]})
    with tempfile.TemporaryDirectory() as name, Bench(Path(name), policy) as bench:
        folder = Path(name)
        seeds = [
            bench.issuer.seed("my-app", Sensitive(planted_secret(f"seed-{n}"))) for n in range(2)
        ]
        kubelet = Kubelet(folder / "kubelet", Mounts(), NAMESPACE)
        kubelet.prepare()
        told: list[str] = []
        refresh: set[str] = set()
        access: set[str] = set()
        flags = ["--store", f"dir:{bench.root}", "--issuers", str(bench.issuers)]
        flags += ["--listen", "127.0.0.1:0", "--log-level", "debug", "--publish-wait", "0.5"]
        flags += ["--kubelet-dir", str(kubelet.root), "--view-dir", str(folder / "view")]
        with running("run", "--roles", "node,refresher", *flags) as (process, log):
            kubelet.register(threading.Event(), 20.0, lambda: None)
            bench.issuer.add_faults(leaking_replies(planted)["refused"])
            bench.apply("refused", seeds[0])
            until(lambda: bench.status("refused") == "NeedsReauth")
            bench.apply("hello", seeds[1])
            until(lambda: bench.refreshed("hello"))
            [container] = kubelet.start(
                pod("good", secretName="hello", owner=str(os.getuid())), folder / "containers"
            )
            token = container.root / "token" / "token"
            first = token.read_text(encoding="ascii")
            # The text of every token that comes by, until the file has seen a rewrite.
            until(lambda: note(bench, refresh, access) and token.read_text("ascii") != first)
            for wrong in ({"secretName": "refused"}, {"secretName": "absent"}, {"ovner": "1"}):
                with pytest.raises(KubeletError) as refused:
                    kubelet.start(pod("bad", **{"owner": "0", **wrong}), folder / "containers")
                told += [str(refused.value), repr(refused.value.__cause__)]
            told.append(publish_with_secrets(kubelet, planted["reference"]))
            note(bench, refresh, access)
            plugin = kubelet.root / "plugins" / core_names.DRIVER_NAME
            records = [path.read_text(encoding="utf-8") for path in plugin.rglob("volume.json")]

            def noted() -> str:
                """The file, unless a rotation came between the looks at it and at the store."""
                content = token.read_text(encoding="ascii")
                note(bench, refresh, access)
                return content if content in access else ""

            kept = str(until(noted))
            kubelet.stop()
            process.terminate()
            assert process.wait(20) == 0
            said = log.read_text(encoding="utf-8")
        # The file system outlives the plugin on purpose.
        for mounted in (plugin / "tokens", kubelet.root):
            Mounts().unmount(mounted)

    never = [*planted.values(), *(seed.reveal() for seed in seeds), *refresh, CLIENT_SECRET]
    assert len(access) >= 2
    assert "nodePublishSecretRef is refused" in "".join(told)
    assert "FAILED_PRECONDITION" in "".join(told)
    assert "INVALID_ARGUMENT" in said
    assert records
    for text in (said, "\n".join(told), "\n".join(records)):
        assert leaked(text, [*never, *access]) == []
    assert leaked(kept, never) == []
    assert leaked(kept, sorted(access)) == [kept]


def note(bench: Bench, refresh: set[str], access: set[str]) -> bool:
    more_refresh, more_access = live_tokens(bench, "hello")
    refresh.update(more_refresh)
    access.update(more_access)
    return True


@pytest.mark.parametrize("spell", range(7))
def test_a_deliberate_leak_is_found(logs: LogCollector, spell: int) -> None:
    held = planted_secret("de/li+be rate")
    forms = [held, *spellings(f"token={held}&more")]
    logging.getLogger("csidriver.x").warning("oops: %s", forms[min(spell, len(forms) - 1)])
    assert leaked("\n".join(logs.lines), [held]) == [held]


def test_a_leak_in_an_error_or_a_library_is_found(logs: LogCollector) -> None:
    held = planted_secret("x")
    try:
        int(held)
    except ValueError:
        logging.getLogger("csidriver.x").exception("went wrong")
    assert leaked("\n".join(logs.lines), [held]) == [held]
    logs.lines.clear()
    logging.getLogger("urllib3.connectionpool").debug("header %s", held)
    assert leaked("\n".join(logs.lines), [held]) == [held]


@pytest.mark.mounts
def test_a_node_shows_no_secret_whatever_its_libraries_say(logs: LogCollector) -> None:
    access, held = [planted_secret("at"), planted_secret("at")], planted_secret("reference")
    node = Node()
    try:
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
    finally:
        node.close()
    assert logs.lines
    told = f"{refused.value} {refused.value!r}"
    assert "nodePublishSecretRef is refused" in told
    for text in ("\n".join(logs.lines), told, metrics):
        assert leaked(text, [*access, held]) == []
