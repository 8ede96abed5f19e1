"""What a worker is sent with pictures, and what the request is routed as: from ours the same as from the original."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.asking import ask, chat
from tests.support.cluster import Cluster
from tests.support.pictures import (
    PICTURE_MARK,
    QWEN,
    PictureServer,
    data_url,
    jpeg,
    make_vision_model,
    png,
    shown,
    text,
)
from tests.support.processes import free_port
from tests.support.stores import FileStore, StoreWith

KV = ("--router-mode", "kv", "--no-router-kv-events")
QWEN2 = {"model_type": "qwen2_vl", "image_token_id": "<|image_pad|>"}
KIMI = {"patch_size": 14, "merge_kernel_size": 2, "in_patch_limit": 4096, "patch_limit_on_one_side": 100}
PICTURE = data_url(png(56, 84))
VIDEO = {"type": "video_url", "video_url": {"url": "http://films.test/a.mp4"}}
SIZES = [
    (1, 1),
    (56, 84),
    (84, 56),
    (1000, 500),
    (4000, 3000),
    (30, 7000),
    (640, 480),
    (400, 400),
    (336, 1008),
    (50, 50),
]


class Model(NamedTuple):
    """Of its files config.json, preprocessor_config.json, what the template writes, and tokenizer_config.json."""

    config: dict[str, Any]
    preprocessor: Any
    mark: str = PICTURE_MARK
    tokenizer_config: Mapping[str, Any] = {}


LLAVA = {"model_type": "llava_next", "image_token_index": "<image>"}
FAMILIES = {
    "qwen2": Model(QWEN2, QWEN),
    "qwen2-5": Model({**QWEN2, "model_type": "qwen2_5_vl"}, {"patch_size": {"height": 16, "width": 16}}),
    "qwen3": Model({**QWEN2, "model_type": "qwen3_vl"}, {"size": {"shortest_edge": 65536, "longest_edge": 200000}}),
    "qwen3-omni": Model({**QWEN2, "model_type": "qwen3_omni_moe"}, {}),
    "qwen2-by-vision": Model({"model_type": "qwen2_vl", "vision_token_id": "<|vision_pad|>"}, QWEN, "<|vision_pad|>"),
    "llava-1.5": Model({**LLAVA, "model_type": "llava"}, {"size": {"shortest_edge": 336}}, "<image>"),
    "next": Model({"model_type": "llava_next"}, {}, "<image>", {"add_bos_token": True, "bos_token": "<s>"}),
    "no-bos": Model(LLAVA, {}, "<image>", {"add_bos_token": True, "bos_token": "several tokens"}),
    "four": Model({"model_type": "llama4", "image_token_index": "<|image|>"}, {"size": {"height": 336}}, "<|image|>"),
    "kimi": Model(
        {"model_type": "kimi_k25", "media_placeholder_token_id": "<|media_pad|>"},
        {"media_proc_cfg": KIMI},
        "<|media_pad|>",
    ),
    "phi3": Model({**QWEN2, "model_type": "phi3_v"}, {"num_crops": 4}),
    "inkling": Model({**QWEN2, "model_type": "inkling"}, {"rescale_image_frac": 2.0}),
    "unknown": Model({**QWEN2, "model_type": "gemma3"}, QWEN),
    "without": Model(QWEN2, None),
    "broken": Model(QWEN2, b"{"),
    "of-another-type": Model(QWEN2, {"min_pixels": 3136.0}),
    "of-another-type-elsewhere": Model(QWEN2, {"vision_start_token": 5}),
}
NOT_ROUTED = {"unknown", "without", "broken", "of-another-type", "of-another-type-elsewhere"}


class Pair:
    """Both frontends before the same workers, a worker a model."""

    def __init__(self, cluster: Cluster, models: Mapping[str, Model], arguments: Sequence[str]) -> None:
        self.workers = {}
        for number, (name, (config, preprocessor, mark, more)) in enumerate(models.items()):
            directory = make_vision_model(cluster.home / name, config, preprocessor, mark, **more)
            worker = cluster.scripted_worker(name, directory, endpoint=f"dyn://n{number}.backend.generate")
            worker.say([{"token_ids": [272]}, {"token_ids": [273], "finish_reason": "length"}])
            self.workers[name] = worker
        start = cluster.real_frontend, cluster.frontend
        self.frontends = [frontend(*models, arguments=arguments) for frontend in start]

    def sent(self, model: str, parts: Sequence[Mapping[str, Any]], **fields: Any) -> list[tuple[int, list[Any]]]:
        """Status and what the worker got, by the original and by ours."""
        found = []
        for frontend in self.frontends:
            self.workers[model].forget()
            messages = [{"role": "user", "content": [*parts, text("x")]}]
            status, _ = chat(frontend.url, model, messages=messages, max_tokens=2, **fields)
            found.append((status, [entry["request"] for entry in self.workers[model].requests()]))
        return found

    def token_counts(self) -> list[list[str]]:
        """What each shows of the tokens of pictures."""
        pages = [ask(f"{frontend.url}/metrics")[1] for frontend in self.frontends]
        name = "dynamo_frontend_image_tokens_per_request"
        return [sorted(line for line in page.splitlines() if line.startswith(name)) for page in pages]


@contextlib.contextmanager
def pair(home: Path, models: Mapping[str, Model], arguments: Sequence[str] = (), **variables: str) -> Iterator[Pair]:
    with Cluster(StoreWith(FileStore(home / "store"), variables), home) as cluster:
        yield Pair(cluster, models, arguments)


@pytest.mark.parametrize("names", [list(FAMILIES)[:8], list(FAMILIES)[8:]], ids=["some", "others"])
def test_every_family_is_counted_alike(tmp_path: Path, names: list[str]) -> None:
    routed = set()
    with pair(tmp_path, {name: FAMILIES[name] for name in names}, KV) as both:
        for name in names:
            for size in SIZES:
                theirs, own = both.sent(name, [text("see "), shown(data_url(png(*size)))])
                assert own == theirs, (name, size)
                assert own[0] == 200
                routed |= {name for request in own[1] if "mm_routing_info" in request}
        theirs_shown, own_shown = both.token_counts()
        assert own_shown == theirs_shown
    assert set(names) - routed == set(names) & NOT_ROUTED


CASES: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "several": ([shown(PICTURE), text("and " * 20), shown(data_url(png(300, 200))), shown(PICTURE)], {}),
    "a placeholder in the text": ([shown(PICTURE), text("<|image_pad|>")], {}),
    "no arguments for the processor": ([shown(PICTURE)], {"mm_processor_kwargs": {}}),
    "arguments for the processor": ([shown(PICTURE)], {"mm_processor_kwargs": {"max_pixels": 9}}),
    "a name of the client's": ([shown(PICTURE, uuid="a cat")], {}),
    "a hash of the client's": ([shown(PICTURE, uuid="ab" * 32)], {}),
    "a film as well": ([shown(PICTURE), VIDEO], {}),
    "one that is none": ([shown(PICTURE), shown("data:image/png;base64,AAAA")], {}),
    "no base64": ([shown("data:image/png;base64,!!!!")], {}),
    "no data": ([shown("data:image/png;base64")], {}),
    "a line break": ([shown(f"{PICTURE[:60]}\n{PICTURE[60:]}")], {}),
    "another case": ([shown("DATA" + PICTURE[4:])], {}),
    "another kind of address": ([shown("ftp://pictures.test/a.png")], {}),
    "a name that is not there": ([shown("http://nowhere.invalid/a.png")], {}),
    "a name that leads inside": ([shown(f"http://{socket.gethostname()}/a.png")], {}),
    "the same with a name": ([shown(f"http://{socket.gethostname()}/a.png", uuid="a cat")], {}),
    "tokens of the client's": ([shown(PICTURE)], {"nvext": {"token_data": [5] * 40}}),
    "words alone": ([], {}),
}


def named(uuid: Any, kind: str = "image_url", url: str = PICTURE) -> dict[str, Any]:
    """A part whose address itself has a name."""
    return {"type": kind, kind: {"url": url, "uuid": uuid}}


UUID = "6f2a0c1e-9f1e-4a64-9d0a-1d1a4b3b9d11"
NAMES: dict[str, list[dict[str, Any]]] = {
    "a name alone": [{"type": "image_url", "image_url": None, "uuid": "a cat"}],
    "a name and nothing": [{"type": "image_url", "uuid": "a cat"}],
    "a name and no address": [shown("", uuid="a cat")],
    "one by its name, one by its address": [{"type": "image_url", "uuid": "a cat"}, shown(PICTURE)],
    "an empty name": [shown(PICTURE, uuid="")],
    "a number": [shown(PICTURE, uuid=5)],
    "nothing at all": [{"type": "image_url"}],
    "a film by its name": [{**VIDEO, "uuid": "a film"}, shown(PICTURE)],
    "a film by its name alone": [{"type": "video_url", "uuid": "a film"}],
    "a film with an empty name": [{**VIDEO, "uuid": ""}],
    **{
        f"in the address: {uuid}": [named(uuid)]
        for uuid in (UUID, UUID.upper(), "ab" * 16, f"{{{UUID}}}", f"urn:uuid:{UUID}", None, "ab" * 32, "cat", "", 5)
    },
    "in the address, with a line's end": [named(f"{UUID}\n")],
    "in the address of a film": [named(UUID, "video_url", "http://films.test/a.mp4")],
    "in the address of a sound": [named(UUID, "audio_url", "http://films.test/a.mp3")],
    "no uuid in the address of a film": [named("ab" * 32, "video_url", "http://films.test/a.mp4")],
}


def test_names_of_pictures(tmp_path: Path) -> None:
    with pair(tmp_path, {"qwen2": FAMILIES["qwen2"]}) as both:
        for name, parts in NAMES.items():
            theirs, own = both.sent("qwen2", parts)
            assert own == theirs, name


@pytest.mark.parametrize("arguments", [(), KV], ids=["round robin", "kv"])
def test_what_keeps_pictures_out_of_routing(tmp_path: Path, arguments: Sequence[str]) -> None:
    models = {"qwen2": FAMILIES["qwen2"], "unknown": FAMILIES["unknown"]}
    with pair(tmp_path, models, arguments) as both:
        for model in models:
            for name, (parts, fields) in CASES.items():
                theirs, own = both.sent(model, parts, **fields)
                assert own == theirs, (model, name)
        theirs_shown, own_shown = both.token_counts()
        assert own_shown == theirs_shown


def test_pictures_of_a_server(tmp_path: Path) -> None:
    pictures = {"/a.png": png(56, 84), "/late.jpg": jpeg(140, 84, 20_000), "/later.jpg": jpeg(140, 84, 80_000)}
    paths = [*pictures, "/words", "/moved", "/round", "/whole", "/none"]
    with (
        PictureServer({**pictures, "/words": b"no picture" * 9000}).running() as server,
        pair(tmp_path, {"qwen2": FAMILIES["qwen2"]}, KV, DYN_MM_ALLOW_INTERNAL="1") as both,
    ):
        for wanted in ([path] for path in paths):
            theirs, own = both.sent("qwen2", [shown(server.url + path) for path in wanted])
            assert own == theirs, wanted
        asked = len(server.asked)
        theirs, own = both.sent("qwen2", [shown(server.url + path) for path in ("/a.png", "/late.jpg")])
        assert own == theirs
        assert "mm_routing_info" in own[1][0]
        assert len(server.asked) == asked


@pytest.mark.parametrize("ours", [True, False], ids=["ours", "the original"])
def test_a_picture_goes_where_it_was_before(tmp_path: Path, ours: bool) -> None:
    with Cluster(FileStore(tmp_path / "store"), tmp_path) as cluster:
        directory = make_vision_model(tmp_path / "vision", *FAMILIES["qwen2"][:2])
        workers = [cluster.scripted_worker("vision", directory, control=name) for name in ("one", "other")]
        for worker in workers:
            worker.say([{"token_ids": [272]}, {"token_ids": [273], "finish_reason": "length"}])
        frontend = (cluster.frontend if ours else cluster.real_frontend)("vision", arguments=KV)

        def went_to(picture: str) -> int:
            before = [len(worker.requests()) for worker in workers]
            messages = [{"role": "user", "content": [shown(picture), text("What is it?")]}]
            assert chat(frontend.url, "vision", messages=messages, max_tokens=2)[0] == 200
            return [len(worker.requests()) > count for worker, count in zip(workers, before, strict=True)].index(True)

        # equals go to either: as many as it takes until both have some
        first: dict[str, int] = {}
        while min(list(first.values()).count(worker) for worker in (0, 1)) < 3:
            picture = data_url(png(280 + 28 * len(first), 280))
            first[picture] = went_to(picture)
            assert len(first) < 64
        assert {picture: went_to(picture) for picture in reversed(first)} == first


def test_files_that_the_worker_gives_away(tmp_path: Path) -> None:
    with Cluster(FileStore(tmp_path / "store"), tmp_path) as cluster:
        directory = make_vision_model(tmp_path / "vision", *FAMILIES["qwen2"][:2])
        worker = cluster.scripted_worker(
            "vision",
            directory,
            arguments=("--register", json.dumps({"self_host_metadata": True})),
            environment={"DYN_SYSTEM_PORT": str(free_port())},
        )
        worker.say([{"token_ids": [272]}, {"token_ids": [273], "finish_reason": "length"}])
        cache = {"DYN_FE_CACHE_DIR": str(tmp_path / "cache")}
        frontends = cluster.real_frontend("vision"), cluster.frontend("vision", environment=cache)
        for frontend in frontends:
            messages = [{"role": "user", "content": [shown(PICTURE), text("What is it?")]}]
            assert chat(frontend.url, "vision", messages=messages, max_tokens=2)[0] == 200
        theirs, own = (entry["request"] for entry in worker.requests())
        assert own == theirs
        assert "mm_routing_info" in own
