"""What ``type`` is in events, items and parts that have no schema here (D-API-16).

At run time it is any text. For type checkers it is one of those that are known by name: a union whose members all have
literal types is narrowed by ``==``, and a member with ``type: str`` would be left in every branch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    ErrorName: TypeAlias = Literal["error", "response.error"]
    EventName: TypeAlias = Literal[
        "keepalive", "ping", "rate_limits", "codex.rate_limits", "response.heartbeat", "response.metadata", ""
    ]
    LifecycleName: TypeAlias = Literal["response.done", "response.cancelled", ""]
    ItemName: TypeAlias = Literal[
        "configuration_update",
        "compaction_trigger",
        "item_reference",
        "agent_message",
        "multi_agent_call",
        "multi_agent_call_output",
        "",
    ]
    PartName: TypeAlias = Literal[
        "input_text",
        "input_image",
        "input_file",
        "summary_text",
        "text",
        "encrypted_content",
        "computer_screenshot",
        "",
    ]
else:
    ErrorName = EventName = LifecycleName = ItemName = PartName = str
