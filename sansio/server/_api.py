"""The HTTP endpoints of the API, without I/O: one table of routes, and what each of them does (PROTOCOL.md, "HTTP
endpoints").

:func:`find_route` says which endpoint a request is for, or that there is none. Its ``answer`` is a function from the
state of the service and the request to what the shell has to do: send a reply, run a turn, send a stored response, or
upgrade.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
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
    retrieve_response,
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
    """What follows the root of the API; each ``*`` is one segment, which may be anything but empty."""
    answer: Answering
    keyless: bool = False
    """Whether it needs no key."""

    @property
    def runs(self) -> bool:
        """Whether it runs turns."""
        return self.answer is create


ROUTES: Final = (
    ApiRoute("POST", "/responses", create),
    ApiRoute("GET", "/responses", upgrade),
    ApiRoute("POST", "/responses/compact", compact),
    ApiRoute("POST", "/responses/input_tokens", count_tokens),
    ApiRoute("GET", "/responses/*", retrieve_response),
    ApiRoute("DELETE", "/responses/*", delete_response),
    ApiRoute("POST", "/responses/*/cancel", cancel),
    ApiRoute("GET", "/responses/*/input_items", list_input),
    ApiRoute("POST", "/conversations", new_conversation),
    ApiRoute("GET", "/conversations/*", get_conversation),
    ApiRoute("POST", "/conversations/*", update_conversation),
    ApiRoute("DELETE", "/conversations/*", delete_conversation),
    ApiRoute("GET", "/conversations/*/items", list_items),
    ApiRoute("POST", "/conversations/*/items", add_items),
    ApiRoute("GET", "/conversations/*/items/*", get_item),
    ApiRoute("DELETE", "/conversations/*/items/*", delete_item),
    ApiRoute("GET", "/models", list_models),
    ApiRoute("GET", "/models/*", get_model),
    ApiRoute("GET", "/health", health, keyless=True),
    ApiRoute("GET", "/healthz", health, keyless=True),
)
"""Every endpoint. The paths begin at the root of the API (``/v1``), those about health at ``/``. HEAD is GET without
the body, but for the upgrade; OPTIONS tells the methods (P-HTTP-1)."""


_PLACES: Final[Mapping[str, str | None]] = MappingProxyType({"/v1/responses": None})


class FoundRoute(NamedTuple):
    """The endpoint that a request is for."""

    route: ApiRoute
    call: ApiCall
    """The request, still without its body and time."""


def find_route(
    method: str, target: str, places: Mapping[str, str | None] = _PLACES
) -> FoundRoute | HttpReply | Problem:
    """The endpoint of a request; the reply to OPTIONS; or a problem: status 404 for a path that there is not, 405 for a
    method, with ``allow``. ``places`` are those of the API (:attr:`ServerDialect.paths`) (P-HTTP-1, P-HTTP-2)."""
    path, _, text = target.partition("?")
    query = {name: values[-1] for name, values in parse_qs(text, keep_blank_values=True).items()}
    root, needed = _root(path, places)
    found = list(_matching(path, root))
    if not found:
        return Problem(404, None, f"Invalid URL ({method[:20]} {path[:200]})")
    if needed is not None and not query.get(needed):
        return Problem(404, None, f"Resource not found: {needed} is missing in the query.")
    methods = _methods(found)
    if method == "OPTIONS":
        return HttpReply(204, None, {"allow": ", ".join(methods)})
    if method not in methods:
        return Problem(405, None, f"Not allowed to {method[:20]} here.", headers={"allow": ", ".join(methods[:-1])})
    wanted = "GET" if method == "HEAD" else method
    route, ids = next((route, ids) for route, ids in found if route.method == wanted)
    return FoundRoute(route, ApiCall(ids=ids, query=query, target=target, root=root or "", head=method == "HEAD"))


def _root(path: str, places: Mapping[str, str | None]) -> tuple[str | None, str | None]:
    """What comes before ``/responses`` in the place that a path is below, and the query that it needs; None if it is
    below none."""
    roots = sorted(((place.removesuffix("/responses"), needed) for place, needed in places.items()), reverse=True)
    return next(((root, needed) for root, needed in roots if path.startswith(f"{root}/")), (None, None))


def _matching(path: str, root: str | None) -> Iterator[tuple[ApiRoute, tuple[str, ...]]]:
    """The endpoints of a path, and the segments that stand for ``*``."""
    for route in ROUTES:
        if route.keyless or root is not None:
            segments = (path if route.keyless else path.removeprefix(root or "")).split("/")
            wanted = route.path.split("/")
            if len(wanted) == len(segments) and all(_fits(*pair) for pair in zip(wanted, segments, strict=True)):
                pairs = zip(wanted, segments, strict=True)
                yield route, tuple(unquote(segment) for want, segment in pairs if want == "*")


def _fits(wanted: str, segment: str) -> bool:
    return bool(segment) if wanted == "*" else wanted == segment


def _methods(found: list[tuple[ApiRoute, tuple[str, ...]]]) -> list[str]:
    """The methods of a path, OPTIONS last."""
    methods = list(dict.fromkeys(route.method for route, _ in found))
    has_get = any(route.method == "GET" and route.answer is not upgrade for route, _ in found)
    return [*sorted(methods), *(["HEAD"] if has_get else []), "OPTIONS"]
