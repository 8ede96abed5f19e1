"""The names of parsers: all of the reference's, those that vLLM and SGLang give the same formats, and unknown ones."""

from __future__ import annotations

import logging

import pytest

from dynamo_fe.parsers.grammar import grammar
from dynamo_fe.parsers.machine import Machine
from dynamo_fe.parsers.plan import ParsePlan
from dynamo_fe.parsers.registry import knows_tool_parser, reasoning_format_name, tool_format_name
from dynamo_fe.pipeline.parse_plan import parse_plan, unknown_parser
from dynamo_fe.protocol.card import ModelCard, RuntimeConfig
from dynamo_fe.protocol.openai import ChatRequest
from tests.support.records import WorkerRecords
from tests.unit.test_registry_serving import MakeBench, make_bench  # noqa: F401

REFERENCE_TOOLS = """
    hermes qwen25 nemotron_deci default jamba phi4 mistral llama3_json pythonic deepseek_v3 deepseek_v3_1 deepseek_v3_2
    deepseek_v4 deepseek-v4 deepseekv4 deepseek_v41 qwen3_coder qwen3 nemotron_nano minimax_m2 minimax_m3 minimax-m3
    minimax_m3_nom minimax-m3-nom glm47 glm45 kimi_k2 kimi_k25 kimi_k3 kimi-k3 gemma4 gemma-4 harmony inkling
    muse_glimmer muse
""".split()
OTHER_TOOLS = """
    granite granite4 granite_20b_fc internlm xlam hunyuan_a13b hy_v3 ernie45 longcat olmo3 seed_oss step3 step3p5 mimo
    lfm2 llama4_pythonic functiongemma apertus cohere_command cohere_command3 cohere_command4 gigachat3 poolside_v1
    deepseek_v31 hunyuan phi4_mini_json openai qwen3_xml llama4_json qwen gpt-oss deepseekv3 deepseekv31 deepseekv32
    glm interns1
""".split()
REASONING = {
    "deepseek_r1": """deepseek_r1 deepseek_v3 deepseek_v3_1 deepseek_v3_2 nemotron_nano nemotron3 nemotron_v3
        deepseek-r1 qwen3-thinking""",
    "basic": """qwen3 qwen3_coder glm45 glm47 nemotron_deci deepseek_v4 deepseek-v4 deepseekv4 deepseek_v41 kimi_k25
        kimi_k2 another""",
    "kimi_k3": "kimi-k3",
    "minimax_m3": "minimax-m3",
    "gemma4": "gemma-4",
    "muse_glimmer": "muse",
    "step3": "step3",
    "kimi": "kimi",
    "mistral": "mistral",
    "minimax_m2": "minimax_m2 minimax",
    "minimax_append_think": "minimax_append_think minimax-append-think minimax_m2_append_think",
    "granite": "granite",
    "gpt_oss": "gpt_oss",
    "inkling": "inkling",
}


@pytest.mark.parametrize("name", [*REFERENCE_TOOLS, *OTHER_TOOLS])
def test_every_tool_parser_is_known_and_goes_with_every_reasoning_parser(name: str) -> None:
    assert knows_tool_parser(name)
    for reasoning in (None, *REASONING):
        assert grammar(name, reasoning).calls
        Machine(ParsePlan(tool_parser=name, reasoning_parser=reasoning))


def test_the_reference_has_36_names() -> None:
    assert len(REFERENCE_TOOLS) == len(set(REFERENCE_TOOLS)) == 36


@pytest.mark.parametrize(("format_name", "names"), REASONING.items())
def test_reasoning_parsers_by_all_their_names(format_name: str, names: str) -> None:
    assert {reasoning_format_name(name) for name in names.split()} == {format_name}


def test_an_unknown_tool_parser_has_no_format() -> None:
    assert not knows_tool_parser("hermess")
    with pytest.raises(KeyError):
        tool_format_name("hermess")


def test_answers_of_a_model_with_an_unknown_tool_parser_stay_text() -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    request = ChatRequest(model="m", messages=[], tools=[tool])
    assert parse_plan(request, RuntimeConfig(tool_call_parser="hermess"), "") is None
    plan = parse_plan(request, RuntimeConfig(tool_call_parser="hermess", reasoning_parser="basic"), "")
    assert plan is not None and plan.tool_parser is None


def test_the_remark_names_the_parser() -> None:
    def remark(name: str | None) -> str | None:
        return unknown_parser(ModelCard(display_name="m", runtime_config=RuntimeConfig(tool_call_parser=name)))

    assert remark(None) is remark("hermes") is None
    assert remark("hermess") == "tool call parser `hermess` is unknown, calls stay text"


async def test_an_unknown_tool_parser_is_told_when_its_model_appears_and_until_it_goes(
    make_bench: MakeBench,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = make_bench(remark=unknown_parser)
    workers = [WorkerRecords(number, runtime_config={"tool_call_parser": "hermess"}) for number in (1, 2)]
    with caplog.at_level(logging.WARNING):
        bench.register(*workers)
        await bench.until(lambda: bench.names() == {"tiny"})
    text = "model tiny: tool call parser `hermess` is unknown, calls stay text"
    assert bench.registry.reasons() == [text]
    assert [record.getMessage() for record in caplog.records].count(text) == 1
    for worker in workers:
        bench.store.delete(worker.card_key)
    await bench.until(lambda: text not in bench.registry.reasons())
