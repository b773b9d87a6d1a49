"""turnwire's protocol core: the OpenAI Responses API over WebSocket, as pure state machines.

Nothing in this package does I/O, reads a clock, or uses a random number that it was not given: the same calls with the
same arguments give the same results. Time is an argument, ``now``, in monotonic seconds. Bytes go in by
``receive_data`` and come out by ``data_to_send``. The caller waits, at most until ``next_deadline``.

Each module imports only modules below it. ``agents`` is the Agents SDK's side; the protocol imports nothing of it:

    ============== ==================================================================================================
    tables         the tables that decide, as data and as drawings
    check          whether a server speaks the protocol, as scripts
    vectors        test vectors, and what the core answers to them
    api            the public names that are the same in every shell
    as_http        turns as requests and answers of an HTTP client
    agents         model calls: settings, tools, requests, results, traces
    conversations  what users hold of a conversation
    client         what users hold: ``connect()``, sessions, turns
    shell          what a shell must provide
    arguments      what ``create()``, ``respond()`` and ``run()`` take, for type checkers
    conversation_runner  sends the turns of a conversation
    toolloop       turns and the calls of tools in them, one after the other, as a flow
    functions      Python functions as tools: their schemas, arguments and results
    conversation   what the next turn of a conversation sends, and what its history is afterwards
    retrieval      what becomes of a response: its retrieval as a flow, and how that fails
    runtime        what runs a session, in every shell
    transports     how a transport is opened, and what its failures mean
    addresses      which address of a host is tried when, and whose connection is used
    cassette       a script for the test server from a recording
    recording      every input of a session in a file, and the replay of it
    tls            the client's side of TLS, for shells that need it
    flow           the steps and waits of a call, without an event loop
    driver         what a session's sockets and timer must do, and which consumers wake
    link           a connection and its transport, and what a runtime does with it
    measures       the span and the metrics of each turn, for OpenTelemetry
    session        which connection to open, to send on, to drop; what to repeat
    first_opening  the opening of ``connect()``, in one attempt or several
    admission      whether a session takes a turn
    recovery       whether a turn that failed is repeated
    notices        what happens in a session, for hooks and the log
    options        the options of a session
    handle         what a caller can ask about a turn
    placement      which waiting turn goes to which connection; which kind is missing
    fallback       whether a turn goes over a WebSocket or over HTTP
    pool           which connection takes a turn; when one is opened, replaced, closed
    connections    what is known of each connection, as data
    backlog        the turns that wait for a connection, in order
    structured     a type of answers as a schema, and the answer as a value
    http           one connection in HTTP/1.1, one turn after the other: bytes in, events and failures with verdicts out
    steering       what a steer or an injection may be, and what callers see of it
    connection     one WebSocket and the turns on it: bytes in, events per turn and failures with verdicts out
    partial        what has come of a response so far
    server         the same protocols in the server's role
    strict_schema  a JSON schema in the form that the model follows strictly
    tool_calls     calls of tools that the client runs: which are open
    upgrade        what an upgrade says besides the headers of its endpoint
    dialect        what a server is known or seen to have
    rate_limits    what a server says of its rate limits
    deadlines      many deadlines at once: which is the next
    messages       the ``response.create`` message for a body
    fields         the fields of a request, with their types
    timeouts       how long each wait of a turn may take
    http_client    the network settings of a client's own HTTP client
    proxy          which proxy to use
    socks          through a SOCKS5 proxy
    source         where a session connects to, from the arguments of ``connect()``
    endpoint       where to connect to, and with which headers
    urls           URLs that callers give, checked and taken apart
    retries        switches for callers with retries of their own
    encoding       Python values to JSON
    lanes          which turn may start now
    record         where sessions are recorded, and what of them
    replay         what a failure means: its text, what is repeated, advice on retries
    events         the server's events, typed; and as the objects of ``openai``
    sse            a stream of server-sent events, bytes to events
    websocket      bytes to text messages and back; the handshake
    telemetry      where spans and metrics go
    secret         text that no repr and no traceback shows
    forms          what a JSON document may look like: its reader and its schema
    option_help    what help() shows of a class of options
    checks         the rules of options, and the message for a value that breaks a rule
    omit           the markers that mean "leave this out"
    errors         everything that is raised
    evidence       how far a turn got, and the verdict that follows
    error_body     reads an error in every shape that servers send
    retry_after    how long a server asks to wait
    chance         the source of random bytes, unless the caller gives another
    ============== ==================================================================================================

``settings``, ``tools``, ``converter``, ``request``, ``model``, ``tracing``, ``usage``, ``httpturn`` and ``sdk`` are the
former places of modules that are in ``agents`` and ``events`` now.

``__version__`` is the version of the distribution ``turnwire``. It is here because ``turnwire`` itself is a namespace
package without a file, so that other distributions can add packages to it.
"""

from __future__ import annotations


def __getattr__(name: str) -> str:
    """``__version__``, read from the distribution's metadata when it is needed, so that importing is fast."""
    if name == "__version__":
        from importlib.metadata import version

        return version("turnwire")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
