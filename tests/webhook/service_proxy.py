"""What a Service does for the webhook: one port, connections go to whoever takes them, in turn."""

import contextlib
import itertools
import socket
import threading


class ServiceProxy:
    """Passes bytes on, on loopback; `ports` are those of the replicas, and may change."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self._turn = itertools.count()
        self._forwarders: list[_Forwarder] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End, with all connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for carrier in self._forwarders:
            carrier.abort()
            carrier.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = self._connected()
                if server is None:
                    client.close()
                    continue
                self._forwarders.append(_Forwarder(client, server))
                self._forwarders[-1].start()

    def _connected(self) -> socket.socket | None:
        ports, turn = self.ports, next(self._turn)
        for offset in range(len(ports)):
            with contextlib.suppress(OSError):
                return socket.create_connection(("127.0.0.1", ports[(turn + offset) % len(ports)]))
        return None


class _Forwarder(threading.Thread):
    """One connection, both ways."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        super().__init__(daemon=True)
        self._ends = client, server

    def run(self) -> None:
        client, server = self._ends
        back = threading.Thread(target=self._pass_on, args=(server, client), daemon=True)
        back.start()
        self._pass_on(client, server)
        back.join()
        for end in self._ends:
            end.close()

    def abort(self) -> None:
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                target.sendall(chunk)
        self.abort()
