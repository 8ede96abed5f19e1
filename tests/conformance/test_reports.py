"""Requests restated from public bug reports of this kind of server, against our frontend and real scripted workers."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.models import TINY_MODEL_DIR
from tests.support.peer import ScriptedWorker
from tests.support.processes import ProcessFailed
from tests.support.report_client import send
from tests.support.report_judge import judge
from tests.support.report_tokens import expanded
from tests.support.stores import FileStore

REPORTS = Path(__file__).parent.parent / "fixtures" / "reports"
CASES = {case["id"]: case for case in map(json.loads, (REPORTS / "cases.jsonl").read_text().splitlines())}
TEMPLATES: dict[str, str] = json.loads((REPORTS / "templates.json").read_text())
PARSERS = {
    "toolm": {"tool_call_parser": "hermes", "reasoning_parser": "qwen3"},
    "xmlm": {"tool_call_parser": "qwen3_coder", "reasoning_parser": "deepseek_r1"},
}

MESSAGES = "/v1/messages is not served yet"
RESPONSES, EMBEDDINGS = "/v1/responses is not served yet", "/v1/embeddings is not served yet"
NOT_YET = {
    **dict.fromkeys(("API-01", "API-03", "API-05", "API-07", "API-21"), MESSAGES),
    **dict.fromkeys(("PAR-08", "API-09", "API-11", "API-13"), RESPONSES),
    **dict.fromkeys(("API-15", "API-17"), EMBEDDINGS),
}


class Stage:
    """A frontend and one worker for each model, started when the first case asks for them."""

    def __init__(self, cluster: Cluster, home: Path) -> None:
        self.cluster = cluster
        self._home = home
        self._workers: dict[str, ScriptedWorker] = {}
        self._frontend: Frontend | None = None

    @property
    def frontend(self) -> Frontend:
        if self._frontend is None:
            self._frontend = self.cluster.frontend()
        return self._frontend

    def worker(self, model: str) -> ScriptedWorker:
        if model not in self._workers:
            plain = "".join(letter for letter in model.lower() if letter.isalnum())
            self._workers[model] = self.cluster.scripted_worker(
                name=model,
                model_dir=self._model_dir(model),
                control=plain,
                endpoint=f"dyn://reports.{plain}.generate",
                runtime_config=PARSERS.get(model),
            )
            self.frontend.wait_listed(model)
        return self._workers[model]

    def _model_dir(self, model: str) -> Path:
        if model not in TEMPLATES:
            return TINY_MODEL_DIR
        directory = self._home / model
        shutil.copytree(TINY_MODEL_DIR, directory)
        settings = json.loads((directory / "tokenizer_config.json").read_text())
        del settings["chat_template"]
        (directory / "tokenizer_config.json").write_text(json.dumps(settings))
        (directory / "chat_template.jinja").write_text(TEMPLATES[model])
        return directory


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    home = tmp_path_factory.mktemp("reports")
    with Cluster(FileStore(home / "store"), home) as cluster:
        yield Stage(cluster, home)


@pytest.mark.parametrize("name", [name for name in CASES if name not in NOT_YET])
def test_report(stage: Stage, name: str) -> None:
    case = CASES[name]
    for step in (case, *case.get("then", [])):
        worker = stage.worker(step.get("model", case["model"]))
        if step.get("do") == "stop_worker":
            worker.stop()
        deadline = time.monotonic() + step.get("retry_s", 0)
        while wrong := attempt(stage, worker, step):
            assert time.monotonic() < deadline, f"{case['title']}: {wrong}"
            time.sleep(0.3)


@pytest.mark.parametrize("name", NOT_YET)
def test_not_yet(name: str) -> None:
    assert name in CASES
    pytest.skip(NOT_YET[name])


def attempt(stage: Stage, worker: ScriptedWorker, step: dict[str, Any]) -> list[str]:
    """One try of a step; what was not as expected."""
    says, client, expect = step.get("worker_says"), step.get("client") or {}, step.get("expect", {})
    if says is not None:
        worker.say(says if isinstance(says, dict) else expanded(says))
    before = len(worker.saw())
    port, times = stage.frontend.port, client.get("parallel", 1)
    with concurrent.futures.ThreadPoolExecutor(times) as pool:
        answers = list(pool.map(lambda _: send(port, step["request"], client), range(times)))
    wanted = expect.get("worker") or {}
    wait_secs = wanted.get("cancelled_within_s") or wanted.get("wait_s") or (1.0 if wanted.get("calls") != 0 else 0.0)
    with contextlib.suppress(ProcessFailed):
        if wanted:
            worker.process.wait_until(lambda: any(row.get("end") for row in worker.saw()[before:]), "end", wait_secs)
    rows = worker.saw()[before:]
    saw = [row for row in rows if "request" in row]
    end = next((row for row in rows if row.get("end")), None)
    return [text for answer in answers for text in judge(expect, answer, saw, end)]
