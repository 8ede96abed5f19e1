"""Requests that are wrong, by what is wrong with them, and some that only look so."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

from tests.support.raw_http import JSON, head, post

CHAT, COMPLETIONS, BUSY = b"/v1/chat/completions", b"/v1/completions", b"/busy_threshold"
CHUNKED = b"transfer-encoding: chunked"
DEEP = 100_000
MB = 1 << 20


def chat(**fields: Any) -> bytes:
    """A chat request that would be served, with these fields instead."""
    whole = {"model": "mock", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2} | fields
    return json.dumps(whole).encode()


def completion(**fields: Any) -> bytes:
    return json.dumps({"model": "mock", "prompt": "hi", "max_tokens": 2} | fields).encode()


def tool(name: str, parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name} | ({} if parameters is None else {"parameters": parameters})}


def with_text(text: str) -> bytes:
    """A chat request with this JSON text as one more member."""
    return chat()[:-1] + f", {text}}}".encode()


LONE = '"\\ud83d"'
TOOL = tool("f", {})


MALFORMED = {
    "empty body": b"",
    "white space": b" \n\t ",
    "a brace": b"{",
    "two braces": b"{{",
    "cut in a string": b'{"model": "mo',
    "cut in the messages": chat()[:-20],
    "trailing comma": chat()[:-1] + b",}",
    "trailing text": chat() + b" x",
    "two documents": chat() + chat(),
    "single quotes": b"{'model': 'mock'}",
    "unquoted key": b'{model: "mock"}',
    "comment": b"/* hi */" + chat(),
    "NaN": with_text('"temperature": NaN'),
    "Infinity": with_text('"temperature": Infinity'),
    "minus Infinity": with_text('"top_p": -Infinity'),
    "leading zero": with_text('"seed": 01'),
    "bare plus": with_text('"seed": +1'),
    "hexadecimal": with_text('"seed": 0x10'),
    "bare point": with_text('"temperature": .5'),
    "exponent without digits": with_text('"temperature": 1e'),
    "bad escape": with_text('"user": "\\x41"'),
    "half a unicode escape": with_text('"user": "\\u12"'),
    "NUL in the text": b"\0" + chat(),
    "byte order mark": b"\xef\xbb\xbf" + chat(),
    "UTF-16": chat().decode().encode("utf-16"),
    "a form": b"model=mock&messages=hi",
    "XML": b"<model>mock</model>",
    "array": b"[]",
    "string": b'"mock"',
    "number": b"7",
    "null": b"null",
    "true": b"true",
    "deep arrays": b"[" * DEEP,
    "deep closed arrays": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep in a field": with_text('"metadata": ' + "[" * DEEP + "]" * DEEP),
    "deep in a message": with_text('"response_format": ' + '{"a":' * DEEP + "1" + "}" * DEEP),
    "deep in a tool": with_text('"tools": [{"type":"function","function":{"name":"f","parameters":'
                                + '{"a":' * 2000 + "1" + "}" * 2000 + "}}]"),  # fmt: skip
    "duplicate model": with_text('"model": "mock"'),
    "duplicate messages": with_text('"messages": []'),
    "duplicate max_tokens": with_text('"max_tokens": 3'),
    "invalid UTF-8 in a key": chat()[:-1] + b', "\xff": 1}',
    "invalid UTF-8 in the model": chat().replace(b'"mock"', b'"mo\xffck"'),
}
SURROGATES = {
    "lone surrogate in the model": chat().replace(b'"mock"', LONE.encode()),
    "lone surrogate in the content": with_text('"user": "x"').replace(b'"hi"', LONE.encode()),
    "lone surrogate in a role": chat().replace(b'"user"', LONE.encode()),
    "lone surrogate in a stop": with_text(f'"stop": {LONE}'),
    "lone surrogate in a stop list": with_text(f'"stop": ["a", {LONE}]'),
    "lone surrogate in the user": with_text(f'"user": {LONE}'),
    "lone surrogate in a key": with_text(f"{LONE}: 1"),
    "lone surrogate in a tool name": with_text('"tools": ' + json.dumps([TOOL]).replace('"f"', LONE)),
    "lone surrogate in a guided regex": with_text(f'"nvext": {{"guided_regex": {LONE}}}'),
    "lone surrogate in the cache salt": with_text(f'"nvext": {{"cache_salt": {LONE}}}'),
    "lone surrogate in template arguments": with_text(f'"chat_template_args": {{"a": {LONE}}}'),
    "surrogates the wrong way round": with_text('"user": "\\udc00\\ud800"'),
}
WRONG: dict[str, bytes] = {
    "model is a number": chat(model=7),
    "model is null": chat(model=None),
    "model is a list": chat(model=["mock"]),
    "model is empty": chat(model=""),
    "model with NUL": chat(model="mo\0ck"),
    "model of a megabyte": chat(model="m" * MB),
    "model that is not there": chat(model="nope"),
    "messages missing": b'{"model": "mock"}',
    "messages is a string": chat(messages="hi"),
    "messages is empty": chat(messages=[]),
    "messages is null": chat(messages=None),
    "message is a string": chat(messages=["hi"]),
    "message is null": chat(messages=[None]),
    "message without role": chat(messages=[{"content": "hi"}]),
    "message of an unknown role": chat(messages=[{"role": "king", "content": "hi"}]),
    "content is a number": chat(messages=[{"role": "user", "content": 7}]),
    "content is an object": chat(messages=[{"role": "user", "content": {}}]),
    "content part of an unknown type": chat(messages=[{"role": "user", "content": [{"type": "smell"}]}]),
    "content part without text": chat(messages=[{"role": "user", "content": [{"type": "text"}]}]),
    "temperature is a string": chat(temperature="1"),
    "temperature too high": chat(temperature=2.1),
    "temperature beyond a double": with_text('"temperature": 1e400'),
    "number that serde takes for infinite": with_text('"metadata": {"a": 1.7976931348623158e308}'),
    "temperature of 400 digits": with_text('"temperature": ' + "9" * 400),
    "top_p of zero": chat(top_p=0),
    "top_p is an object": chat(top_p={}),
    "top_k below minus one": chat(top_k=-2),
    "top_k beyond 64 bits": chat(top_k=1 << 70),
    "min_p negative": chat(min_p=-0.1),
    "max_tokens of zero": chat(max_tokens=0),
    "max_tokens negative": chat(max_tokens=-1),
    "max_tokens a fraction": chat(max_tokens=1.5),
    "max_tokens beyond 32 bits": chat(max_tokens=1 << 40),
    "max_tokens beyond 64 bits": chat(max_tokens=1 << 70),
    "max_tokens is a string": chat(max_tokens="7"),
    "max_tokens is true": chat(max_tokens=True),
    "n of zero": chat(n=0),
    "n too high": chat(n=129),
    "n beyond 64 bits": chat(n=1 << 80),
    "seed beyond 64 bits": chat(seed=1 << 80),
    "seed is a string": chat(seed="a"),
    "presence_penalty too high": chat(presence_penalty=2.5),
    "repetition_penalty of zero": chat(repetition_penalty=0),
    "logprobs is a string": chat(logprobs="yes"),
    "top_logprobs too high": chat(logprobs=True, top_logprobs=21),
    "logit_bias with a word as key": chat(logit_bias={"a": 1}),
    "logit_bias with a negative key": chat(logit_bias={"-1": 1}),
    "logit_bias too high": chat(logit_bias={"5": 101}),
    "logit_bias is a list": chat(logit_bias=[1]),
    "stop is a number": chat(stop=7),
    "stop is an empty list": chat(stop=[]),
    "stop holds an empty string": chat(stop=[""]),
    "33 stops": chat(stop=["a"] * 33),
    "stream is a string": chat(stream="true"),
    "stream is a number": chat(stream=1),
    "stream_options without stream": chat(stream_options={"include_usage": True}),
    "stream_options is a string": chat(stream=True, stream_options="usage"),
    "tools is empty": chat(tools=[]),
    "tools is a string": chat(tools="f"),
    "tool without function": chat(tools=[{"type": "function"}]),
    "tool with a bad name": chat(tools=[tool("a b!", {})]),
    "tool with parameters of a string": chat(tools=[tool("a", "b")]),
    "tool_choice of a tool that is not there": chat(tools=[TOOL], tool_choice=tool("x", None)),
    "response_format of an unknown type": chat(response_format={"type": "poem"}),
    "nvext is a string": chat(nvext="x"),
    "nvext with an unknown key": chat(nvext={"nope": 1}),
    "nvext with a wrong type": chat(nvext={"greed_sampling": 7}),
    "unknown parameter": chat(nope=1),
    "a key of NUL": chat(**{"\0": 1}),
    "continuing and adding a prompt": chat(continue_final_message=True, add_generation_prompt=True),
}  # fmt: skip
COMPLETIONS_WRONG: dict[str, bytes] = {
    "prompt missing": b'{"model": "mock"}',
    "prompt is empty": completion(prompt=""),
    "prompt is an empty list": completion(prompt=[]),
    "prompt is a number": completion(prompt=7),
    "prompt is an object": completion(prompt={}),
    "prompt of mixed types": completion(prompt=["a", 1]),
    "prompt of negative ids": completion(prompt=[-1]),
    "prompt of ids beyond the vocabulary": completion(prompt=[1 << 31]),
    "prompt of ids beyond 64 bits": completion(prompt=[1 << 70]),
    "prompt of fractions": completion(prompt=[1.5]),
    "prompt with a raw NUL": completion(prompt="ab").replace(b"ab", b"a\0b"),
    "prompt with invalid UTF-8": completion().replace(b'"hi"', b'"\xff\xfe"'),
    "prompt with a lone surrogate": completion().replace(b'"hi"', LONE.encode()),
    "prompt list with a lone surrogate": completion(prompt=["hi"]).replace(b'"hi"', LONE.encode()),
    "suffix with a lone surrogate": completion(suffix="x").replace(b'"x"', LONE.encode()),
    "logprobs too high": completion(logprobs=6),
    "best_of below n": completion(n=2, best_of=1),
    "prompt_embeds not base64": completion(prompt_embeds="%%%"),
    "messages in place of a prompt": completion(messages=[]),
}
BUSY_WRONG = {
    "busy: empty": b"",
    "busy: cut": b'{"model"',
    "busy: no model": b"{}",
    "busy: model is a number": b'{"model": 7}',
    "busy: above one": b'{"model": "mock", "active_decode_blocks_threshold": 1.5}',
    "busy: negative": b'{"model": "mock", "active_prefill_tokens_threshold": -1}',
    "busy: negative share": b'{"model": "mock", "active_prefill_tokens_threshold_frac": -1}',
    "busy: unknown model": b'{"model": "nope", "active_decode_blocks_threshold": 0.5}',
    "busy: lone surrogate": b'{"model": "\\ud800", "active_decode_blocks_threshold": 0.5}',
    "busy: deep": b"[" * DEEP,
    "busy: too large": b'{"model": "' + b"m" * 3 * MB + b'"}',
}


def chunked(*chunks: bytes) -> bytes:
    return head(b"POST", CHAT, JSON, CHUNKED) + b"".join(chunks)


def coded(coding: bytes, body: bytes) -> bytes:
    return post(CHAT, body, b"content-encoding: " + coding)


ON_THE_WIRE: dict[str, bytes] = {
    "content-length and transfer-encoding": head(b"POST", CHAT, JSON, b"content-length: 5", CHUNKED)
    + b"0\r\n\r\nGET /live HTTP/1.1\r\nhost: a\r\n\r\n",
    "transfer-encoding twice": head(b"POST", CHAT, JSON, CHUNKED, b"transfer-encoding: identity") + b"0\r\n\r\n",
    "unknown transfer-encoding": head(b"POST", CHAT, JSON, b"transfer-encoding: xchunked") + b"0\r\n\r\n",
    "two different lengths": head(b"POST", CHAT, JSON, b"content-length: 5", b"content-length: 6") + b"{}{}{}",
    "a list of lengths": head(b"POST", CHAT, JSON, b"content-length: 5, 6") + b"{}{}{}",
    "negative length": head(b"POST", CHAT, JSON, b"content-length: -1"),
    "length that is no number": head(b"POST", CHAT, JSON, b"content-length: abc"),
    "length with a sign": head(b"POST", CHAT, JSON, b"content-length: +2") + b"{}",
    "length beyond 64 bits": head(b"POST", CHAT, JSON, b"content-length: " + b"9" * 30),
    "length over the limit": head(b"POST", CHAT, JSON, b"content-length: 99999999999"),
    "length too short for the body": head(b"POST", CHAT, JSON, b"content-length: 5") + chat(),
    "folded header": head(b"POST", CHAT, JSON, b"x-a: 1\r\n  folded", b"content-length: 2") + b"{}",
    "space before the colon": head(b"GET", b"/live", b"x-a : 1"),
    "header without a colon": head(b"GET", b"/live", b"nonsense"),
    "header without a name": head(b"GET", b"/live", b": 1"),
    "NUL in a header": head(b"GET", b"/live", b"x-a: a\0b"),
    "control character in a header": head(b"GET", b"/live", b"x-a: a\x01b"),
    "bare carriage return in a header": head(b"GET", b"/live", b"x-a: a\rb: c"),
    "non-ASCII header name": head(b"GET", b"/live", b"x-\xff: 1"),
    "1,000 headers": head(b"GET", b"/live", *[b"x-%d: 1" % number for number in range(1000)]),
    "a header of a megabyte": head(b"GET", b"/live", b"x-a: " + b"a" * MB),
    "a path of 100 kB": head(b"GET", b"/" + b"a" * 100_000),
    "a path of a megabyte": head(b"GET", b"/" + b"a" * MB),
    "NUL in the path": head(b"GET", b"/li\0ve"),
    "raw byte in the path": head(b"GET", b"/live\xff"),
    "space in the path": head(b"GET", b"/li ve"),
    "no path": b"GET HTTP/1.1\r\nhost: a\r\n\r\n",
    "no version": b"GET /live\r\n\r\n",
    "unknown version": b"GET /live HTTP/9.9\r\nhost: a\r\n\r\n",
    "broken version": b"GET /live HTTP/x\r\nhost: a\r\n\r\n",
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "bad chunk size": chunked(b"zz\r\n{}\r\n0\r\n\r\n"),
    "negative chunk size": chunked(b"-1\r\n{}\r\n0\r\n\r\n"),
    "chunk size beyond 64 bits": chunked(b"f" * 20 + b"\r\n{}\r\n0\r\n\r\n"),
    "chunk longer than its size": chunked(b"1\r\n{}\r\n0\r\n\r\n"),
    "chunk without an end of line": chunked(b"2\r\n{}0\r\n\r\n"),
    "empty chunked body": chunked(b"0\r\n\r\n"),
    "endless chunk extension": chunked(b"2;" + b"a" * MB),
    "bad method character": head(b"GE(T", b"/live"),
    "not gzip": coded(b"gzip", b"not gzip at all"),
    "cut gzip": coded(b"gzip", gzip.compress(chat())[:-9]),
    "gzip of no JSON": coded(b"gzip", gzip.compress(b"{")),
    "not zstd": coded(b"zstd", b"not zstd at all"),
    "not deflate": coded(b"deflate", b"\x78\x9cnot deflate"),
    "unknown coding": coded(b"br", chat()),
    "five codings": coded(b"gzip, gzip, gzip, gzip, gzip", chat()),
    "gzip bomb": coded(b"gzip", gzip.compress(bytes(300 * MB), 1)),
    "gzip bomb in a gzip bomb": coded(b"gzip, gzip", gzip.compress(gzip.compress(bytes(300 * MB)))),
    "deflate bomb": coded(b"deflate", zlib.compress(bytes(300 * MB), 1)),
    "no content type": head(b"POST", CHAT, b"content-length: 2") + b"{}",
    "wrong content type": head(b"POST", CHAT, b"content-type: text/plain", b"content-length: 2") + b"{}",
    "65 metadata headers": post(CHAT, chat(), *[b"x-dynamo-meta-%d: 1" % number for number in range(65)]),
    "unknown path": head(b"GET", b"/nope"),
    "trailing slash": head(b"GET", b"/live/"),
    "path upwards": head(b"GET", b"/../../etc/passwd"),
    "escaped path upwards": head(b"GET", b"/%2e%2e/%2e%2e/etc/passwd"),
    "bad percent escape": head(b"GET", b"/%zz"),
    "half a percent escape": head(b"GET", b"/live%"),
    "escaped NUL": head(b"GET", b"/live%00"),
    "escaped invalid UTF-8": head(b"GET", b"/v1/models/%ff%fe"),
    "escaped lone surrogate": head(b"GET", b"/v1/models/%ed%a0%80"),
    "unknown absolute URI": head(b"GET", b"http://elsewhere.example/nope"),
    "asterisk": head(b"OPTIONS", b"*"),
    "CONNECT": head(b"CONNECT", b"elsewhere.example:443"),
    "TRACE": head(b"TRACE", b"/live"),
    "lower-case method": head(b"get", b"/live"),
    "unknown method": head(b"BREW", b"/live"),
    "DELETE of a model": head(b"DELETE", b"/v1/models/mock"),
    "GET of chat": head(b"GET", CHAT),
    "PUT of chat": head(b"PUT", CHAT, b"content-length: 0"),
    "POST to live": post(b"/live", b"{}"),
    "unknown model": head(b"GET", b"/v1/models/nope"),
    "readiness of an unknown model": head(b"GET", b"/v1/models/nope/ready"),
    "readiness of no model": head(b"GET", b"/v1/models//ready"),
}  # fmt: skip
BODIES = {
    CHAT: MALFORMED | SURROGATES | WRONG,
    COMPLETIONS: COMPLETIONS_WRONG,
    BUSY: BUSY_WRONG,
}
REQUESTS = {
    **{name: post(path, body) for path, bodies in BODIES.items() for name, body in bodies.items()},
    **{
        f"streamed, {name}": post(CHAT, body[:-1] + b', "stream": true}')
        for name, body in WRONG.items()
        if b'"stream' not in body
    },
    **ON_THE_WIRE,
}
# What the original takes as well, or what HTTP says is to be taken.
TAKEN = {
    "invalid UTF-8 in the content": (post(CHAT, chat().replace(b'"hi"', b'"\xff\xfe"')), 200),
    "huge exponent that is zero": (post(CHAT, with_text('"temperature": 1e-400')), 200),
    "absolute URI": (head(b"GET", b"http://elsewhere.example/live"), 200),
    "expect 100-continue": (post(CHAT, chat(), b"expect: 100-continue"), 200),
    "length said twice alike": (head(b"POST", CHAT, JSON, *[b"content-length: %d" % len(chat())] * 2) + chat(), 200),
    "chunk extension": (chunked(b"%x;a=b\r\n%b\r\n0\r\n\r\n" % (len(chat()), chat())), 200),
    "chunked with a trailer": (chunked(b"%x\r\n%b\r\n0\r\nx-a: b\r\n\r\n" % (len(chat()), chat())), 200),
    "plain body called gzip": (coded(b"gzip", chat()), 200),
    "raw gzip": (coded(b"gzip", gzip.compress(chat())), 200),
    "two gzip members": (coded(b"gzip", gzip.compress(chat()[:20]) + gzip.compress(chat()[20:])), 200),
    "deflate": (coded(b"deflate", zlib.compress(chat())), 200),
    "deflate without a header": (coded(b"deflate", zlib.compress(chat())[2:-4]), 200),
    "NUL in the content": (post(CHAT, chat(messages=[{"role": "user", "content": "a\0b"}])), 200),
    "non-ASCII request id": (head(b"GET", b"/live", b"x-request-id: \xff\xfe"), 200),
    "metadata that is no ASCII": (post(CHAT, chat(), b"x-dynamo-meta-a: \xff"), 200),
    "tenant that is no UTF-8": (post(CHAT, chat(), b"x-tenant-id: \xff\xfe"), 200),
    "worker id that is no number": (post(CHAT, chat(), b"x-dynamo-worker-instance-id: many"), 200),
    "worker id beyond 64 bits": (post(CHAT, chat(), b"x-dynamo-worker-instance-id: " + b"9" * 5000), 200),
    "request id that is no UUID": (post(CHAT, chat(), b"x-dynamo-request-id: \xffnope"), 200),
    "escaped letters in the path": (head(b"GET", b"/%6cive"), 200),
    "HTTP/1.0": (b"GET /live HTTP/1.0\r\n\r\n", 200),
}
