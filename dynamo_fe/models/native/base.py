"""What the renderers of this room have in common."""

from __future__ import annotations

from dynamo_fe.models.renderer import ContentKind


class NativeRenderer:
    """Takes content as parts, arguments decoded, earlier thoughts as they were, and tells of what is demanded."""

    content_kind: ContentKind = "openai"
    media_mark = ""
    mentions_reasoning = True
    keeps_argument_strings = False
    shows_demands = True
    is_slow = False
    fault = ""
