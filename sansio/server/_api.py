"""The HTTP endpoints of the API, without I/O: one table of routes, and what each of them does (PROTOCOL.md, "HTTP
endpoints").

:func:`find_route` says which endpoint a request is for, or that there is none. Its ``answer`` is a function from the
state of the service and the request to what the shell has to do: send a reply, run a turn, send a stored response, or
upgrade.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import parse_qs, unquote

from ._api_conversations import (
    add_items,
    delete_conversation,
    delete_item,
    get_conversation,
    get_item,
    list_items,
    new_conversation,
    update_conversation,
)
from ._api_responses import (
    cancel,
    compact,
    count_tokens,
    create,
    delete_response,
    get_model,
    health,
    list_input,
    list_models,
    retrieve,
    upgrade,
)
from ._api_types import ApiCall, ApiResult, ApiState, HttpReply
from ._problem import Problem

__all__ = ["ROUTES", "FoundRoute", "ApiRoute", "find_route"]

Answering: TypeAlias = Callable[[ApiState, ApiCall], ApiResult]


class ApiRoute(NamedTuple):
    """One endpoint."""

    method: str
    path: str
    """Each ``*`` is one segment, which may be anything but empty."""
    answer: Answering
    keyless: bool = False
    """Whether it needs no key."""

    @property
    def runs(self) -> bool:
        """Whether it runs turns."""
        return self.answer is create


ROUTES: Final = (
    ApiRoute("POST", "/v1/responses", create),
    ApiRoute("GET", "/v1/responses", upgrade),
    ApiRoute("POST", "/v1/responses/compact", compact),
    ApiRoute("POST", "/v1/responses/input_tokens", count_tokens),
    ApiRoute("GET", "/v1/responses/*", retrieve),
    ApiRoute("DELETE", "/v1/responses/*", delete_response),
    ApiRoute("POST", "/v1/responses/*/cancel", cancel),
    ApiRoute("GET", "/v1/responses/*/input_items", list_input),
    ApiRoute("POST", "/v1/conversations", new_conversation),
    ApiRoute("GET", "/v1/conversations/*", get_conversation),
    ApiRoute("POST", "/v1/conversations/*", update_conversation),
    ApiRoute("DELETE", "/v1/conversations/*", delete_conversation),
    ApiRoute("GET", "/v1/conversations/*/items", list_items),
    ApiRoute("POST", "/v1/conversations/*/items", add_items),
    ApiRoute("GET", "/v1/conversations/*/items/*", get_item),
    ApiRoute("DELETE", "/v1/conversations/*/items/*", delete_item),
    ApiRoute("GET", "/v1/models", list_models),
    ApiRoute("GET", "/v1/models/*", get_model),
    ApiRoute("GET", "/health", health, keyless=True),
    ApiRoute("GET", "/healthz", health, keyless=True),
)
"""Every endpoint. HEAD is GET without the body, but for the upgrade; OPTIONS tells the methods."""


class FoundRoute(NamedTuple):
    """The endpoint that a request is for."""

    route: ApiRoute
    call: ApiCall
    """The request, still without its body and time."""


def find_route(method: str, target: str) -> FoundRoute | HttpReply | Problem:
    """The endpoint of a request; the reply to OPTIONS; or a problem: status 404 for a path that there is not, 405 for a
    method, with ``allow``."""
    path, _, query = target.partition("?")
    found = list(_matching(path))
    if not found:
        return Problem(404, None, f"Invalid URL ({method[:20]} {path[:200]})")
    methods = _methods(found)
    if method == "OPTIONS":
        return HttpReply(204, None, {"allow": ", ".join(methods)})
    if method not in methods:
        return Problem(405, None, f"Not allowed to {method[:20]} here.", headers={"allow": ", ".join(methods[:-1])})
    wanted = "GET" if method == "HEAD" else method
    route, ids = next((route, ids) for route, ids in found if route.method == wanted)
    given = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
    return FoundRoute(route, ApiCall(ids=ids, query=given, target=target, head=method == "HEAD"))


def _matching(path: str) -> Iterator[tuple[ApiRoute, tuple[str, ...]]]:
    segments = path.split("/")
    for route in ROUTES:
        wanted = route.path.split("/")
        if len(wanted) == len(segments) and all(_fits(*pair) for pair in zip(wanted, segments, strict=True)):
            yield route, tuple(unquote(segment) for want, segment in zip(wanted, segments, strict=True) if want == "*")


def _fits(wanted: str, segment: str) -> bool:
    return bool(segment) if wanted == "*" else wanted == segment


def _methods(found: list[tuple[ApiRoute, tuple[str, ...]]]) -> list[str]:
    """The methods of a path, OPTIONS last."""
    methods = list(dict.fromkeys(route.method for route, _ in found))
    has_get = any(route.method == "GET" and route.answer is not upgrade for route, _ in found)
    return [*sorted(methods), *(["HEAD"] if has_get else []), "OPTIONS"]
