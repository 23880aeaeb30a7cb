"""An API server that answers a broker from a script: nodes, their pods and companions as numbers.

`python -m bench.scripted_api CERTIFICATE KEY` prints its port. Real are HTTP, TLS and the
size of each answer; etcd, rights and the watch cache are not there, so that 20,000 pods cost the
machine nothing. Each line on standard input is answered: `change` brings a new token of the shared
companion, and tells its generation and the clock (monotonic seconds) before its event was sent;
`count` tells the requests so far.
"""

import asyncio
import json
import ssl
import sys
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bench import marked
from bench.scripted_objects import (
    COMPANIONS,
    NAMESPACE,
    SHARED,
    companion_of,
    metadata_only,
    namespace,
    pod,
    pods_of,
    review,
)
from csidriver.core import names

_SECRETS = f"/api/v1/namespaces/{names.TOKENS_NAMESPACE}/secrets"
_CHUNK = b"%x\r\n%b\r\n"


class ScriptedApi:
    """The state behind the answers, and the watches that are open."""

    def __init__(self) -> None:
        self.requests = 0
        self._version = 1
        self._watches: list[asyncio.StreamWriter] = []
        self._secrets: dict[str, dict[str, Any]] = {}
        for number in range(COMPANIONS):
            self._write(number, generation=1)

    def change(self) -> tuple[int, float]:
        """Bring a new token of the shared companion; its generation, and when that was."""
        secret = self._write(SHARED, generation=self._version)
        event = {"type": "MODIFIED", "object": secret}
        line = json.dumps(event).encode() + b"\n"
        generation, now = self._version - 1, time.monotonic()
        for watch in self._watches:
            watch.write(_CHUNK % (len(line), line))
        return generation, now

    def _write(self, number: int, generation: int) -> dict[str, Any]:
        self._version += 1
        secret = companion_of(number, generation, marked.token(), self._version)
        self._secrets[secret["metadata"]["name"]] = secret
        return secret

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until the peer ends it."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *fields = head.decode("latin-1").split("\r\n")
                headers = dict(field.lower().split(": ", 1) for field in fields if field)
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                path = line.split()[1]
                self.requests += 1
                if "watch=true" in path:
                    await self._watch(reader, writer)
                    return
                document = self._answer(path, headers.get("accept", ""), body)
                status = "404 Not Found" if document is None else "200 OK"
                content = json.dumps(document or {}).encode()
                writer.write(_head(status, f"Content-Length: {len(content)}") + content)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _watch(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_head("200 OK", "Transfer-Encoding: chunked"))
        self._watches.append(writer)
        try:
            await reader.read()
        finally:
            self._watches.remove(writer)

    def _answer(self, path: str, accept: str, body: bytes) -> dict[str, Any] | None:
        url = urlsplit(path)
        if url.path.endswith("/tokenreviews"):
            return review(json.loads(body)["spec"]["token"])
        folder, _, name = url.path.rpartition("/")
        named: dict[str, Callable[[str], dict[str, Any] | None]] = {
            "/api/v1/namespaces": namespace,
            f"/api/v1/namespaces/{NAMESPACE}/pods": pod,
            _SECRETS: self._secrets.get,
        }
        if folder in named:
            return named[folder](name)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if url.path == _SECRETS:
            return self._list(query, as_metadata="PartialObjectMetadataList" in accept)
        if url.path == "/api/v1/pods":
            return self._listed(pods_of(query["fieldSelector"].removeprefix("spec.nodeName=")))
        return None

    def _list(self, query: dict[str, str], *, as_metadata: bool) -> dict[str, Any]:
        first, limit = int(query.get("continue", "0")), int(query["limit"])
        found = list(self._secrets.values())
        page = found[first : first + limit]
        if as_metadata:
            page = [metadata_only(secret) for secret in page]
        following = str(first + limit) if first + limit < len(found) else ""
        return self._listed(page, following)

    def _listed(self, items: list[dict[str, Any]], following: str = "") -> dict[str, Any]:
        metadata = {"resourceVersion": str(self._version), "continue": following}
        return {"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items}


def _head(status: str, field: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{field}\r\n\r\n".encode()


async def _main(certificate: str, key: str) -> None:
    api = ScriptedApi()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(api.serve, "127.0.0.1", 0, ssl=context, limit=1 << 20)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(*(api.change() if line == "change\n" else [api.requests]), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:3]))
