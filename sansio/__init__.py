"""turnwire's protocol core: the OpenAI Responses API over WebSocket, as pure state machines.

Nothing in this package does I/O, reads a clock, or draws a random number that it was not given: the same calls with the
same arguments give the same results. Time comes in as ``now``, in monotonic seconds; bytes come in by ``receive_data``
and go out by ``data_to_send``; waiting is the caller's, up to ``next_deadline``.

The modules; each imports only modules below it. ``agents`` is the Agents SDK's side; the protocol imports none of it:

    ============== ==================================================================================================
    agents         model calls: settings, tools, requests, results, traces
    driver         what a session's sockets, its timer and those who wait for it have to do
    session        which connection to open, to send on, to drop; what to repeat
    handle         what a caller holds of a turn
    backlog        the turns that wait for a connection, in order
    connection     one WebSocket and the turns on it: bytes in, events per turn and failures with verdicts out
    server         the same protocol in the server's role
    dialect        what a server is known or seen to have
    deadlines      the moments at which something is to be done, by whom they concern
    messages       the ``response.create`` message for a body
    timeouts       how long each wait of a turn may take
    proxy          which proxy to use
    source         where a session connects to, from the arguments of ``connect()``
    endpoint       where to connect to, and with which headers
    retries        the switches of callers that run retries of their own
    encoding       Python values to JSON
    lanes          which turn may go now
    replay         what a failure means: its words, what is repeated, advice on retries
    events         the server's events, typed; and as the objects of ``openai``
    websocket      bytes to text messages and back; the handshake
    secret         text that no repr and no traceback shows
    checks         the rules of options, and the message for a value that breaks one
    omit           the markers that say "leave this out"
    errors         everything that is raised
    evidence       how far a turn got, and the verdict that follows
    error_body     what an error says, in every shape that servers send
    chance         the source of random bytes, unless the caller gives another
    ============== ==================================================================================================

``settings``, ``tools``, ``converter``, ``request``, ``model``, ``tracing``, ``usage``, ``httpturn`` and ``sdk`` are the
former places of modules that are in ``agents`` and ``events`` now.

``__version__`` is the version of the distribution ``turnwire``. It is here because ``turnwire`` itself is a namespace
package: it has no file that could say it, so that other distributions can add packages to it.
"""

from __future__ import annotations


def __getattr__(name: str) -> str:
    """``__version__``, read on demand from the metadata of the distribution, so that an import stays cheap."""
    if name == "__version__":
        from importlib.metadata import version

        return version("turnwire")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
