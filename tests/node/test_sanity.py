"""The CSI conformance suite against the plugin: csi-sanity -> `WholeDriver` -> the CSI socket.

csi-sanity cannot look at a node plugin alone. Before each spec of the Node service it calls
ControllerGetCapabilities, the volumes it publishes come from CreateVolume, it never sets
`readonly`, and its target ends in `/target`, where kubelet's ends in `/mount`. `WholeDriver` makes
up for these four; every other byte, and every status, passes unchanged.
"""

import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from contextlib import contextmanager
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
Send = Callable[[bytes], bytes]
Turn = Callable[[bytes, Send], bytes]


def field(number: int, value: bytes) -> bytes:
    """A length-delimited field of a protobuf message; lengths below 16384 suffice here."""
    size = len(value)
    length = bytes([size]) if size < 0x80 else bytes([size & 0x7F | 0x80, size >> 7])
    return bytes([number << 3 | 2]) + length + value


# `capabilities { rpc { type: CREATE_DELETE_VOLUME } }` of a controller, and of a plugin
# `capabilities { service { type: CONTROLLER_SERVICE } }`: the same numbers, hence the same bytes.
CAPABILITY = field(1, field(1, b"\x08\x01"))


class WholeDriver:
    """A gRPC handler of every method: the plugin behind `channel`, and the rest of a cluster."""

    def __init__(self, node: Node, channel: Any, volume_context: Mapping[str, str]) -> None:
        self.published: list[tuple[dict[str, bytes], int]] = []
        self._node = node
        self._channel = channel
        self._volume_context = b"".join(
            field(3, field(1, key.encode()) + field(2, value.encode()))
            for key, value in volume_context.items()
        )
        self._turns: dict[str, Turn] = {
            "/csi.v1.Controller/ControllerGetCapabilities": lambda _request, _send: CAPABILITY,
            "/csi.v1.Controller/CreateVolume": lambda request, _send: self._created(request),
            "/csi.v1.Controller/DeleteVolume": lambda _request, _send: b"",
            "/csi.v1.Identity/GetPluginCapabilities": lambda request, send: (
                send(request) + CAPABILITY
            ),
            "/csi.v1.Node/NodePublishVolume": self._publish,
            "/csi.v1.Node/NodeUnpublishVolume": self._unpublish,
        }

    def service(self, details: Any) -> Any:
        """What grpc.GenericRpcHandler asks for; no serializers, so bytes in and bytes out."""
        send = self._channel.unary_unary(details.method)
        turn = self._turns.get(details.method, unchanged)

        def answer(request: bytes, context: Any) -> Any:
            try:
                return turn(request, lambda sent: send(sent, timeout=30))
            except grpc.RpcError as error:
                status: Any = error
                return context.abort(status.code(), status.details())

        return grpc.unary_unary_rpc_method_handler(answer)

    def _created(self, request: bytes) -> bytes:
        """A volume whose id is its name, which is the first field and shorter than 128 bytes."""
        name = request[2 : 2 + request[1]]
        return field(1, field(2, name) + self._volume_context)

    def _publish(self, request: bytes, send: Send) -> bytes:
        message = csi_pb2.NodePublishVolumeRequest.FromString(request)
        message.readonly = True
        message.target_path = as_kubelet_says(message.target_path)
        reply = send(message.SerializeToString())
        target = self._node.target(VOLUME)
        files = {path.name: path.read_bytes() for path in target.glob("*")}
        self.published.append((files, len(self._node.mounts_at(target))))
        return reply

    def _unpublish(self, request: bytes, send: Send) -> bytes:
        message = csi_pb2.NodeUnpublishVolumeRequest.FromString(request)
        message.target_path = as_kubelet_says(message.target_path)
        return send(message.SerializeToString())


def unchanged(request: bytes, send: Send) -> bytes:
    return send(request)


def as_kubelet_says(target: str) -> str:
    return re.sub(r"/target\Z", "/mount", target)


@contextmanager
def whole_driver(node: Node, socket: Path) -> Iterator[WholeDriver]:
    """A driver that csi-sanity can talk to at `socket`."""
    context = node.request(VOLUME).volume_context
    node.target(VOLUME).parent.rmdir()  # csi-sanity makes it anew for every spec
    with (
        grpc.insecure_channel(f"unix:{node.socket}") as channel,
        futures.ThreadPoolExecutor(4) as threads,
    ):
        driver = WholeDriver(node, channel, context)
        server = grpc.server(threads, handlers=[driver])
        server.add_insecure_port(f"unix:{socket}")
        server.start()
        try:
            yield driver
        finally:
            server.stop(None).wait()


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
    with whole_driver(node, socket) as driver:
        found = csi_sanity(node, socket)
    assert len(found.pop("passed")) == PASSED
    assert all(re.search(OPTIONAL, name) for name in found.pop("skipped"))
    assert found == {}
    assert driver.published == [({"token": b"at-1"}, 1)] * PUBLISHES
    assert not node.target(VOLUME).parent.exists()
    assert (names(node.token_folder), follow_threads()) == ([], [])
