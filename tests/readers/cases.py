"""Bodies that readers may understand differently, and plain ones that have to get through."""

import dataclasses

JSON = "application/json"
CHAT = "/v1/chat/completions"
FORM = "multipart/form-data; boundary=B"
SPEECH = "/v1/audio/transcriptions"


@dataclasses.dataclass(frozen=True)
class Case:
    """A request. With `plain`, every reader and the gateway take it, and find this model."""

    what: str
    body: bytes
    said: tuple[str, ...] = (JSON,)
    path: str = CHAT
    plain: str | None = None


def json(what: str, body: str | bytes, *said: str, plain: str | None = None) -> Case:
    body = body.encode() if isinstance(body, str) else body
    return Case(f"JSON: {what}", body, said or (JSON,), CHAT, plain)


def form(what: str, body: str | bytes, *said: str, plain: str | None = None) -> Case:
    body = body.encode() if isinstance(body, str) else body
    return Case(f"form: {what}", body, said or (FORM,), SPEECH, plain)


def part(name: str, value: str, more: str = "") -> str:
    return f'--B\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'


CHEAP, DEAR = part("model", "cheap"), part("model", "dear")
END = "--B--\r\n"
FILE = part("file", "sound", '; filename="a.wav"\r\nContent-Type: audio/wav')
REST = ',"messages":[]}'

OF_JSON = [
    json("plain", '{"model":"cheap"' + REST, plain="cheap"),
    json("spaces and lines", '\n { "model" :\t"cheap" , "messages" : [ ] }\r\n', plain="cheap"),
    json("a charset", '{"model":"cheap"' + REST, f"{JSON}; charset=utf-8", plain="cheap"),
    json("escapes in the value", '{"model":"\\u0063heap"' + REST, plain="cheap"),
    json("escapes in the name", '{"\\u006dodel":"cheap"' + REST),
    json("another one deeper inside", '{"metadata":{"model":"dear"},"model":"cheap"' + REST, plain="cheap"),
    json("letters beyond ASCII", '{"user":"ü\U0001f600","model":"cheap"' + REST, plain="cheap"),
    json("__proto__", '{"__proto__":{"model":"dear"},"model":"cheap"' + REST),
    json("__proto__ alone", '{"__proto__":{"model":"dear"}' + REST),
    json("twice", '{"model":"cheap","model":"dear"' + REST),
    json("twice, once escaped", '{"model":"cheap","mod\\u0065l":"dear"' + REST),
    json("Model after it", '{"model":"cheap","Model":"dear"' + REST),
    json("Model before it", '{"MODEL":"dear","model":"cheap"' + REST),
    json("MODEL alone", '{"MODEL":"dear"' + REST),
    json("an escaped capital", '{"model":"cheap","\\u004dodel":"dear"' + REST),
    json("a null after it", '{"model":"cheap","model":null' + REST),
    json("a null in other case", '{"model":"cheap","mODEL":null' + REST),
    json("a blank behind the name", '{"model":"cheap","model ":"dear"' + REST),
    json("a NUL behind the name", '{"model":"cheap","model\\u0000":"dear"' + REST),
    json("blanks in the value", '{"model":" cheap"' + REST),
    json("a NUL in the value", '{"model":"cheap\\u0000dear"' + REST),
    json("half a pair in the value", '{"model":"cheap\\ud800"' + REST),
    json("a byte order mark", b"\xef\xbb\xbf" + b'{"model":"cheap"' + REST.encode()),
    json("UTF-16", ('{"model":"cheap"' + REST).encode("utf-16")),
    json("UTF-16 without a mark", ('{"model":"cheap"' + REST).encode("utf-16-le")),
    json("UTF-16 that is said", ('{"model":"cheap"' + REST).encode("utf-16"), f"{JSON}; charset=utf-16"),
    json("UTF-32", ('{"model":"cheap"' + REST).encode("utf-32")),
    json("UTF-7 that is said", '{"model":"cheap","+AG0-odel":"dear"' + REST, f"{JSON}; charset=utf-7"),
    json("bytes that are no text, in a value", b'{"user":"\xff","model":"cheap"' + REST.encode()),
    json("bytes that are no text, in a name", b'{"model":"cheap","mod\xc0\xa5l":"dear"' + REST.encode()),
    json("bytes that are no text, in the model", b'{"model":"cheap\xff"' + REST.encode()),
    json("a comment", '{"model":"cheap"/*,"model":"dear"*/' + REST),
    json("a comment to the line's end", '{"model":"cheap" // "model":"dear"\n' + REST),
    json("a comma too many", '{"model":"cheap","messages":[],}'),
    json("single quotes", "{'model':'cheap','messages':[]}"),
    json("no quotes", '{model:"cheap"' + REST),
    json("a line break inside", '{"user":"a\nb","model":"cheap"' + REST),
    json("an escape that is none", '{"user":"\\x22,\\"model\\":\\"dear","model":"cheap"' + REST),
    json("NaN", '{"temperature":NaN,"model":"cheap"' + REST),
    json("something behind it", '{"model":"cheap"' + REST + '{"model":"dear"}'),
    json("lines of JSON", '{"model":"cheap"' + REST + '\n{"model":"dear"' + REST),
    json("NULs behind it", '{"model":"cheap"' + REST + "\0\0"),
    json("a list around it", '[{"model":"cheap"' + REST + "]"),
    json("a text", '"{\\"model\\":\\"dear\\"}"'),
    json("a list as the model", '{"model":["cheap"]' + REST),
    json("a number as the model", '{"model":1' + REST),
    json("no model", '{"messages":[]}'),
    json("nothing", ""),
    Case("JSON: no type", b'{"model":"cheap"' + REST.encode(), ()),
    json("another type", '{"model":"cheap"' + REST, "text/plain"),
    json("a form's type", 'model=dear&x={"model":"cheap"' + REST, "application/x-www-form-urlencoded"),
    json("two types", '{"model":"cheap"' + REST, JSON, "text/plain"),
    json("two types in one", '{"model":"cheap"' + REST, f"{JSON}, text/plain"),
    json("a type with something behind it", '{"model":"cheap"' + REST, "application/json x"),
    json("deep", '{"user":' + "[" * 200 + "]" * 200 + ',"model":"cheap"' + REST),
    json("a large number", '{"seed":1e999,"model":"cheap"' + REST),
    json("a surrogate in another name", '{"\\ud800":"x","model":"cheap"' + REST),
]

OF_FORMS = [
    form("plain", CHEAP + FILE + END, plain="cheap"),
    form("the file first", FILE + CHEAP + END, plain="cheap"),
    form("a quoted boundary", CHEAP + FILE + END, 'multipart/form-data; boundary="B"', plain="cheap"),
    form("twice", CHEAP + DEAR + FILE + END),
    form("Model beside it", CHEAP + part("Model", "dear") + FILE + END),
    form("model[]", CHEAP + part("model[]", "dear") + FILE + END),
    form("an escaped name", CHEAP + part("%6dodel", "dear") + FILE + END),
    form("name* beside name", CHEAP + part("x", "dear", "; name*=UTF-8''model") + FILE + END),
    form("name* after the model", part("model", "cheap", "; name*=UTF-8''x") + DEAR + FILE + END),
    form("two names", CHEAP + part("x", "dear", '; name="model"') + FILE + END),
    form("a name without quotes", "--B\r\nContent-Disposition: form-data; name=model\r\n\r\ncheap\r\n" + FILE + END),
    form("a name in capitals", '--B\r\nContent-Disposition: form-data; NAME="model"\r\n\r\ncheap\r\n' + FILE + END),
    form("a quote in the name", CHEAP + part('x\\"; name=\\"model', "dear") + FILE + END),
    form("a file under the name", part("model", "dear", '; filename="x"') + CHEAP + FILE + END),
    form("a file under the name alone", part("model", "dear", '; filename="x"') + FILE + END),
    form("a folded header", '--B\r\nContent-Disposition: form-data;\r\n name="model"\r\n\r\ndear\r\n' + CHEAP + FILE + END),
    form("a header twice", CHEAP + part("x", "dear", '\r\nContent-Disposition: form-data; name="model"') + FILE + END),
    form("not form-data", '--B\r\nContent-Disposition: attachment; name="model"\r\n\r\ndear\r\n' + CHEAP + FILE + END),
    form("quoted-printable", part("model", "=64ear", "\r\nContent-Transfer-Encoding: quoted-printable") + FILE + END),
    form("base64", part("model", "ZGVhcg==", "\r\nContent-Transfer-Encoding: base64") + FILE + END),
    form("a charset of the part", part("model", "cheap", "\r\nContent-Type: text/plain; charset=utf-16") + FILE + END),
    form("_charset_", part("_charset_", "utf-16") + CHEAP + FILE + END),
    form("lines without CR", (CHEAP + DEAR + FILE + END).replace("\r\n", "\n")),
    form("lines without CR in one part", CHEAP + DEAR.replace("\r\n", "\n") + FILE + END),
    form("a boundary in a file, without CR", CHEAP + FILE.replace("sound", "a\n" + DEAR.replace("\r\n", "\n")) + END),
    form("something before it", "x\r\n" + DEAR.replace("--B", "--C") + CHEAP + FILE + END),
    form("a part before it", "\r\n" + CHEAP + FILE + END),
    form("a part behind the end", CHEAP + FILE + END + DEAR + END),
    form("no end", CHEAP + FILE),
    form("cut inside a part", CHEAP + '--B\r\nContent-Disposition: form-data; name="model"\r\n\r\ndear'),
    form("blanks behind the boundary", "--B  \r\n" + DEAR[5:] + CHEAP + FILE + END),
    form("a tab behind the boundary", CHEAP + "--B\t\r\n" + DEAR[5:] + FILE + END),
    form("a longer boundary", CHEAP + FILE.replace("sound", "a\r\n--Bx\r\nb") + END),
    form("a boundary that begins like the end", CHEAP + FILE.replace("sound", "a\r\n--B-\r\nb") + END),
    form("two boundaries", DEAR.replace("--B", "--C") + CHEAP + FILE + END, "multipart/form-data; boundary=B; boundary=C"),
    form("a boundary in another word", CHEAP + FILE + END, "multipart/form-data; boundary*=UTF-8''B"),
    form("a boundary with a blank", CHEAP + FILE + END, "multipart/form-data; boundary= B"),
    form("a boundary in single quotes", CHEAP + FILE + END, "multipart/form-data; boundary='B'"),
    form("a form in a form", CHEAP + part("x", "y", "\r\nContent-Type: multipart/mixed; boundary=D") + FILE + END),
    form("blanks around the value", part("model", " cheap ") + FILE + END),
    form("a line break in the value", part("model", "cheap\r\n") + FILE + END),
    form("bytes that are no text", CHEAP.replace("cheap", "cheap\udcff").encode("utf-8", "surrogateescape") + (FILE + END).encode()),
    form("no model", FILE + END),
    form("JSON that is said to be a form", '{"model":"cheap"}'),
    Case("form: a form that is said to be JSON", (CHEAP + FILE + END).encode(), (JSON,), SPEECH),
    Case("form: no type at all", (CHEAP + FILE + END).encode(), (), SPEECH),
    form("two types", CHEAP + FILE + END, FORM, "multipart/form-data; boundary=C"),
    form("mixed", CHEAP + FILE + END, "multipart/mixed; boundary=B"),
]

CASES = OF_JSON + OF_FORMS
