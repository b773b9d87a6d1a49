"""turnwire's protocol core: the OpenAI Responses API over WebSocket, as pure state machines.

Nothing in this package does I/O, reads a clock, or draws a random number that it was not given: the same calls with the
same arguments give the same results. Time comes in as ``now``, in monotonic seconds; bytes come in by ``receive_data``
and go out by ``data_to_send``; waiting is the caller's, up to ``next_deadline``.

The rooms; each imports only rooms below it:

    ============== ==================================================================================================
    model          one call of a model: its request, log lines, span and result
    httpturn       a turn over HTTP: what its answer and its events prove, and how it fails
    usage          tokens: of one call, of many, and as the server sent them
    tracing        spans, to whatever tracer the application has
    driver         what a session's sockets, its timer and those who wait for it have to do
    session        which connection to open, to send on, to drop; what to repeat
    backlog        the turns that wait for a connection, in order
    connection     one WebSocket and the turns on it: bytes in, events per turn and failures with verdicts out
    server         the same protocol in the server's role
    dialect        what a server is known or seen to have
    deadlines      the moments at which something is to be done, by whom they concern
    request        settings and arguments to the payload of a ``response.create``; timeouts
    converter      tools, handoffs, tool choice and output schema to JSON
    tools          the declarations of tools
    proxy          which proxy to use
    endpoint       where to connect to, and with which headers
    settings       the declarations of model settings
    encoding       Python values to JSON
    lanes          which turn may go now
    replay         evidence of how far a turn got, its verdict, and retry advice
    sdk            events and responses to the objects of ``openai``, which no other room imports
    events         the server's events, typed
    websocket      bytes to text messages and back; the handshake
    secret         text that no repr and no traceback shows
    checks         the rules of options, and what is said to who breaks them
    errors         everything that is raised
    error_body     what an error says, in every shape that servers send
    ============== ==================================================================================================
"""
