"""The Jinja environment that Hugging Face chat templates are written for, with bounds on what a rendering may cost.

Reference: ``apply_chat_template`` of the transformers library: sandbox without mutation, ``trim_blocks``,
``lstrip_blocks``, loop controls, the ``generation`` tag, ``tojson`` that escapes no HTML and keeps the keys' order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from time import monotonic
from typing import Any, Final, NoReturn, TypeVar

from jinja2 import TemplateError as JinjaError
from jinja2 import nodes
from jinja2.environment import Template
from jinja2.ext import Extension
from jinja2.ext import loopcontrols as LoopControls
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from dynamo_fe.models.errors import TemplateBoundError, TemplateError

T = TypeVar("T")

MOST_OUTPUT_CHARS: Final = 64 * 1024 * 1024
MOST_RENDER_SECS: Final = 2.0
_STEPS_A_CLOCK_LOOK: Final = 64
_LARGEST_REPEAT: Final = 1 << 20
_LARGEST_EXPONENT: Final = 4096
# context variables that keep the bounds; not names a template can have meant
_STEP: Final = "__render_step__"
_SUM: Final = "__render_sum__"
_JOIN: Final = "__render_join__"


class GenerationTag(Extension):
    """``{% generation %}…{% endgeneration %}`` marks what the model said, for training; here it shows its body."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _BoundedSums(NodeTransformer):
    """Lets ``+`` and ``~`` be computed by functions that bound them, but for sums that are shown as they are: those are
    bounded as output, and only what is kept can be doubled again and again.
    """

    def visit_Output(self, node: nodes.Output) -> nodes.Output:
        node.nodes = [self._shown(shown) for shown in node.nodes]
        return node

    def _shown(self, node: nodes.Expr) -> nodes.Expr:
        if not isinstance(node, nodes.Add):
            seen = self.visit(node)
            assert isinstance(seen, nodes.Expr)
            return seen
        node.left, node.right = self._shown(node.left), self._shown(node.right)
        return node

    def visit_Add(self, node: nodes.Add) -> nodes.Call:
        return _call(_SUM, [self.visit(node.left), self.visit(node.right)], node.lineno)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Call:
        return _call(_JOIN, [self.visit(part) for part in node.nodes], node.lineno)


def _call(name: str, arguments: list[nodes.Expr], lineno: int) -> nodes.Call:
    return nodes.Call(nodes.Name(name, "load"), arguments, [], None, None, lineno=lineno)


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """Compiles chat templates; a loop or macro body starts with a step that the rendering's bound counts."""

    intercepted_binops = frozenset(("*", "**"))

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, LoopControls])
        self.filters["tojson"] = _to_json
        self.filters["fromjson"] = json.loads
        self.globals[_SUM] = _sum
        self.globals[_JOIN] = _join
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = _strftime_now

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for node in tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock)):
            assert isinstance(node, (nodes.For, nodes.Macro, nodes.CallBlock))
            node.body.insert(0, nodes.ExprStmt(_call(_STEP, [], node.lineno), lineno=node.lineno))
        bounded = _BoundedSums().visit(tree)
        assert isinstance(bounded, nodes.Template)
        return bounded

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
    ``*``, powers by ``**``, what ``+`` and ``~`` put together and, by Jinja's sandbox, ``range``. Not bounded is what
    one filter builds in memory before it is printed: a template is as trusted as the model it comes with.

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
    finally:
        # a macro and its context hold each other, and with them the messages until the garbage collector comes
        context.vars.clear()
        names.clear()


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


def _sum(left: Any, right: Any) -> Any:
    return _sized(left + right)


def _join(*parts: Any) -> str:
    return _sized("".join(map(str, parts)))


def _sized(value: T) -> T:
    if isinstance(value, (str, list, tuple)) and len(value) > MOST_OUTPUT_CHARS:
        raise TemplateBoundError("the chat template puts together too long a value")
    return value


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
