"""Tool calls of real Dynamo workers as clients use them: the streaming helper of `openai` and the tool loop of
`openai-agents`, two turns with parallel calls, for models of several families.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import agents
import openai
import pytest
from openai.lib.streaming.chat import FunctionToolCallArgumentsDoneEvent

from tests.support.frontends import Frontend, our_frontend
from tests.support.load import client
from tests.support.models import TINY_MODEL_DIR
from tests.support.peer import ScriptedWorker
from tests.support.report_tokens import decode, expanded
from tests.support.stores import FileStore

WEATHER = {"city": 'Tromsø "N"\n</tool_call>', "days": 2}
CLOCK = {"zone": "UTC+1"}
THOUGHT, SAID, ANSWER = "Two things to find out.", "One moment.", "Two days of rain; it is noon."


def named_json(name: str, arguments: dict[str, Any]) -> str:
    return json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)


def _xml(name: str, arguments: dict[str, Any]) -> str:
    values = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in arguments.items())
    return f"<tool_call>\n<function={name}>\n{values}</function>\n</tool_call>"


def _glm(name: str, arguments: dict[str, Any]) -> str:
    values = "".join(f"<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>\n" for key, value in arguments.items())
    return f"<tool_call>{name}\n{values}</tool_call>"


def _harmony(name: str, arguments: dict[str, Any]) -> str:
    header = f"<|start|>assistant<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>"
    return header + json.dumps(arguments, ensure_ascii=False) + "<|call|>"


def _dsml(name: str, arguments: dict[str, Any]) -> str:
    values = "".join(
        f'<｜DSML｜parameter name="{key}" string="{str(isinstance(value, str)).lower()}">{value}</｜DSML｜parameter>\n'
        for key, value in arguments.items()
    )
    return f'<｜DSML｜invoke name="{name}">\n{values}</｜DSML｜invoke>\n'


CALLS = (("get_weather", WEATHER), ("get_time", CLOCK))


def thinking(calls: str) -> str:
    return f"<think>{THOUGHT}</think>{SAID}{calls}"


# The text of the first turn: a thought, some words, two calls.
FAMILIES: dict[tuple[str, str], str] = {
    ("hermes", "qwen3"): thinking(
        "\n".join(f"<tool_call>\n{named_json(name, arguments)}\n</tool_call>" for name, arguments in CALLS)
    ),
    ("qwen3_coder", "qwen3"): thinking("\n".join(_xml(name, arguments) for name, arguments in CALLS)),
    ("deepseek_v4", "deepseek_v4"): thinking(
        "\n\n<｜DSML｜tool_calls>\n" + "".join(_dsml(*call) for call in CALLS) + "</｜DSML｜tool_calls>"
    ),
    ("glm47", "glm45"): thinking("\n".join(_glm(name, arguments) for name, arguments in CALLS)),
    ("kimi_k2", "kimi_k25"): thinking(
        "<|tool_calls_section_begin|>"
        + "".join(
            f"<|tool_call_begin|>functions.{name}:{at}<|tool_call_argument_begin|>"
            f"{json.dumps(arguments, ensure_ascii=False)}<|tool_call_end|>"
            for at, (name, arguments) in enumerate(CALLS)
        )
        + "<|tool_calls_section_end|>"
    ),
    ("mistral", "basic"): thinking(
        "".join(f"[TOOL_CALLS]{name}[ARGS]{json.dumps(arguments, ensure_ascii=False)}" for name, arguments in CALLS)
    ),
    ("harmony", "gpt_oss"): (
        f"<|channel|>analysis<|message|>{THOUGHT}<|end|>"
        f"<|start|>assistant<|channel|>commentary<|message|>{SAID}<|end|>"
        + "".join(_harmony(name, arguments) for name, arguments in CALLS)
    ),
    ("llama3_json", "basic"): thinking(
        "<|python_tag|>" + "; ".join(named_json(name, arguments) for name, arguments in CALLS)
    ),
}
IDS = [tool for tool, _ in FAMILIES]


@dataclass(frozen=True)
class Stage:
    """Our frontend and a real worker for each family."""

    frontend: Frontend
    workers: dict[str, ScriptedWorker]

    def play(self, family: str, *texts: str, step: int = 5) -> ScriptedWorker:
        """One text for each of the coming requests, so many tokens an item."""
        worker = self.workers[family]
        # <|end|> ends a turn of the tiny model
        spelled = "plain" if family == "harmony" else "text"
        worker.forget()
        worker.say({"scripts": [expanded([{spelled: text, "step": step}, {"end": "stop"}]) for text in texts]})
        return worker


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    home = tmp_path_factory.mktemp("tools")
    store = FileStore(home / "store")
    workers: dict[str, ScriptedWorker] = {}
    frontend: Frontend | None = None
    try:
        for tool, reasoning in FAMILIES:
            config = {"tool_call_parser": tool, "reasoning_parser": reasoning}
            endpoint = f"dyn://tools.{tool.replace('_', '')}.generate"
            workers[tool] = ScriptedWorker(
                store, TINY_MODEL_DIR, home / tool, name=tool, endpoint=endpoint, runtime_config=config
            )
        for worker in workers.values():
            worker.wait_ready()
        frontend = our_frontend(store.environment, log=home / "frontend.log")
        frontend.wait_listed(*workers)
        yield Stage(frontend, workers)
    finally:
        if frontend is not None:
            frontend.stop()
        for worker in workers.values():
            worker.stop()


def strict_tool(name: str, properties: dict[str, str]) -> Any:
    schema = {
        "type": "object",
        "properties": {key: {"type": kind} for key, kind in properties.items()},
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "parameters": schema, "strict": True}}


TOOLS = [strict_tool("get_weather", {"city": "string", "days": "integer"}), strict_tool("get_time", {"zone": "string"})]


@pytest.mark.parametrize("family", IDS)
@pytest.mark.parametrize("step", [1, 7])
async def test_the_streaming_helper_of_openai(stage: Stage, family: str, step: int) -> None:
    stage.play(family, FAMILIES[next(key for key in FAMILIES if key[0] == family)], step=step)
    done: list[tuple[str, Any]] = []
    async with client(stage.frontend.url) as source:
        manager = source.chat.completions.stream(
            model=family, messages=[{"role": "user", "content": "Well?"}], tools=TOOLS
        )
        async with manager as stream:
            async for event in stream:
                if isinstance(event, FunctionToolCallArgumentsDoneEvent):
                    done.append((event.name, event.parsed_arguments))
            completion = await stream.get_final_completion()
    (choice,) = completion.choices
    assert choice.finish_reason == "tool_calls"
    assert (choice.message.content or "").strip() == SAID
    assert choice.message.model_extra is not None and choice.message.model_extra["reasoning_content"] == THOUGHT
    calls = choice.message.tool_calls or []
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == list(CALLS)
    assert [name for name, _ in done] == ["get_weather", "get_time"]
    assert len({call.id for call in calls}) == 2


class Toolbox:
    """The tools of an agent, and what they were asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def tools(self) -> list[Any]:
        @agents.function_tool
        def get_weather(city: str, days: int) -> str:
            """The forecast of a city."""
            self.asked.append(("get_weather", {"city": city, "days": days}))
            return "rain"

        @agents.function_tool
        def get_time(zone: str) -> str:
            """The time of a zone."""
            self.asked.append(("get_time", {"zone": zone}))
            return "noon"

        return [get_weather, get_time]


@pytest.mark.parametrize("family", IDS)
@pytest.mark.parametrize("streamed", [False, True])
async def test_the_tool_loop_of_an_agent(stage: Stage, family: str, streamed: bool) -> None:
    key = next(key for key in FAMILIES if key[0] == family)
    answer = f"<|channel|>final<|message|>{ANSWER}<|return|>" if family == "harmony" else ANSWER
    worker = stage.play(family, FAMILIES[key], answer)
    box = Toolbox()
    async with client(stage.frontend.url) as source:
        model = agents.OpenAIChatCompletionsModel(model=family, openai_client=source)
        agent = agents.Agent(name="helper", model=model, tools=box.tools())
        config = agents.RunConfig(tracing_disabled=True)
        if streamed:
            run = agents.Runner.run_streamed(agent, "Well?", run_config=config, max_turns=4)
            async for _ in run.stream_events():
                pass
            final = run.final_output
        else:
            final = (await agents.Runner.run(agent, "Well?", run_config=config, max_turns=4)).final_output
    assert final == ANSWER
    assert sorted(box.asked, key=lambda asked: asked[0], reverse=True) == list(CALLS)
    await asyncio.to_thread(worker.wait_for, 2)
    first, second = worker.requests()
    assert first["request"]["output_options"]["skip_special_tokens"] is False
    prompt = decode(second["request"]["token_ids"])
    assert prompt.index("rain") < prompt.index("noon")
    assert json.dumps(WEATHER["city"], ensure_ascii=False) in prompt


async def test_parallel_calls_switched_off_leave_the_first(stage: Stage) -> None:
    stage.play("hermes", FAMILIES["hermes", "qwen3"])
    async with client(stage.frontend.url) as source:
        answer = await source.chat.completions.create(
            model="hermes",
            messages=[{"role": "user", "content": "Well?"}],
            tools=TOOLS,
            parallel_tool_calls=False,
        )
    calls: list[openai.types.chat.ChatCompletionMessageToolCallUnion] = answer.choices[0].message.tool_calls or []
    assert [call.function.name for call in calls if call.type == "function"] == ["get_weather"]
