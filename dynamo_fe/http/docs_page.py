"""`/docs/`: a small page that shows `/openapi.json` and sends requests. Nothing of it comes from another host."""

from __future__ import annotations

from typing import Final

from dynamo_fe.http.exchange import Exchange
from dynamo_fe.http.services import Services
from dynamo_fe.http.status_page import POLICY, Handler

_PAGE: Final = b"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="UTF-8">
<meta name="viewport" content="width=device-width">
<title>dynamo-fe API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="./viewer.css">
</head>
<body>
<h1 id="title"></h1>
<p id="about"></p>
<p><a href="../openapi.json">openapi.json</a></p>
<div id="operations"></div>
<script src="./viewer.js"></script>
</body>
</html>
"""
_STYLE: Final = b"""\
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
details { border: 1px solid #ccc; border-radius: 4px; margin: .4rem 0; padding: .4rem .8rem }
summary { cursor: pointer }
code, pre, textarea { font: 13px/1.4 ui-monospace, monospace }
pre { background: #f4f4f4; padding: .6rem; overflow: auto; max-height: 24rem; white-space: pre-wrap }
textarea { width: 100%; height: 9rem; box-sizing: border-box }
.get { color: #0a6 } .post { color: #06c }
"""
_SCRIPT: Final = b"""'use strict';
function make(tag, text, parent) {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  if (parent) parent.append(element);
  return element;
}
function show(api, path, method, operation) {
  const box = make('details', '', document.getElementById('operations'));
  const head = make('summary', '', box);
  const name = make('code', method.toUpperCase() + ' ', head);
  name.className = method;
  make('code', path, head);
  make('span', '  ' + (operation.summary || ''), head);
  let url, body;
  if (operation.parameters) {
    url = make('input', '', box);
    url.placeholder = 'model_id';
  }
  if (operation.requestBody) {
    body = make('textarea', '', box);
    body.value = '{"model": ""}';
    const schema = (operation.requestBody.content['application/json'] || {}).schema;
    if (schema) {
      const fields = api.components.schemas[schema.$ref.split('/').pop()];
      const more = make('details', '', box);
      make('summary', 'Fields', more);
      make('pre', JSON.stringify(fields.properties, null, 1), more);
    }
  }
  const answer = document.createElement('pre');
  make('button', 'Send', box).onclick = async () => {
    answer.textContent = '...';
    const target = '..' + path.replace('{model_id}', url ? encodeURIComponent(url.value) : '');
    const options = body ? {method: 'POST', body: body.value, headers: {'content-type': 'application/json'}} : {};
    try {
      const response = await fetch(target, options);
      answer.textContent = response.status + ' ' + response.statusText + '\\n';
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let part = await reader.read(); !part.done; part = await reader.read()) answer.textContent += part.value;
    } catch (error) { answer.textContent += error; }
  };
  box.append(answer);
}
fetch('../openapi.json').then((response) => response.json()).then((api) => {
  document.getElementById('title').textContent = api.info.title;
  document.getElementById('about').textContent = api.info.description + ' Version ' + api.info.version + '.';
  for (const [path, operations] of Object.entries(api.paths))
    for (const [method, operation] of Object.entries(operations)) show(api, path, method, operation);
});
"""


async def to_page(exchange: Exchange, services: Services) -> None:
    """`GET /docs`: sent on to the page."""
    await exchange.respond(303, [(b"location", b"/docs/")], b"")


def _serve(kind: bytes, content: bytes) -> Handler:
    headers = [(b"content-type", kind), (b"content-security-policy", POLICY)]

    async def handle(exchange: Exchange, services: Services) -> None:
        await exchange.respond(200, headers, content)

    return handle


_page: Final = _serve(b"text/html", _PAGE)
FILES: Final = {
    "/docs/": _page,
    "/docs/index.html": _page,
    "/docs/viewer.css": _serve(b"text/css", _STYLE),
    "/docs/viewer.js": _serve(b"text/javascript", _SCRIPT),
}
