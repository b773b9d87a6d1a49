"""Python functions as tools: the schema that the model is given, its arguments as Python values, the result as output.

The promise
    A function's signature is its schema, made by msgspec, or by pydantic where its types are pydantic's; nothing is
    declared twice. What the model writes is checked against it before the function is called, and what does not fit is
    an :class:`ArgumentsError`, whose text tells the model what to correct. A function that cannot be a tool is refused
    when it is given, with the reason. Nothing here calls the function: the loop does (``toolloop.py``).

What of a function goes where
    ====================================== ===========================================================================
    of the function                        of the tool
    ====================================== ===========================================================================
    its name, or ``name=``                 ``name``: 1-64 of ``A-Z a-z 0-9 _ -``
    the first paragraph of its docstring   ``description``, unless ``description=`` is given
    its parameters, with type hints        ``parameters``: an object with all of them required (``strict``)
    a default                              the parameter may be null, which stands for the default; the description
                                           says what it is
    ``Annotated[…, Meta(description=…)]``  the parameter's description; pydantic's ``Field(description=…)``, too
    ``Args:`` in the docstring             the descriptions of parameters that have none
    ``self``, and what a ``partial`` gives nothing: the model does not see it
    ====================================== ===========================================================================

    A type that no strict schema can say (``dict[str, int]``, ``Any``) makes the tool ``strict: false``. Its arguments
    are checked all the same. What the function returns is sent as it is if it is text, or content with images and
    files; anything else as JSON.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Annotated, Any, Final, TypeAlias, cast, get_args, get_type_hints, overload

import msgspec

from .checks import is_async, shown
from .errors import UserError, WrongTypeError
from .strict_schema import strict_schema

__all__ = ["ArgumentsError", "ToolFunction", "Toolbox", "output_of", "tool"]

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CONTENT: Final = ("input_text", "input_image", "input_file")
_NO_DEFAULT: Final = inspect.Parameter.empty


class ArgumentsError(ValueError):
    """The arguments that the model wrote do not fit the function. The text is for the model."""


class ToolFunction(msgspec.Struct, frozen=True, eq=False):
    """A Python function as a tool. Made by :func:`tool`; it can still be called as the function."""

    function: Callable[..., Any]
    spec: dict[str, Any]
    """The tool, as it is sent."""
    repeatable: bool
    """Whether it may be run again for a call that was interrupted."""
    read: Callable[[str], dict[str, Any]]
    """The keyword arguments for the function, from what the model wrote. Raises :class:`ArgumentsError`."""

    @property
    def name(self) -> str:
        """What the model calls it by."""
        return self.spec["name"]

    @property
    def is_async(self) -> bool:
        """Whether it is called in the event loop; other functions are called in a worker thread."""
        return is_async(_without_partial(self.function))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<ToolFunction {self.name}>"


@overload
def tool(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    description: str | None = None,
    strict: bool | None = None,
    repeatable: bool = False,
    spec: Mapping[str, Any] | None = None,
) -> ToolFunction: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    strict: bool | None = None,
    repeatable: bool = False,
    spec: Mapping[str, Any] | None = None,
) -> Callable[[Callable[..., Any]], ToolFunction]: ...
def tool(function: Callable[..., Any] | None = None, *, spec: Mapping[str, Any] | None = None, **more: Any) -> Any:
    """Make a tool of a function, when it needs more than its signature says: ``tool(f, …)``, or ``@tool(…)``.

    ``name`` and ``description`` replace the function's own. ``strict``: True refuses a function whose schema cannot be
    strict, False does not ask the model to follow the schema strictly; None asks where it can be. ``repeatable``: it
    does no harm twice, so that it is run again for a call that was interrupted. ``spec`` is a tool as it is sent, such
    as ``{"type": "custom", "name": "sql", …}``: the function takes what the model wrote as one text, without a schema
    of its own; with ``"type": "function"``, the decoded arguments by keyword.

    Raises UserError for a function that cannot be a tool, and WrongTypeError for what is no function.
    """
    if function is None:
        return partial(tool, spec=spec, **more)
    if not callable(function) or inspect.isclass(function):
        raise WrongTypeError(f"the tool {shown(function)} is no function: write a function, or a mapping with a 'type'")
    return _given(function, spec, **more) if spec is not None else _made(function, **more)


def _given(function: Callable[..., Any], spec: Mapping[str, Any], *, repeatable: bool = False) -> ToolFunction:
    """A tool that is described by its caller."""
    readers = {"custom": _text_for(function), "function": _read_object}
    reader = readers.get(spec.get("type", ""))
    if reader is None:
        raise UserError(
            f"a tool of type {spec.get('type')!r} has no function: write spec={{'type': 'custom' or 'function', …}}"
        )
    return ToolFunction(function, {**spec, "name": _checked_name(spec.get("name"))}, repeatable, reader)


def _text_for(function: Callable[..., Any]) -> Callable[[str], dict[str, Any]]:
    """A reader that gives the text to the function's first parameter."""
    parameters = [each.name for each in inspect.signature(function).parameters.values()]
    if not parameters:
        raise UserError(
            f"the custom tool {_said(function)} takes no argument: it is given the model's text as the first"
        )
    return lambda text: {parameters[0]: text}


def _read_object(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise ArgumentsError(f"the arguments are no JSON object: {exc}") from None


def _made(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    description: str | None = None,
    strict: bool | None = None,
    repeatable: bool = False,
) -> ToolFunction:
    """A tool that its function describes (C-TOOL-12)."""
    about, documented = _documentation(function)
    fields = _fields(function)
    called = _checked_name(_name_of(function) if name is None else name)
    parameters, read = _arguments_of(called, fields)
    for field in fields:
        _describe(parameters["properties"][field.name], documented.get(field.name), field)
    followed = False
    if strict is not False:
        try:
            parameters, followed = strict_schema(parameters), True
        except UserError as exc:
            if strict:
                raise UserError(f"the function {called!r} cannot be a strict tool: {exc}") from None
    spec = {"type": "function", "name": called, "parameters": parameters, "strict": followed}
    if description or about:
        spec["description"] = description or about
    return ToolFunction(function, spec, repeatable, read)


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise UserError(f"a tool cannot be called {shown(name)}: write name= with 1-64 of A-Z a-z 0-9 _ -")
    return name


def _without_partial(function: Any) -> Any:
    while isinstance(function, partial):
        function = cast("partial[Any]", function).func
    return function


def _fixed(function: Any) -> Mapping[str, Any]:
    """What a partial gives by name."""
    return cast("partial[Any]", function).keywords if isinstance(function, partial) else {}


def _bare(function: Any) -> Any:
    """The function itself: without a partial's arguments, without the instance."""
    function = _without_partial(function)
    if not inspect.isroutine(function):
        return type(function).__call__
    return getattr(function, "__func__", function)


def _name_of(function: Any) -> str:
    function = _without_partial(function)
    return getattr(function, "__name__", type(function).__name__)


def _said(function: Any) -> str:
    return repr(_name_of(function))


# --- Parameters ------------------------------------------------------------------------------------------------------


class _Field(msgspec.Struct, frozen=True):
    """A parameter that the model gives."""

    name: str
    hint: Any
    default: Any
    """:data:`_NO_DEFAULT` if it has none."""

    @property
    def optional(self) -> bool:
        return self.default is not _NO_DEFAULT

    @property
    def takes_none(self) -> bool:
        """Whether null is one of its values, and does not stand for the default (C-TOOL-12)."""
        return type(None) in get_args(_plain(self.hint)) or self.hint is type(None) or _plain(self.hint) is Any


def _plain(hint: Any) -> Any:
    """A type hint without what ``Annotated`` adds."""
    return hint.__origin__ if hasattr(hint, "__metadata__") else hint


def _fields(function: Callable[..., Any]) -> list[_Field]:
    """The parameters. Raises UserError if the function cannot be called by names, or a type is not known."""
    try:
        parameters = inspect.signature(function).parameters
        hints = get_type_hints(inspect.unwrap(_bare(function)), include_extras=True)
    except NameError as exc:
        raise UserError(
            f"the function {_said(function)} has a type hint that cannot be read: {exc} — import or define the type at "
            "the top of the module, and not under TYPE_CHECKING or in a function"
        ) from None
    except (ValueError, TypeError) as exc:
        raise UserError(f"the function {_said(function)} has no signature that can be read: {exc}") from None
    fixed = _fixed(function)
    return [_field(function, each, hints) for each in parameters.values() if each.name not in fixed]


def _field(function: Callable[..., Any], given: inspect.Parameter, hints: Mapping[str, Any]) -> _Field:
    if given.kind in (given.POSITIONAL_ONLY, given.VAR_POSITIONAL, given.VAR_KEYWORD):
        raise UserError(
            f"the function {_said(function)} has the parameter {str(given.replace(annotation=given.empty))!r}: a tool "
            "is called with named arguments; write a parameter with a name, or a list"
        )
    if given.name not in hints:
        raise UserError(
            f"the parameter {given.name!r} of the function {_said(function)} has no type hint: write one, such as "
            f"{given.name}: str"
        )
    hint: Any = hints[given.name]
    default: Any = given.default
    if type(default).__module__.startswith("pydantic."):  # ``size: int = Field(3, ge=1)``
        hint = Annotated[(hint, *default.metadata, type(default)(description=default.description))]
        default = _NO_DEFAULT if default.is_required() else default.get_default(call_default_factory=True)
    return _Field(given.name, hint, default)


def _describe(schema: dict[str, Any], documented: str | None, field: _Field) -> None:
    """Put the description where the model looks for it, and say what the default is."""
    schema.pop("default", None)
    for branch in schema.get("anyOf", ()):  # ``Annotated[int, …] | None``
        if found := branch.pop("description", None):
            schema.setdefault("description", found)
    text = schema.get("description") or documented or ""
    if field.optional and field.default is not None:
        try:
            default = msgspec.json.encode(field.default, enc_hook=_encoded).decode()
            text = f"{text.removesuffix('.')}. Default: {default}.".removeprefix(". ")
        except TypeError:  # A default that JSON does not have: only the function knows it.
            pass
    if text:
        schema["description"] = text


# --- Schemas, and reading --------------------------------------------------------------------------------------------


_Arguments: TypeAlias = tuple[dict[str, Any], Callable[[str], dict[str, Any]]]
"""The schema of the parameters, and what reads the arguments."""


def _arguments_of(name: str, fields: list[_Field]) -> _Arguments:
    """The JSON schema of the parameters, not strict, and what reads the arguments."""
    pydantic = sys.modules.get("pydantic")
    makers: list[Callable[[str, list[_Field]], _Arguments]] = [_by_msgspec]
    if pydantic is not None:  # It may know what msgspec does not, such as a union of two dataclasses.
        makers.insert(0 if any(_is_pydantics(field.hint) for field in fields) else 1, partial(_by_pydantic, pydantic))
    reasons: list[Exception] = []
    for make in makers:
        try:
            return make(name, fields)
        except (TypeError, ValueError, NameError, RuntimeError) as exc:  # Those of pydantic are RuntimeErrors.
            reasons.append(exc)
    why = str(reasons[0]).partition("\n\n")[0]
    raise UserError(f"the function {name!r} has a parameter that cannot be written as JSON: {why}")


def _is_pydantics(hint: Any) -> bool:
    """Whether a type hint contains something that pydantic understands and msgspec does not."""
    about = getattr(hint, "__metadata__", ())
    if any(type(each).__module__.partition(".")[0] in ("pydantic", "annotated_types") for each in about):
        return True
    if hasattr(hint, "__pydantic_core_schema__") or hasattr(hint, "__get_pydantic_core_schema__"):
        return True
    return any(_is_pydantics(each) for each in get_args(hint))


def _values(fields: list[_Field], given: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments: what was given, and the defaults of the rest. Null stands for a default that is not null
    (C-TOOL-12)."""
    values: dict[str, Any] = {}
    for field in fields:
        value = given.get(field.name, msgspec.UNSET)
        if field.optional and (value is msgspec.UNSET or (value is None and not field.takes_none)):
            value = field.default
        values[field.name] = value
    return values


def _by_msgspec(name: str, fields: list[_Field]) -> _Arguments:
    """Raises TypeError for a type that msgspec does not know."""
    members: list[Any] = [
        (field.name, field.hint | None | msgspec.UnsetType, msgspec.UNSET)
        if field.optional
        else (field.name, field.hint)
        for field in fields
    ]
    struct = msgspec.defstruct(name, members, kw_only=True)
    (reference,), components = msgspec.json.schema_components([struct])
    schema = components.pop(reference["$ref"].rpartition("/")[2])
    if components:
        schema["$defs"] = components
    decode = msgspec.json.Decoder(struct, strict=False).decode

    def read(text: str) -> dict[str, Any]:
        try:
            made = decode(text or "{}")
        except (msgspec.MsgspecError, RecursionError) as exc:
            raise ArgumentsError(f"the arguments do not fit: {exc}") from None
        return _values(fields, msgspec.structs.asdict(made))

    return schema, read


def _by_pydantic(pydantic: Any, name: str, fields: list[_Field]) -> _Arguments:
    """The model's own names are p0, p1, …: any name of a parameter is possible as an alias."""
    members: dict[str, Any] = {
        f"p{index}": (Annotated[field.hint | None, pydantic.Field(alias=field.name)], None)
        if field.optional
        else (Annotated[field.hint, pydantic.Field(alias=field.name)], ...)
        for index, field in enumerate(fields)
    }
    model = pydantic.create_model(name, **members)
    schema = model.model_json_schema()
    aliases = {f"p{index}": field.name for index, field in enumerate(fields)}

    def read(text: str) -> dict[str, Any]:
        try:
            made = model.model_validate_json(text or "{}")
        except pydantic.ValidationError as exc:
            found = exc.errors(include_url=False, include_input=False, include_context=False)
            told = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'JSON'}: {each['msg']}" for each in found)
            raise ArgumentsError(f"the arguments do not fit: {told}") from None
        return _values(fields, {aliases[each]: getattr(made, each) for each in made.model_fields_set})

    return schema, read


# --- Docstrings ------------------------------------------------------------------------------------------------------


def _documentation(function: Any) -> tuple[str, dict[str, str]]:
    """The first paragraph of the docstring, on one line, and what its section ``Args:`` says of each parameter."""
    text = inspect.cleandoc(_bare(function).__doc__ or _without_partial(function).__doc__ or "")
    first = re.split(r"\n\s*\n|^Args:", text.strip(), maxsplit=1, flags=re.MULTILINE)[0]
    section = re.search(r"^(?:Args|Arguments|Parameters):[ \t]*\n((?:[ \t]+\S.*\n?|[ \t]*\n)*)", text, re.MULTILINE)
    entries = inspect.cleandoc("\n" + section[1]) if section else ""
    found = re.findall(r"^(\w+)(?: *\([^)\n]*\))?: *(.*(?:\n[ \t]+.*)*)", entries, re.MULTILINE)
    return " ".join(first.split()), {name: " ".join(about.split()) for name, about in found}


# --- Results ---------------------------------------------------------------------------------------------------------


def output_of(value: Any) -> str | list[Any]:
    """What a function returned, as the output of its call. Raises TypeError for what JSON does not have.

    Text is sent as it is, and so is content: a mapping of type ``input_text``, ``input_image`` or ``input_file``, or a
    list of them. Anything else is sent as JSON.
    """
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    given: list[object] = cast("list[object]", value) if isinstance(value, list) else [value]
    if given and all(map(_is_content, given)):
        return given
    return msgspec.json.encode(value, enc_hook=_encoded).decode()


def _is_content(part: object) -> bool:
    return isinstance(part, Mapping) and cast("Mapping[str, object]", part).get("type") in _CONTENT


def _encoded(value: Any) -> Any:
    """For msgspec: a pydantic model as plain JSON values."""
    dump = getattr(value, "model_dump", None)
    if dump is None or inspect.isclass(value):
        raise TypeError(f"a value of type {type(value).__name__} cannot be written as JSON")
    return dump(mode="json")


# --- Several tools ---------------------------------------------------------------------------------------------------


class Toolbox:
    """The tools of a loop: what is sent, and which function answers which call.

    ``tools`` are functions, :class:`ToolFunction`, and mappings with a ``type``, which are sent as they are: tools that
    the server runs, and such whose calls the caller answers.

    Raises UserError for what cannot be a tool, and for two tools of one name.
    """

    def __init__(self, tools: Iterable[Callable[..., Any] | ToolFunction | Mapping[str, Any]]) -> None:
        if isinstance(tools, Mapping | str) or not isinstance(cast("object", tools), Iterable):
            raise WrongTypeError(
                f"tools is {shown(cast('object', tools))}: write a list of functions and mappings with a 'type'"
            )
        self.specs: list[dict[str, Any]] = []
        """The tools, as they are sent."""
        self._functions: dict[str, ToolFunction] = {}
        self._names: set[str] = set()
        for each in tools:
            if isinstance(each, Mapping):
                self._add(dict(cast("Mapping[str, Any]", each)))
            else:
                made = each if isinstance(each, ToolFunction) else tool(each)
                self._add(made.spec)
                self._functions[made.name] = made

    def _add(self, spec: dict[str, Any]) -> None:
        if not isinstance(spec.get("type"), str):
            raise UserError(f"the tool {shown(spec)} has no type: write a function, or a mapping with a 'type'")
        for each in spec.get("tools", ()) if spec["type"] == "namespace" else [spec]:
            name = each.get("name")
            if isinstance(name, str) and each.get("type") in ("function", "custom"):
                if name in self._names:
                    raise UserError(f"two tools are called {name!r}: the model could not tell them apart; write name=")
                self._names.add(name)
        self.specs.append(spec)

    @property
    def names(self) -> list[str]:
        """The names of functions and custom tools, sorted."""
        return sorted(self._names)

    def function_for(self, name: str) -> ToolFunction | None:
        """The function of this name; None: it is the caller's, or there is none."""
        return self._functions.get(name)
