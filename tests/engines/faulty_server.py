"""An OpenAI-compatible server on loopback that fails in a chosen way, one way a call."""

from __future__ import annotations

import json
import socket
import struct
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from rheostat.engines.endpoint_address import Address, Key
from rheostat.engines.endpoint_dialect import DIALECTS, OTHER
from rheostat.engines.endpoint_limits import Limits
from rheostat.engines.endpoint_server import Server

QUICK = Limits(connect=30.0, silence=60.0, deadline=600.0, tries=3, wait=0.0, connections=4)
PROMPT_TOKENS, WORDS = 7, ("one", " two", " three")


def chunk(text=None, *, finish=None, logprob=None, usage=None, chat=True):
    """A piece of a stream."""
    choice = {"index": 0, "finish_reason": finish}
    choice |= {"delta": {"content": text}} if chat else {"text": text}
    if logprob is not None:
        choice["logprobs"] = {"content": [{"token": text, "logprob": logprob}]}
    piece = {"choices": [choice]}
    if usage is not None:
        piece = {"choices": [], "usage": usage}
    return piece


def usage(new=3, prompt=PROMPT_TOKENS):
    return {"prompt_tokens": prompt, "completion_tokens": new}


def good(counts=None, *, logprobs=False, finish="stop"):
    """An answer of three words; `counts` is its usage, the string `no` for none."""

    def act(handler, _):
        handler.stream_begins()
        for word in WORDS:
            handler.event(chunk(word, logprob=-0.5 if logprobs else None))
        handler.event(chunk(finish=finish))
        if counts != "no":
            handler.event(chunk(usage=counts or usage()))
        handler.wfile.write(b"data: [DONE]\n\n")

    return act


def status(code, body='{"error": {"message": "no"}}', **headers):
    def act(handler, _):
        handler.whole(code, body.encode(), headers)

    return act


def without(field):
    """Refuse a field of the body; answer where it is left out."""

    def act(handler, body):
        if field in body:
            handler.whole(400, b'{"error": {"message": "unknown argument `%s`"}}' % field.encode())
        else:
            good()(handler, body)

    return act


def echoing(code):
    """An error that repeats the request's header."""

    def act(handler, _):
        text = json.dumps({"error": {"message": f"saw {handler.headers['Authorization']}"}})
        handler.whole(code, text.encode())

    return act


def hang(handler, _):
    handler.stream_begins()
    handler.event(chunk(WORDS[0]))
    handler.server.closing.wait(30)


def half(handler, _):
    handler.stream_begins()
    handler.event(chunk(WORDS[0]))


def malformed(handler, _):
    handler.stream_begins()
    handler.wfile.write(b'data: {"choices": [{"ind\n\n')


def reset(handler, _):
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        models = json.dumps({"object": "list", "data": self.server.models}).encode()
        listing = self.server.listing
        if listing == "silence":
            self.server.closing.wait(30)
        else:
            self.whole(*(listing or (200, models)))

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.bodies.append(body)
            self.server.seen.add(self.headers["Authorization"])
            act = self.server.script.pop(0) if self.server.script else good()
        act(self, body)

    def whole(self, code, body, headers=()):
        self.send_response(code)
        for name, value in {"Content-Type": "application/json", **dict(headers)}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream_begins(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()

    def event(self, data):
        self.wfile.write(f"data: {json.dumps(data)}\n\n".encode())
        self.wfile.flush()

    def log_message(self, *_):
        return


class FaultyServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script, self.bodies, self.lock = [], [], threading.Lock()
        self.seen = set()
        self.listing = None
        self.models = [{"id": "m", "owned_by": "someone"}]
        self.closing = threading.Event()

    @property
    def address(self):
        return Address(base=f"http://127.0.0.1:{self.server_port}/v1", model="m")

    def met(self, *acts, key="", limits=QUICK, dialect=None):
        """Set what the next calls do; return the server as an engine would have met it."""
        self.script[:], self.bodies[:] = acts, []
        self.seen.clear()
        known = DIALECTS.get(dialect, OTHER)
        return Server(address=self.address, key=Key(key), limits=limits, dialect=known)

    def handle_error(self, *_):
        return  # a client that hangs up is what is tested


@contextmanager
def faulty_server():
    server = FaultyServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
