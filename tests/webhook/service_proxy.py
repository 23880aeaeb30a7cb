"""What a Service does for the webhook: one port, connections go to whoever takes them, in turn."""

import contextlib
import itertools
import socket
import socketserver
import threading


class ServiceProxy(socketserver.ThreadingTCPServer):
    """Passes bytes on, on loopback; `ports` are those of the replicas, and may change."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Forwarder)
        self.ports: list[int] = []
        self.port: int = self.server_address[1]
        self.turn = itertools.count()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class _Forwarder(socketserver.BaseRequestHandler):
    server: ServiceProxy
    request: socket.socket

    def handle(self) -> None:
        ports = self.server.ports
        port = ports[next(self.server.turn) % len(ports)]
        with socket.create_connection(("127.0.0.1", port)) as replica:
            back = threading.Thread(target=_pass_on, args=(replica, self.request), daemon=True)
            back.start()
            _pass_on(self.request, replica)
            back.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes until one of the two has ended, then end both."""
    with contextlib.suppress(OSError):
        while chunk := source.recv(65536):
            target.sendall(chunk)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
