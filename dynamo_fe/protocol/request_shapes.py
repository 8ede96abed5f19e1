"""Inner shapes of chat requests, checked while parsing: messages, response formats, tool choices and the like.

Requests keep these as plain JSON; here is only what Dynamo 1.6.1 refuses. Unknown keys are ignored, as there.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

U32 = Annotated[int, msgspec.Meta(ge=0, le=4294967295)]
Detail = Literal["auto", "low", "high"]
_HYPHENATED: Final = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_UUID: Final = f"^(?:[0-9a-fA-F]{{32}}|(?:urn:uuid:)?{_HYPHENATED}|\\{{{_HYPHENATED}\\}})$(?!\n)"


class TextPart(msgspec.Struct, tag_field="type", tag="text"):
    text: str


class RefusalPart(msgspec.Struct, tag_field="type", tag="refusal"):
    refusal: str


class MediaUrl(msgspec.Struct):
    url: Annotated[str, msgspec.Meta(pattern=r"^$|^[\x00-\x20]*[a-zA-Z][a-zA-Z0-9+.-]*:")]
    detail: Detail | None = None
    uuid: Annotated[str, msgspec.Meta(pattern=_UUID)] | None = None


class ImagePart(msgspec.Struct, tag_field="type", tag="image_url"):
    image_url: MediaUrl | None = None
    uuid: str | None = None


class VideoPart(msgspec.Struct, tag_field="type", tag="video_url"):
    video_url: MediaUrl | None = None
    uuid: str | None = None


class AudioPart(msgspec.Struct, tag_field="type", tag="audio_url"):
    audio_url: MediaUrl | None = None
    uuid: str | None = None


class InputAudio(msgspec.Struct):
    data: str
    format: Literal["wav", "mp3"]


class InputAudioPart(msgspec.Struct, tag_field="type", tag="input_audio"):
    input_audio: InputAudio


class CalledFunction(msgspec.Struct):
    name: str
    arguments: str | dict[str, Any]


class ToolCall(msgspec.Struct):
    id: str
    function: CalledFunction
    type: Literal["function"] = "function"


class SystemMessage(msgspec.Struct, tag_field="role", tag="system"):
    content: str | list[TextPart]
    name: str | None = None


class DeveloperMessage(msgspec.Struct, tag_field="role", tag="developer"):
    content: str | list[TextPart]
    name: str | None = None


class UserMessage(msgspec.Struct, tag_field="role", tag="user"):
    content: str | list[TextPart | ImagePart | VideoPart | AudioPart | InputAudioPart]
    name: str | None = None


class FunctionCall(msgspec.Struct):
    name: str
    arguments: str


class AssistantMessage(msgspec.Struct, tag_field="role", tag="assistant"):
    content: str | list[TextPart | RefusalPart] | None = None
    name: str | None = None
    refusal: str | None = None
    reasoning_content: str | list[str] | None = None
    reasoning: str | list[str] | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: FunctionCall | None = None


class ToolMessage(msgspec.Struct, tag_field="role", tag="tool"):
    content: str | list[TextPart | ImagePart | VideoPart | AudioPart | InputAudioPart]
    tool_call_id: str


class FunctionMessage(msgspec.Struct, tag_field="role", tag="function"):
    name: str
    content: str | None = None


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage


class PlainFormat(msgspec.Struct, tag_field="type", tag="text"):
    pass


class ObjectFormat(msgspec.Struct, tag_field="type", tag="json_object"):
    pass


class NamedSchema(msgspec.Struct):
    name: str
    schema: dict[str, Any]
    strict: bool | None = None
    description: str | None = None


class SchemaFormat(msgspec.Struct, tag_field="type", tag="json_schema"):
    json_schema: NamedSchema


class FunctionName(msgspec.Struct):
    name: str


class ToolFunction(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: Any = None
    strict: bool | None = None


class Tool(msgspec.Struct):
    type: Literal["function"]
    function: ToolFunction


class NamedTool(msgspec.Struct):
    function: FunctionName
    type: Literal["function"]


class Prediction(msgspec.Struct, tag_field="type", tag="content"):
    content: str | list[TextPart]


class Audio(msgspec.Struct):
    voice: str | dict[str, Any]
    format: Literal["wav", "aac", "mp3", "flac", "opus", "pcm16"]


class WebSearch(msgspec.Struct):
    search_context_size: Literal["low", "medium", "high"] | None = None
    user_location: dict[str, Any] | None = None


class OldFunction(msgspec.Struct):
    name: str
    parameters: Any = None
    description: str | None = None


_MESSAGES: Final = list[Message]
# roles whose message is whole with nothing but a text
_SPEAKERS: Final = frozenset(("system", "developer", "user", "assistant"))

SHAPES: Final[dict[str, Any]] = {
    "response_format": PlainFormat | ObjectFormat | SchemaFormat,
    "tools": list[Tool],
    "tool_choice": Literal["none", "auto", "required"] | NamedTool,
    "prediction": Prediction,
    "audio": Audio,
    "web_search_options": WebSearch,
    "function_call": Literal["none", "auto"] | FunctionName,
    "functions": list[OldFunction],
}


def check_shape(field: str, value: Any) -> None:
    """Raises msgspec.ValidationError, its path that of the field, when the value has not the field's shape."""
    try:
        msgspec.convert(value, SHAPES[field])
    except msgspec.ValidationError as error:
        raise _placed(error, field) from error


def check_messages(messages: Any) -> None:
    """The same for `messages`; one that is only a text is seen to be right without the whole table of shapes."""
    if type(messages) is list and all(map(_is_text, messages)):
        return
    try:
        msgspec.convert(messages, _MESSAGES)
        if any("reasoning" in one and "reasoning_content" in one for one in messages):
            raise msgspec.ValidationError("duplicate field `reasoning_content`")
    except msgspec.ValidationError as error:
        raise _placed(error, "messages") from error


def _is_text(message: Any) -> bool:
    if not isinstance(message, dict) or len(message) != 2:
        return False
    role = message.get("role")
    return isinstance(role, str) and role in _SPEAKERS and isinstance(message.get("content"), str)


def _placed(error: msgspec.ValidationError, field: str) -> msgspec.ValidationError:
    text = str(error)
    return msgspec.ValidationError(
        text.replace("`$", f"`$.{field}", 1) if "`$" in text else f"{text} - at `$.{field}`"
    )
