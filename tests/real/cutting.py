"""An upstream that breaks off in the middle of every stream, inside an event."""

import http.server
import json
import threading

from scripted import BODY_BYTES_MAX, _Server

TEXT = "Rivers "


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


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        self.rfile.read(min(length, BODY_BYTES_MAX))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        body = b"".join(STREAMS[self.path]())
        # The last event is not whole, and neither is the body.
        body = body[: -len(TEXT) - 8]
        self.wfile.write(b"%x\r\n%s\r\n" % (len(body), body))
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


class CuttingUpstream:
    """Streams one piece of text and a half, whatever the key."""

    def __init__(self) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "CuttingUpstream":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)
