"""An upstream in trouble of the kind that the model is named after: `cut` breaks off in the middle of its answer
(a stream: inside an event), `cut-late` streams an error after the first text, a number is the status that it
fails with, and anything else is well."""

import http.server
import json
import threading

from scripted import BODY_BYTES_MAX, _Server

TEXT = "Rivers "
# In the shape of either family; 529 is what Anthropic says when it is overloaded.
ERRORS = {
    400: ("invalid_request_error", "The provider does not like this request."),
    404: ("not_found_error", "The provider does not know this model."),
    429: ("rate_limit_error", "The provider is asked too often. Please try again in 30s."),
    500: ("api_error", "The provider failed."),
    529: ("overloaded_error", "Overloaded"),
}


def _event(name: str, data: dict) -> bytes:
    named = f"event: {name}\n" if name else ""
    return f"{named}data: {json.dumps(data)}\n\n".encode()


def _chat() -> list[bytes]:
    def chunk(delta: dict) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        about = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        return _event("", {**about, "choices": [choice]})

    return [chunk({"role": "assistant", "content": ""}), chunk({"content": TEXT}), chunk({"content": TEXT})]


def _responses() -> list[bytes]:
    response = {"id": "r", "object": "response", "created_at": 1, "model": "m", "output": [], "tools": []}
    response |= {"parallel_tool_calls": True, "tool_choice": "auto"}
    created = {"type": "response.created", "sequence_number": 0, "response": response}
    delta = {"type": "response.output_text.delta", "sequence_number": 1, "item_id": "i", "output_index": 0}
    delta |= {"content_index": 0, "delta": TEXT, "logprobs": []}
    return [_event(created["type"], created), _event(delta["type"], delta), _event(delta["type"], delta)]


def _messages() -> list[bytes]:
    message = {"id": "m", "type": "message", "role": "assistant", "content": [], "model": "m"}
    message |= {"stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 9, "output_tokens": 1}}
    start = {"type": "message_start", "message": message}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": TEXT}}
    return [_event(event["type"], event) for event in (start, block, delta, delta)]


STREAMS = {"/v1/chat/completions": _chat, "/v1/responses": _responses, "/v1/messages": _messages}


def _whole(path: str) -> dict:
    """A complete answer of the route."""
    if path == "/v1/chat/completions":
        choice = {"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
        return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    if path == "/v1/responses":
        text = {"type": "output_text", "text": TEXT, "annotations": []}
        item = {"type": "message", "id": "i", "role": "assistant", "status": "completed", "content": [text]}
        usage = {"input_tokens": 9, "output_tokens": 1, "total_tokens": 10}
        return {"id": "r", "object": "response", "created_at": 1, "model": "m", "status": "completed",
                "output": [item], "tools": [], "usage": usage}
    content = [{"type": "text", "text": TEXT}]
    return {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": content,
            "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 9, "output_tokens": 1}}


def _error(status: int) -> dict:
    kind, message = ERRORS[status]
    return {"type": "error", "error": {"type": kind, "message": message, "code": kind, "param": None}}


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        asked = json.loads(self.rfile.read(min(length, BODY_BYTES_MAX)))
        trouble = asked["model"]
        if trouble.isdigit():
            self._whole(int(trouble), _error(int(trouble)))
        elif not asked.get("stream"):
            self._whole(200, _whole(self.path), cut=trouble == "cut")
        elif trouble == "cut":
            # The last event is not whole, and neither is the body.
            self._stream(b"".join(STREAMS[self.path]())[: -len(TEXT) - 8])
            self.close_connection = True
        else:
            # Of the protocols, Responses has most to say in it; the others' readers take what they know.
            self._stream(b"".join(STREAMS[self.path]()[:-1]) + _event("error", _error(529)))
            self.wfile.write(b"0\r\n\r\n")

    def _whole(self, status: int, answer: dict, cut: bool = False) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        # The key may be asked again as soon as the next test does.
        self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = cut

    def _stream(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(body), body))

    def log_message(self, *_: object) -> None:
        pass


class TroubledUpstream:
    """The same for every key."""

    def __init__(self) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "TroubledUpstream":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)
