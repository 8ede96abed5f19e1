"""The Jinja environment that Hugging Face chat templates are written for, with bounds on what a rendering may cost.

Reference: ``apply_chat_template`` of the transformers library: sandbox without mutation, ``trim_blocks``,
``lstrip_blocks``, loop controls, the ``generation`` tag, ``tojson`` that escapes no HTML and keeps the keys' order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from time import monotonic
from typing import Any, Final, NoReturn

from jinja2 import TemplateError as JinjaError
from jinja2 import nodes
from jinja2.environment import Template
from jinja2.ext import Extension
from jinja2.ext import loopcontrols as LoopControls
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from dynamo_fe.models.errors import TemplateBoundError, TemplateError

MOST_OUTPUT_CHARS: Final = 64 * 1024 * 1024
MOST_RENDER_SECS: Final = 2.0
_STEPS_A_CLOCK_LOOK: Final = 1024
_LARGEST_REPEAT: Final = 1 << 20
_LARGEST_EXPONENT: Final = 4096
# the context variable that counts steps; not a name a template can have meant
_STEP: Final = "__render_step__"


class GenerationTag(Extension):
    """``{% generation %}…{% endgeneration %}`` marks what the model said, for training; here it shows its body."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """Compiles chat templates; a loop or macro body starts with a step that the rendering's bound counts."""

    intercepted_binops = frozenset(("*", "**"))

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, LoopControls])
        self.filters["tojson"] = _to_json
        self.filters["fromjson"] = json.loads
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = _strftime_now

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for node in tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock)):
            assert isinstance(node, (nodes.For, nodes.Macro, nodes.CallBlock))
            step = nodes.Call(nodes.Name(_STEP, "load"), [], [], None, None)
            node.body.insert(0, nodes.ExprStmt(step, lineno=node.lineno))
        return tree

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" and isinstance(right, int) and abs(right) > _LARGEST_EXPONENT:
            raise TemplateBoundError("the chat template computes too large a power")
        if operator == "*":
            for sequence, count in ((left, right), (right, left)):
                if isinstance(sequence, (str, list, tuple)) and isinstance(count, int):
                    if len(sequence) * count > _LARGEST_REPEAT:
                        raise TemplateBoundError("the chat template repeats a value too often")
        return super().call_binop(context, operator, left, right)


def render(template: Template, variables: Mapping[str, Any]) -> str:
    """The text of a template.

    Bounded are the output (characters), the time as seen between the steps of loops and macros (seconds), repetition by
    ``*``, powers by ``**`` and, by Jinja's sandbox, ``range``. Not bounded is what one filter or one concatenation
    builds in memory before it is printed: a template is as trusted as the model it comes with.

    Raises:
        TemplateBoundError: the template passed a bound.
        TemplateError: the template refused or failed.
    """
    # merged here and handed over as shared: left to Jinja, the globals cost 25 µs a rendering
    names = {**template.environment.globals, **variables, _STEP: _step_counter()}
    context = template.new_context(names, shared=True)
    try:
        return "".join(_bounded(template.root_render_func(context)))
    except TemplateError:
        raise
    except RecursionError as failure:
        raise TemplateBoundError("the chat template calls itself without end") from failure
    except JinjaError as failure:
        raise TemplateError(failure.message or type(failure).__name__) from failure
    except Exception as failure:  # whatever a template's expressions raise: it is the template that failed
        raise TemplateError(str(failure) or type(failure).__name__) from failure


def _bounded(pieces: Iterator[str]) -> Iterator[str]:
    chars = 0
    for piece in pieces:
        chars += len(piece)
        if chars > MOST_OUTPUT_CHARS:
            raise TemplateBoundError("the chat template's output is too long")
        yield piece


def _step_counter() -> Callable[[], str]:
    deadline_secs = monotonic() + MOST_RENDER_SECS
    steps = 0

    def step() -> str:
        nonlocal steps
        steps += 1
        if steps % _STEPS_A_CLOCK_LOOK == 0 and monotonic() > deadline_secs:
            raise TemplateBoundError("the chat template took too long")
        return ""

    return step


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(str(message))


def _strftime_now(pattern: str) -> str:
    return datetime.now().astimezone().strftime(pattern)
