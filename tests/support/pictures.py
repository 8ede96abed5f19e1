"""Pictures without a picture library, models that take them, and a server that has some."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import ssl
import struct
import threading
import zlib
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.certificates import Pair
from tests.support.models import TINY_MODEL_DIR

PICTURE_MARK = "<|image_pad|>"
QWEN = {"min_pixels": 3136, "max_pixels": 12845056, "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2}
_MARKS = (PICTURE_MARK, "<image>", "<|media_pad|>", "<|vision_pad|>")
_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for p in m['content'] %}{% if p['type'] == 'image' %}@MARK@{% elif p['type'] == 'text' %}{{ p['text'] }}"
    "{% endif %}{% endfor %}{% endif %}\n{% endfor %}"
)


def png(width: int, height: int) -> bytes:
    """A PNG that claims this size; its data are not of it."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", head), (b"IDAT", zlib.compress(bytes(64))), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(name, data) for name, data in chunks)


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def jpeg(width: int, height: int, before_bytes: int = 0) -> bytes:
    """A JPEG of this size, whose frame comes after so many bytes of notes."""
    notes = b""
    while len(notes) < before_bytes:
        notes += b"\xff\xe1" + struct.pack(">H", 20_002) + bytes(20_000)
    frame = b"\xff\xc0\x00\x11\x08" + struct.pack(">HH", height, width) + b"\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01"
    scan = b"\xff\xda\x00\x0c\x03\x01\x00\x02\x11\x03\x11\x00\x3f\x00"
    return b"\xff\xd8" + notes + frame + scan + bytes(100) + b"\xff\xd9"


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def shown(url: str, **more: Any) -> dict[str, Any]:
    """The part of a message that shows the picture at an address."""
    return {"type": "image_url", "image_url": {"url": url}, **more}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def make_vision_model(
    directory: Path, config: Mapping[str, Any], preprocessor: Any, mark: str = PICTURE_MARK, **tokenizer_config: Any
) -> Path:
    """The tiny model with tokens that stand for pictures, of which its template writes `mark`. In `config` such a token
    as a value becomes its id; `preprocessor` None leaves the file out, bytes are it.
    """
    shutil.copytree(TINY_MODEL_DIR, directory)
    tokenizer = json.loads((directory / "tokenizer.json").read_text())
    known = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    for token_id, content in enumerate(_MARKS, 1 + max(*known.values(), *tokenizer["model"]["vocab"].values())):
        known[content] = token_id
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        tokenizer["added_tokens"].append({"id": token_id, "content": content, **flags, "special": True})
    wanted = {key: known.get(value, value) if isinstance(value, str) else value for key, value in config.items()}
    # models with equal files are one to a frontend
    files = {
        "tokenizer.json": tokenizer,
        "config.json": {**_read(directory / "config.json"), **wanted, "name": directory.name},
        "tokenizer_config.json": {
            **_read(directory / "tokenizer_config.json"), "chat_template": _TEMPLATE.replace("@MARK@", mark),
            **tokenizer_config,
        },
    }  # fmt: skip
    for name, content in files.items():
        (directory / name).write_text(json.dumps(content))
    if preprocessor is not None:
        written = preprocessor if isinstance(preprocessor, bytes) else json.dumps(preprocessor).encode()
        (directory / "preprocessor_config.json").write_bytes(written)
    return directory


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


class PictureServer:
    """`pictures` by path; `asked` are path and Range of what came. Any other path is a 404, but

    * ``/moved`` leads to ``/a.png``, ``/round`` to itself, ``/inside`` to a port, ``/file`` to a file;
    * ``/whole`` gives the picture whatever Range says, ``/hangs`` nothing until the server ends.
    """

    def __init__(self, pictures: Mapping[str, bytes], certificate: Pair | None = None) -> None:
        self.pictures = dict(pictures)
        self.asked: list[tuple[str, str | None]] = []
        self._ended = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self._server.server_address[1]}"
        if certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(*certificate)
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)

    @contextlib.contextmanager
    def running(self) -> Iterator[PictureServer]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            self._server.shutdown()
            self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self
        led_on = {
            "/moved": "/a.png",
            "/round": "/round",
            "/inside": "http://10.0.0.1:1/",
            "/file": "file:///etc/passwd",
        }

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                path, wanted = self.path.partition("?")[0], self.headers["range"]
                server.asked.append((self.path, wanted))
                if path == "/hangs":
                    server._ended.wait()
                elif path in led_on:
                    self._answer(302, b"", location=led_on[path])
                elif path == "/whole":
                    self._answer(200, server.pictures["/a.png"])
                elif path in server.pictures:
                    last = int(wanted.removeprefix("bytes=0-"))
                    self._answer(206, server.pictures[path][: last + 1])
                else:
                    self._answer(404, b"")

            def _answer(self, status: int, body: bytes, **headers: str) -> None:
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(body)

        return Handler
