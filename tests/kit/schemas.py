"""JSON Schemas that are shipped beside the specification, and generated from the tables of their readers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

WRITE = "TURNWIRE_WRITE_SCHEMAS"


def check_published(path: Path, schema: dict[str, Any]) -> None:
    """The file has this schema; with ``TURNWIRE_WRITE_SCHEMAS=1`` it is written."""
    text = json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
    if os.environ.get(WRITE):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text, f"set {WRITE}=1 and run this test: it writes {path.name}"
