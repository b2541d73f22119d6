"""Servers at ports of this machine: of gRPC, of the web, and such as say nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import grpc

Handler = Callable[[bytes, grpc.ServicerContext], bytes]


@contextmanager
def grpc_server(handlers: dict[str, Handler]) -> Iterator[str]:
    """A gRPC server that knows the calls of these names; its `host:port`."""

    class Calls(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
            found = handlers.get(details.method)
            return None if found is None else grpc.unary_unary_rpc_method_handler(found)

    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool, handlers=[Calls()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


@contextmanager
def plain_server(answer: bytes | None) -> Iterator[str]:
    """A server that gives each caller the same answer and hangs up; `None` keeps it waiting."""
    callers: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                caller, _ = listener.accept()
            except OSError:
                return
            callers.append(caller)
            if answer is None:
                continue
            with caller:
                try:
                    caller.recv(200)
                    caller.sendall(answer)
                except OSError:
                    pass

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            # Closing alone would leave the thread in `accept`.
            listener.shutdown(socket.SHUT_RDWR)
            for caller in callers:
                with suppress(OSError):
                    caller.shutdown(socket.SHUT_RDWR)
            thread.join()
            for caller in callers:
                caller.close()
