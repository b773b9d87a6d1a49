"""Autobahn's test suite, as it is on PyPI, translated from Python 2 to Python 3, in place.

``autobahntestsuite`` 25.10 runs on Python 2 only, which neither Debian nor PyPI has any more. This program runs in a
virtual environment of its own, in which the suite and the library that it is written for are installed (``kit/wstest``
does all of that), and rewrites the suite's files once. It changes how they are written, not what they test:

- lib2to3 translates the syntax and the names.
- A string of Python 2 becomes a ``str`` of the characters 0 to 255, one for each byte: so every literal, slice and
  comparison in the cases stays as it is. Where the cases meet the library, which has ``bytes``, the module ``_octets``
  converts.
- :data:`CHANGES` lists what is replaced by hand. Each must be found, or the translation stops.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

VERSION: Final = "25.10.1"
"""Of the suite: the changes below are for it."""
MARK: Final = "_octets.py"
"""Written last: a suite that has it is translated."""
LEFT_OUT: Final = re.compile(r"wamp|wsperf|testdb|testrun|interfaces|serializer|util|report\.py")
"""What the modes ``fuzzingclient``, ``fuzzingserver``, ``testeeserver`` and ``testeeclient`` do without."""
FIXERS: Final = (
    *(
        "dict",
        "except",
        "exec",
        "filter",
        "has_key",
        "idioms",
        "import",
        "imports",
        "map",
        "ne",
        "numliterals",
        "print",
    ),
    *("raise", "raw_input", "reduce", "renames", "repr", "tuple_params", "types", "unicode", "xrange", "zip"),
)

OCTETS: Final = '''"""Where strings of octets (``str``, one character for each) meet bytes."""

import binascii as _binascii
from autobahn.websocket.utf8validator import Utf8Validator as _Utf8Validator


def octets(value):
    """Strings to bytes, in lists too."""
    if isinstance(value, str):
        return value.encode("latin-1")
    return [octets(one) for one in value] if isinstance(value, list) else value


def string(value):
    """Bytes to strings, in lists too."""
    if isinstance(value, (bytes, bytearray)):
        return value.decode("latin-1")
    return [string(one) for one in value] if isinstance(value, list) else value


class binascii:
    @staticmethod
    def b2a_hex(value):
        return string(_binascii.b2a_hex(octets(value)))

    hexlify = b2a_hex


class Utf8Validator(_Utf8Validator):
    def validate(self, value):
        return super().validate(octets(value))


def _converting(method, convert):
    def converted(self, *args, **kwargs):
        return method(self, *map(convert, args), **{name: convert(value) for name, value in kwargs.items()})

    return converted


def _repeating(method):
    """The library divides by ``/`` here, and a number of repetitions is no float."""

    def send_frame(self, *args, payload=b"", payload_len=None, **kwargs):
        if payload_len is not None:
            payload = (payload * (payload_len // len(payload) + 1))[:payload_len]
        return method(self, *args, payload=payload, **kwargs)

    return send_frame


def meet_the_library(received, *protocols):
    """``received`` gets strings from the library; ``protocols`` give it bytes."""
    for name in ("onMessage", "onPong", "logRxOctets", "logTxOctets", "logRxFrame", "logTxFrame"):
        setattr(received, name, _converting(getattr(received, name), string))
    sending = "sendFrame sendMessage sendMessageFrame sendMessageFrameData sendPing sendPong sendCloseFrame"
    for protocol in protocols:
        for name in sending.split():
            setattr(protocol, name, _converting(getattr(protocol, name), octets))
        protocol.sendFrame = _repeating(protocol.sendFrame)
'''

CHANGES: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    # Equal values. Their pickles are equal only if the same strings are the same objects.
    "case/case.py": (("return pickle.dumps(obj1) == pickle.dumps(obj2)", "return obj1 == obj2"),),
    # The suite itself leaves this case out, and it needs an old zope.interface.
    "case/__init__.py": (("from .case9_9_1 import *\n", ""),),
    # The division of integers.
    "case/case10_1_1.py": (("len(self.payload) / self.p", "len(self.payload) // self.p"),),
    # These cases are new-style classes, and handle bytes as bytes.
    "case/case6_x_x.py": (
        ("from autobahn.websocket.utf8validator import", "from .._octets import"),
        ("(object, Case, )", "(Case, )"),
    ),
    "case/case7_7_X.py": (("(object, Case, )", "(Case, )"),),
    "case/case7_9_X.py": (("(object, Case, )", "(Case, )"),),
    "case/case9_7_X.py": (("(object, Case, )", "(Case, )"),),
    "case/case12_x_x.py": (
        ("(object, Case, )", "(Case, )"),
        ("   m = hashlib.sha1()\n   m.update(msg)\n   received_hash", "   msg = octets(msg)\n\\g<0>"),
        ("from autobahn.websocket.compress import *", "\\g<0>\nfrom .._octets import octets"),
    ),
    "fuzzing.py": (
        ("return dd.decode\\('utf8'", "return octets(dd).decode('utf8'"),
        # No pages of HTML: results are read from the JSON.
        ("produceHtml = True", "produceHtml = False"),
        (
            r"from \.report import (?:.*\\\n)+.*",
            "from ._octets import binascii, meet_the_library, octets, string",
        ),
        ("binascii, time, textwrap", "time, textwrap"),
        ("json.dumps(case, ", "json.dumps(case, default = string, "),
        (
            "\ndef startClient",
            "\nmeet_the_library(FuzzingProtocol, FuzzingServerProtocol, FuzzingClientProtocol)\n\\g<0>",
        ),
    ),
    "wstest.py": (("from \\. import serializer\n", ""),),
    "__init__.py": (("from \\. import report\n", ""),),
}


def translate(folder: Path) -> int:
    """Rewrite the suite's files in ``folder``; return how many."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lib2to3.refactor import RefactoringTool
    tool = RefactoringTool([f"lib2to3.fixes.fix_{name}" for name in FIXERS])
    texts: dict[Path, str] = {}
    for path in sorted(folder.glob("*.py")) + sorted(folder.glob("case/*.py")):
        name = path.relative_to(folder).as_posix()
        if LEFT_OUT.search(name):
            continue
        # Latin-1, in which each byte is a character, whatever the file says of itself.
        source = path.read_bytes().decode("latin-1").replace("\r\n", "\n")
        text = str(tool.refactor_string(re.sub(r"^# coding=.*\n", "", source) + "\n", str(path)))
        for old, new in CHANGES.get(name, ()):
            pattern = old if "\\" in old else re.escape(old)
            text, found = re.subn(pattern, new, text)
            if not found:
                raise SystemExit(f"{path}: there is no {old!r} to replace")
        if name.startswith("case/"):
            text = re.sub(r"^import binascii$", "from .._octets import binascii", text, flags=re.MULTILINE)
        texts[path] = text
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    (folder / MARK).write_text(OCTETS, encoding="utf-8")
    return len(texts)


def main() -> None:
    spec = find_spec("autobahntestsuite")
    if spec is None or spec.origin is None:
        raise SystemExit("autobahntestsuite is not installed here")
    if version("autobahntestsuite") != VERSION:
        raise SystemExit(f"this translates autobahntestsuite {VERSION}, not {version('autobahntestsuite')}")
    folder = Path(spec.origin).parent
    if (folder / MARK).exists():
        print("autobahntestsuite is translated already")
    else:
        print(f"autobahntestsuite: {translate(folder)} files translated")


if __name__ == "__main__":
    sys.exit(main())
