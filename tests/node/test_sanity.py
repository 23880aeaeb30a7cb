"""The CSI conformance suite against the plugin: csi-sanity -> `whole_driver` -> the CSI socket.

csi-sanity cannot look at a node plugin alone. Before each spec of the Node service it calls
ControllerGetCapabilities, the volumes it publishes come from CreateVolume, it never sets
`readonly`, and its target ends in `/target`, where kubelet's ends in `/mount`. All else passes
unchanged.
"""

import json
import re
import subprocess
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from csidriver._proto import csi_pb2
from tests.node.plugin import Node, follow_threads, names
from tools.programs import find

VOLUME = "sanity"
PUBLISHES = 12  # one each of "should remove target path" and "should work", ten "idempotent" ones

PASSED = 13  # three of Identity, ten of Node
# What the plugin does not offer.
OPTIONAL = "NodeStage|NodeUnstage|NodeGetVolumeStats|NodeExpand|GroupController"

CHECK = '#!/bin/sh\n[ -d "${1%/target}/mount" ] && echo directory || echo not_found\n'


def field(number: int, value: bytes) -> bytes:
    """A length-delimited field of a protobuf message; lengths below 16384 suffice here."""
    size = len(value)
    length = bytes([size]) if size < 0x80 else bytes([size & 0x7F | 0x80, size >> 7])
    return bytes([number << 3 | 2]) + length + value


# `capabilities { rpc { type: CREATE_DELETE_VOLUME } }` of a controller, and of a plugin
# `capabilities { service { type: CONTROLLER_SERVICE } }`: the same numbers, hence the same bytes.
CAPABILITY = field(1, field(1, b"\x08\x01"))


def answer(volume_context: bytes, channel: Any, method: str, request: bytes) -> bytes:
    """What the plugin answers, and in its place a controller."""
    name = method.rpartition("/")[2]
    if name == "ControllerGetCapabilities":
        return CAPABILITY
    if name == "CreateVolume":
        # Its id is its name, which is the first field and shorter than 128 bytes.
        return field(1, field(2, request[2 : 2 + request[1]]) + volume_context)
    if name == "DeleteVolume":
        return b""
    if name in ("NodePublishVolume", "NodeUnpublishVolume"):
        message = getattr(csi_pb2, f"{name}Request").FromString(request)
        message.target_path = re.sub(r"/target\Z", "/mount", message.target_path)
        if name == "NodePublishVolume":
            message.readonly = True
        request = message.SerializeToString()
    reply: bytes = channel.unary_unary(method)(request, timeout=30)
    return reply + CAPABILITY if name == "GetPluginCapabilities" else reply


class WholeDriver(grpc.GenericRpcHandler):  # type: ignore[misc]
    """The plugin behind `channel`, and the rest of a cluster."""

    def __init__(self, node: Node, channel: Any) -> None:
        self.node, self.channel = node, channel
        context = node.request(VOLUME).volume_context.items()
        node.target(VOLUME).parent.rmdir()  # csi-sanity makes it anew for every spec
        entries = [field(3, field(1, k.encode()) + field(2, v.encode())) for k, v in context]
        self.volume_context = b"".join(entries)
        self.published: list[tuple[dict[str, bytes], int]] = []

    def service(self, details: Any) -> Any:
        def call(request: bytes, context: Any) -> Any:
            try:
                reply = answer(self.volume_context, self.channel, details.method, request)
            except grpc.RpcError as error:
                status: Any = error
                return context.abort(status.code(), status.details())
            if details.method.endswith("/NodePublishVolume"):
                target = self.node.target(VOLUME)
                files = {path.name: path.read_bytes() for path in target.glob("*")}
                self.published.append((files, len(self.node.mounts_at(target))))
            return reply

        return grpc.unary_unary_rpc_method_handler(call)


def csi_sanity(node: Node, socket: Path) -> dict[str, list[str]]:
    """The names of the specs by their state, but for those of a controller."""
    check, report = node.root / "check", node.root / "report.json"
    check.write_text(CHECK, encoding="ascii")
    check.chmod(0o700)
    done = subprocess.run(  # noqa: S603 - a program of `make tools`
        [
            str(find("csi-sanity")),
            f"--csi.endpoint=unix:{socket}",
            f"--csi.mountdir={node.target(VOLUME).parent}",
            f"--csi.checkpathcmd={check}",
            "--csi.stagingdir=",
            r"--ginkgo.skip=\[Controller Server\]",
            "--ginkgo.seed=1",
            "--ginkgo.timeout=60s",
            f"--ginkgo.json-report={report}",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert report.exists(), done.stdout + done.stderr
    [suite] = json.loads(report.read_text(encoding="utf-8"))
    found: dict[str, list[str]] = {}
    for spec in suite["SpecReports"]:
        containers = spec["ContainerHierarchyTexts"] or [spec["LeafNodeType"]]
        name = ": ".join([*containers, spec["LeafNodeText"]])
        if "[Controller Server]" not in name:
            found.setdefault(spec["State"], []).append(name)
    return found


@pytest.mark.mounts
@pytest.mark.tools("csi-sanity")
def test_csi_sanity_finds_no_fault_and_nothing_left_behind(node: Node) -> None:
    node.write_token("at-1")
    socket = node.root / "whole.sock"
    with (
        grpc.insecure_channel(f"unix:{node.socket}") as channel,
        futures.ThreadPoolExecutor(4) as threads,
    ):
        driver = WholeDriver(node, channel)
        server = grpc.server(threads, handlers=[driver])
        server.add_insecure_port(f"unix:{socket}")
        server.start()
        try:
            found = csi_sanity(node, socket)
        finally:
            server.stop(None).wait()
    assert len(found.pop("passed")) == PASSED
    assert all(re.search(OPTIONAL, name) for name in found.pop("skipped"))
    assert found == {}
    assert driver.published == [({"token": b"at-1"}, 1)] * PUBLISHES
    assert not node.target(VOLUME).parent.exists()
    assert (names(node.token_folder), follow_threads()) == ([], [])
