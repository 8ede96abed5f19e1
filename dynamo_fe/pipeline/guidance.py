"""Guided decoding: the one constraint that the worker holds an answer to, from the request and its model's options."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from dynamo_fe.pipeline import structural_tags
from dynamo_fe.pipeline.demands import asks_for_json, must_call, named_function, response_schema
from dynamo_fe.pipeline.kimi_k3_tag import Unwritable
from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.pipeline.structural_tags import TagRequest
from dynamo_fe.pipeline.thinking import reasoning_is_expected, thought_is_open
from dynamo_fe.protocol.card import RuntimeConfig, StructuralTag
from dynamo_fe.protocol.openai import ChatRequest, CompletionRequest

_KIMI_K2: Final = ("kimi_k2",)
_KIMI_K3: Final = ("kimi_k3", "kimi-k3")
_ALWAYS: Final = "always"
# who lets an open thought end before the constraint binds: the grammar (as also by default), or the engine
_BY_TAG: Final = "structural_tag"
_BY_ENGINE: Final = "backend"


class Guidance(msgspec.Struct, frozen=True):
    """`decoding`: the worker's `guided_decoding`; `require_reasoning`: a thought may stand before what it binds."""

    decoding: dict[str, Any] | None = None
    require_reasoning: bool = False


_FREE: Final = Guidance()


def completion_guidance(request: CompletionRequest) -> dict[str, Any] | None:
    """The client's own constraint, if it has one."""
    return _own_constraint(request, request.guided_json)


def chat_guidance(
    request: ChatRequest, config: RuntimeConfig, variables: dict[str, Any], prompt: str | None
) -> Guidance:
    """What holds the answer to its form. `variables`: the template's, with the thinking switches; `prompt`: its text.

    Raises Refusal when a call is demanded beside a constraint of the client's own, and for functions whose definitions
    contradict each other.
    """
    if request.everyday:
        return _FREE
    forced = must_call(request)
    own = client_constraint(request)
    if forced and _has_guided_field(request):
        raise Refusal.invalid_argument(param="tool_choice")
    expects = (
        (forced or asks_for_json(request))
        and config.reasoning_parser is not None
        and reasoning_is_expected(config.reasoning_parser, variables)
    )
    tag = _tag_guidance(request, config, own, expects, prompt)
    if tag is not None:
        return tag
    if not forced:
        return Guidance(own, expects)
    if config.tool_call_parser in _KIMI_K3:
        # the prompt asks for the call; generic JSON is not how the family calls
        return Guidance(None, expects)
    schema = _called_schema(request)
    if named_function(request) is not None and _is_empty(schema):
        # engines make nothing of a schema without any property
        return Guidance({"regex": r"\{\}"}, expects)
    return Guidance({"json": schema}, expects)


def client_constraint(request: ChatRequest) -> dict[str, Any] | None:
    """The format that the client itself holds the answer to."""
    schema = request.guided_json
    return _own_constraint(request, response_schema(request.response_format) if schema is None else schema)


def _tag_guidance(
    request: ChatRequest, config: RuntimeConfig, own: dict[str, Any] | None, expects: bool, prompt: str | None
) -> Guidance | None:
    """The guidance by a structural tag; None where there is none to be set."""
    parser, options = config.tool_call_parser, config.tag_options()
    if not request.tools or parser is None or not structural_tags.supports(parser):
        return None
    if request.tool_choice == "none":
        shown = options is not None and not config.exclude_tools_when_tool_choice_none and own is None
        ban = structural_tags.no_calls_tag(parser) if shown else None
        return None if ban is None else Guidance({"structural_tag": ban})
    forced = must_call(request)
    if options is None:
        if not forced or (parser not in _KIMI_K2 and not (parser in _KIMI_K3 and named_function(request))):
            return None
        options = StructuralTag()
    elif not forced and not _is_wanted(request, options):
        return None
    answer_schema = None
    if own is not None and not forced:
        either = options.allow_tool_calls_with_structured_output and structural_tags.allows_answers(parser)
        if not either or not asks_for_json(request) or request.guided_json is not None:
            return None
        answer_schema = own["json"]
    is_open = thought_is_open(config.reasoning_parser, prompt)
    by_engine = options.reasoning_boundary == _BY_ENGINE
    tag = _calls_tag(
        parser,
        TagRequest(
            tools=_callable_functions(request),
            must_call=forced,
            named=named_function(request) is not None,
            parallel=request.parallel_tool_calls is not False,
            schema_mode=options.schema,
            any_order=options.tool_arguments_any_order,
            in_thought=is_open and not by_engine,
            answer_schema=answer_schema,
        ),
    )
    if by_engine:
        expects = expects or is_open
    elif is_open and options.reasoning_boundary == _BY_TAG and structural_tags.writes_thought(parser, forced):
        expects = False
    return Guidance(tag, expects)


def _calls_tag(parser: str, request: TagRequest) -> dict[str, Any] | None:
    """None for a schema that no grammar can follow: the engine is left free, as with the original."""
    try:
        return {"structural_tag": structural_tags.calls_tag(parser, request)}
    except Unwritable:
        return None


def _is_wanted(request: ChatRequest, options: StructuralTag) -> bool:
    """Whether calls that are free to come are held to a grammar."""
    strict = any(tool["function"].get("strict") for tool in request.tools or ())
    return options.scope == _ALWAYS or strict or request.parallel_tool_calls is False


def _callable_functions(request: ChatRequest) -> list[dict[str, Any]]:
    functions = [tool["function"] for tool in request.tools or ()]
    name = named_function(request)
    return functions if name is None else [next(function for function in functions if function["name"] == name)]


def _called_schema(request: ChatRequest) -> Any:
    """What the answer has to be when it has to be a call: the arguments of the named function, or a list of calls."""
    functions = _callable_functions(request)
    if named_function(request) is not None:
        return _parameters(functions[0])
    definitions: dict[str, Any] = {}
    calls = []
    for function in functions:
        parameters = _parameters(function)
        if isinstance(parameters.get("$defs"), dict):
            for name, definition in parameters["$defs"].items():
                if definitions.setdefault(name, definition) != definition:
                    text = f"The functions define `$defs/{name}` in different ways"
                    raise Refusal.invalid_argument(text, param="tools")
            parameters = {key: value for key, value in parameters.items() if key != "$defs"}
        name_schema = {"type": "string", "enum": [function["name"]]}
        properties = {"name": name_schema, "parameters": parameters}
        calls.append({"properties": properties, "required": ["name", "parameters"]})
    schema: dict[str, Any] = {"type": "array", "minItems": 1, "items": {"type": "object", "anyOf": calls}}
    if request.parallel_tool_calls is False:
        schema["maxItems"] = 1
    return schema | {"$defs": definitions} if definitions else schema


def _is_empty(schema: dict[str, Any]) -> bool:
    """Whether nothing but an empty object is allowed, and said in the plainest way."""
    plain = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    said = {key: value for key, value in schema.items() if key != "description"}
    return {"type", "additionalProperties"} <= said.keys() and said.items() <= plain.items()


def _parameters(function: dict[str, Any]) -> dict[str, Any]:
    parameters: dict[str, Any] | None = function.get("parameters")
    return {"type": "object", "properties": {}} if parameters is None else parameters


def _has_guided_field(request: ChatRequest) -> bool:
    fields = (request.guided_json, request.guided_regex, request.guided_choice, request.guided_grammar)
    return any(value is not None for value in fields)


def _own_constraint(request: ChatRequest | CompletionRequest, schema: Any) -> dict[str, Any] | None:
    constraint = {
        "json": schema,
        "regex": request.guided_regex,
        "choice": request.guided_choice,
        "grammar": request.guided_grammar,
    }
    found = {key: value for key, value in constraint.items() if value is not None}
    if not found or found == {"choice": []}:
        return None
    if request.guided_decoding_backend is not None:
        found["backend"] = request.guided_decoding_backend
    if request.guided_whitespace_pattern is not None:
        found["whitespace_pattern"] = request.guided_whitespace_pattern
    return found
