"""Recordings: every input of a session's core in a file, and the replay of it (RECORDING.md).

The modules (each one imports only from those below it)

    =================== =============================================================================================
    ``_proxy_timeline`` what passed through a proxy as a timeline
    ``_replay``         a fresh session gets the recorded inputs, and is held against what the recorded one did
    ``_watch``          writes the timeline of a session that is replayed
    ``_timeline``       the timeline: what happened, as data
    ``_messages``       a recording of a proxy, read
    ``_proxied``        what passes through a proxy, as lines
    ``_proxy_log``      the file of a proxy
    ``_proxy_streams``  what passes through a proxy, taken apart so that it can be scrubbed in place
    ``_pair``           the requests and the answers of one connection over HTTP
    ``_recorder``       a driver that writes down its inputs
    ``_streams``        what arrives, taken apart so that it can be scrubbed in place; what is held until then
    ``_scrub``          texts are replaced by filler
    ``_outputs``        what a driver tells its runtime, as a recording has it
    ``_secrets``        credentials are replaced
    ``_options``        the options of a session as a recording has them
    ``_proxy_options``  the limits of a proxy
    ``_format``         the lines of the file
    =================== =============================================================================================

Where a session is recorded is said by ``record.py``.
"""

from __future__ import annotations

from ._format import Entry, Header, Line, RecordedFile, RecordingError
from ._messages import ProxiedMessage, ProxyRecording
from ._proxied import ProxiedConnection, Upstream, upstream_of
from ._proxy_log import ProxyLog
from ._proxy_options import ProxyOptions
from ._proxy_timeline import json_members, proxy_timeline, timeline_of
from ._recorder import RecordingDriver, recorded_session
from ._replay import Replay
from ._timeline import (
    ConnectionTrack,
    Difference,
    EventMark,
    NoticeMark,
    RepeatMark,
    SessionTrack,
    Timeline,
    TurnPhase,
    TurnTrack,
)

__all__ = [
    "ConnectionTrack",
    "Difference",
    "Entry",
    "EventMark",
    "Header",
    "Line",
    "NoticeMark",
    "ProxiedConnection",
    "ProxiedMessage",
    "ProxyLog",
    "ProxyOptions",
    "ProxyRecording",
    "RecordedFile",
    "RecordingDriver",
    "RecordingError",
    "RepeatMark",
    "Replay",
    "SessionTrack",
    "Timeline",
    "TurnTrack",
    "TurnPhase",
    "Upstream",
    "json_members",
    "proxy_timeline",
    "recorded_session",
    "timeline_of",
    "upstream_of",
]
