"""A transport for ``openai``'s HTTP client: its Responses API calls go over a WebSocket, and nothing else changes.

::

    client = AsyncOpenAI(http_client=DefaultAsyncHttpxClient(transport=TurnwireTransport()))

So whatever uses such a client (``openai`` itself, the Agents SDK, LangChain, pydantic-ai) gets the connection that is
kept, its lanes, and verdicts.

The promise
    ``POST …/responses`` becomes a turn; every other request goes to the inner transport as it is. The rules are those
    of PROTOCOL.md, "Turns for an HTTP client"; ``sansio/as_http`` decides. Requests are read here, and answers made, in
    the classes of the library that the request came from: httpx2, or httpx.
"""

from ._errors import TurnLostError, TurnTimedOutError
from ._transport import TurnwireTransport

__all__ = ["TurnLostError", "TurnTimedOutError", "TurnwireTransport"]
