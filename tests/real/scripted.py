"""A scripted upstream: what it answers depends on the key alone, and it counts who asked."""

import collections
import http.server
import json
import threading

# What OpenAI answers to a key it does not know, save that the key is not repeated.
INVALID_KEY = {
    "error": {
        "message": "Incorrect API key provided. You can find your API key at https://platform.openai.com/account/api-keys.",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_api_key",
    }
}
OVERLOADED = {
    "error": {"message": "The server is overloaded.", "type": "server_error", "param": None, "code": None}
}
BODY_BYTES_MAX = 16 * 1024 * 1024


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        # A client may hang up whenever it likes; other errors show as a missing answer.
        pass


class ScriptedUpstream:
    """Answers 401 to `dead_key`, 503 to `failing_key` and 400 to anybody else, on any method and path."""

    def __init__(self, dead_key: str, failing_key: str) -> None:
        self._answers = {dead_key: (401, INVALID_KEY), failing_key: (503, OVERLOADED)}
        self._asked: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def asked(self, key: str) -> int:
        """How many calls came with this key; the list of models, which the gateway asks for by itself, is none."""
        with self._lock:
            return self._asked[key]

    def strangers(self) -> list[str]:
        """Credentials that came and are not of this upstream."""
        with self._lock:
            return [key for key in self._asked if key not in self._answers]

    def __enter__(self) -> "ScriptedUpstream":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        upstream = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def answer(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                if "chunked" in self.headers.get("transfer-encoding", ""):
                    # Reading it would need a parser; the connection ends with the answer instead.
                    self.close_connection = True
                else:
                    self.rfile.read(min(length, BODY_BYTES_MAX))
                bearer = self.headers.get("authorization", "").removeprefix("Bearer ").strip()
                status, body = upstream._note(bearer or self.headers.get("x-api-key", ""), self.command != "GET")
                payload = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = answer

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _note(self, key: str, is_call: bool) -> tuple[int, dict]:
        with self._lock:
            self._asked[key] += is_call
        return self._answers.get(key, (400, {"error": {"message": "a key this upstream never gave out"}}))
