"""Chat templates: sources, kinds, errors, bounds. What they render is in conformance/test_templates.py."""

from __future__ import annotations

import contextlib
import gc
import time
from datetime import datetime
from typing import Any

import pytest

from dynamo_fe.models import template_engine
from dynamo_fe.models.errors import CardError, TemplateError
from dynamo_fe.models.template import ChatTemplate, named_templates, special_tokens

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "hello"}]


def rendered(source: str, messages: list[dict[str, Any]] = HELLO, **variables: Any) -> str:
    return ChatTemplate({"default": source}, {}).render(messages, None, True, variables)


def refusal(source: str) -> str:
    with pytest.raises(TemplateError) as caught:
        rendered(source)
    return str(caught.value)


class TestSources:
    def test_one_text(self) -> None:
        assert named_templates("x") == {"default": "x"}

    def test_none(self) -> None:
        assert named_templates(None) == {}

    def test_tool_use_is_taken_with_tools(self) -> None:
        listed = [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T{{ tools|length }}"}]
        template = ChatTemplate(named_templates(listed), {})
        assert template.render(HELLO, None, True, {}) == "D"
        assert template.render(HELLO, [], True, {}) == "D"
        assert template.render(HELLO, [{}], True, {}) == "T1"

    @pytest.mark.parametrize("wrong", [3, ["x"], [{"name": "default"}], [{"name": 1, "template": "x"}]])
    def test_anything_else_is_a_fault_of_the_card(self, wrong: Any) -> None:
        with pytest.raises(CardError):
            named_templates(wrong)


def test_special_tokens_are_texts_or_objects_and_absent_ones_print_nothing() -> None:
    config = {
        "bos_token": "<s>",
        "eos_token": {"content": "</s>", "lstrip": False},
        "unk_token": None,
        "pad_token": "p",
    }
    tokens = special_tokens(config)
    assert tokens == {"bos_token": "<s>", "eos_token": "</s>"}
    template = ChatTemplate({"default": "{{ bos_token }}{{ eos_token }}[{{ unk_token }}{{ pad_token }}]"}, tokens)
    assert template.render(HELLO, None, True, {}) == "<s></s>[]"


def test_variables_cannot_take_the_place_of_the_conversation() -> None:
    source = "{{ messages[0].content }}{{ tools }}{{ add_generation_prompt }}{{ other }}"
    template = ChatTemplate({"default": source}, {})
    variables = {"messages": [], "tools": 1, "add_generation_prompt": True, "other": "o"}
    assert template.render(HELLO, None, False, variables) == "helloNoneFalseo"


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "string"),
        ("{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}", "openai"),
        (
            "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
            "{% for p in m.content %}{{ p.text }}{% endfor %}{% endif %}{% endfor %}",
            "string",
        ),
        ("{{ raise_exception('never') }}", "string"),
        ("{% if", "string"),
    ],
)
def test_content_kind_is_found_by_probing(source: str, kind: str) -> None:
    assert ChatTemplate({"default": source}, {}).content_kind == kind


def test_what_a_template_reads_of_messages() -> None:
    plain = ChatTemplate({"default": "{{ m.content }}"}, {})
    reader = ChatTemplate({"default": "{{ m['reasoning_content'] }}{% if c.arguments is string %}{% endif %}"}, {})
    assert (plain.mentions_reasoning, plain.keeps_argument_strings) == (False, False)
    assert (reader.mentions_reasoning, reader.keeps_argument_strings) == (True, True)
    subscript = ChatTemplate({"default": "{{ 'x' if tc['arguments'] is not string }}"}, {})
    assert subscript.keeps_argument_strings


class TestRefusals:
    def test_the_templates_own_words(self) -> None:
        assert refusal("{{ raise_exception('roles must alternate') }}") == "roles must alternate"

    def test_a_failing_expression(self) -> None:
        assert "unsupported operand" in refusal("{{ 1 + [] }}")
        assert "has no attribute 'a'" in refusal("{{ messages[0].a.b }}")

    def test_a_template_that_does_not_compile_refuses_every_conversation(self) -> None:
        template = ChatTemplate({"default": "{{ x | nosuchfilter }}"}, {})
        assert "nosuchfilter" in template.fault
        with pytest.raises(TemplateError, match="nosuchfilter"):
            template.render(HELLO, None, True, {})

    def test_messages_are_not_changed(self) -> None:
        assert "unsafe" in refusal("{{ messages.append(1) }}")
        assert "unsafe" in refusal("{{ messages[0].update({'a': 1}) }}")

    def test_the_process_is_out_of_reach(self) -> None:
        assert "unsafe" in refusal("{{ ''.__class__.__mro__ }}")


class TestBounds:
    def test_a_rendering_without_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(template_engine, "MOST_RENDER_SECS", 0.1)
        loop = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
        began = time.monotonic()
        assert refusal(loop) == "the chat template took too long"
        assert time.monotonic() - began < 10

    def test_a_macro_that_calls_itself(self) -> None:
        assert "without end" in refusal("{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}")

    def test_a_macro_that_branches_without_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(template_engine, "MOST_RENDER_SECS", 0.1)
        source = "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}"
        assert refusal(source) == "the chat template took too long"

    @pytest.mark.parametrize("twice", ["n.s + n.s", "n.s ~ n.s", "(n.s, n.s) | join + ''", "[n.s ~ n.s] | first"])
    def test_a_value_that_doubles(self, twice: str) -> None:
        source = "{% set n = namespace(s='x') %}{% for i in range(60) %}{% set n.s = " + twice + " %}{% endfor %}"
        assert "too long" in refusal(source)

    def test_sums_are_what_they_were(self) -> None:
        source = "{% set a = 'x' + 'y' ~ 1 ~ none %}{{ a + '!' + ('z' ~ 2) }}{{ 1 + 2.5 }}{{ ([1] + [2]) | length }}"
        assert rendered(source) == "xy1None!z23.52"

    def test_a_template_that_passed_a_bound_is_known_as_slow(self) -> None:
        template = ChatTemplate({"default": "{% for i in range(messages[0].n) %}{{ 'x' * i * i }}{% endfor %}"}, {})
        assert template.render([{"n": 2}], None, True, {}) == "x" and not template.is_slow
        with pytest.raises(TemplateError):
            template.render([{"n": 9999}], None, True, {})
        assert template.is_slow

    def test_output(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(template_engine, "MOST_OUTPUT_CHARS", 1000)
        assert rendered("{% for i in range(10) %}{{ 'x' * 100 }}{% endfor %}") == "x" * 1000
        assert "too long" in refusal("{% for i in range(11) %}{{ 'x' * 100 }}{% endfor %}")

    @pytest.mark.parametrize("source", ["{{ 'x' * 99999999 }}", "{{ 99999999 * [1] }}", "{{ 9 ** 99999999 }}"])
    def test_repetition(self, source: str) -> None:
        assert "too" in refusal(source)

    def test_ordinary_arithmetic_is_untouched(self) -> None:
        assert rendered("{{ '=' * 3 }}{{ 2 ** 10 }}{{ 3 * 4 }}{{ 'a' * -1 }}") == "===102412"


def test_the_generation_tag_shows_its_body_also_in_loops() -> None:
    source = (
        "{% for m in [0] %}{% generation %}{% for i in [1, 2] %}{{ i }}{% endfor %}{% endgeneration %}!{% endfor %}"
    )
    assert rendered(source) == "12!"


def test_loop_controls() -> None:
    leave = "{% if i == 1 %}{% continue %}{% endif %}{% if i > 3 %}{% break %}{% endif %}"
    assert rendered("{% for i in range(9) %}" + leave + "{{ i }}{% endfor %}") == "023"


def test_block_lines_leave_no_trace() -> None:
    assert rendered("{% if true %}\n  {% if true %}\na\n  {% endif %}\n{% endif %}\nb") == "a\nb"


def test_the_clock_is_the_local_one() -> None:
    assert rendered("{{ strftime_now('%Y') }}") in {str(datetime.now().year), str(datetime.now().year - 1)}


def test_tojson_keeps_order_and_escapes_no_html() -> None:
    value = {"b": "<é'&>", "a": [1.0, None, True]}
    assert rendered("{{ v | tojson }}", v=value) == '{"b": "<é\'&>", "a": [1.0, null, true]}'
    assert rendered("{{ v | tojson(sort_keys=True, separators=(',', ':'), ensure_ascii=True) }}", v=value) == (
        '{"a":[1.0,null,true],"b":"<\\u00e9\'&>"}'
    )


@pytest.mark.parametrize("last", ["{{ of(messages[0]['content']) }}", "{{ raise_exception(of(messages[0])) }}"])
def test_macros_leave_no_cycle_behind(last: str) -> None:
    """It would keep the messages until the garbage collector comes, which is seldom."""
    template = ChatTemplate({"default": "{% macro of(text) %}{{ text }}{% endmacro %}" + last}, {})

    def render() -> None:
        with contextlib.suppress(TemplateError):
            template.render([{"role": "user", "content": "hi"}], None, True, {})

    render()
    gc.collect()
    gc.disable()
    try:
        render()
        assert gc.collect() == 0
    finally:
        gc.enable()
