"""Tools made from typed functions: strict, flat JSON schemas that every known client accepts.

In: an async function whose parameters are `Annotated[type, Field(description=…, bounds)]` and which returns a
`Result`. Out: a tool with closed, flat schemas. Whatever a client could stumble over (`$ref`, unions, missing
descriptions, nested parameters) is refused when the tool is built, not when it is called.

Why so strict: one schema that a TypeScript client cannot read makes it reject the whole list of tools, and the
SDK by itself ignores unknown arguments, reads optional strings as JSON, and shows pydantic's dumps to callers.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata
from mcp_types import CallToolResult, InputRequiredResult, ToolAnnotations
from pydantic import BaseModel, create_model

from bitlm_mcp.arguments import StrictArguments, check_arguments
from bitlm_mcp.errors import tool_errors
from bitlm_mcp.results import NeedsAnswer, Result, both_channels

MIN_DESCRIPTION = 20
MIN_PARAMETER_DESCRIPTION = 8
MAX_DESCRIPTION = 500
SCALARS = frozenset({"string", "integer", "number", "boolean"})

_LEFT_OUT = frozenset({"title", "$defs", "properties", "required"})
_UNLISTED = frozenset({"maxLength", "minLength", "pattern", "maxItems", "x-rare"})
_FAR = 512
"""Upper bounds from here on are so far away that hardly a caller meets them."""
_NEAR = (0, 1)
"""Lower bounds where counting begins anyway."""
RARE: dict[str, Any] = {"x-rare": True}
"""`json_schema_extra` of a parameter that few callers need: listed with the set `tuning`, taken always."""

ToolFunction = Callable[..., Awaitable[Result]]


class SchemaError(Exception):
    """A tool whose signature cannot become a schema that all clients read: a fault of the tool's author."""


@dataclass(frozen=True)
class ToolSpec:
    """One tool: its function, the set it belongs to, and what a host may tell its user. The docstring is the description."""

    function: ToolFunction
    title: str
    read_only: bool
    destructive: bool
    idempotent: bool
    open_world: bool = False
    name: str = ""
    toolset: str = ""
    lists_rare: bool = False
    ui: str = ""
    """The `ui://` page that a host may show the result with; every other host shows the result itself."""

    @property
    def tool_name(self) -> str:
        """The name callers use: the function's own, unless another was given."""
        return self.name or getattr(self.function, "__name__", "")

    @property
    def description(self) -> str:
        """The docstring of the function, one line per paragraph."""
        paragraphs = (inspect.getdoc(self.function) or "").split("\n\n")
        return "\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)

    @property
    def annotations(self) -> ToolAnnotations:
        """All four hints, spelled out, because their defaults are the alarming ones."""
        return ToolAnnotations(
            read_only_hint=self.read_only,
            destructive_hint=self.destructive,
            idempotent_hint=self.idempotent,
            open_world_hint=self.open_world,
        )

    @property
    def meta(self) -> dict[str, Any] | None:
        """What hosts find the page by: the specification's name, and the flat one that hosts of its drafts look for."""
        return {"ui": {"resourceUri": self.ui}, "ui/resourceUri": self.ui} if self.ui else None


class StrictTool(Tool):
    """A tool that checks its arguments and shapes its answer by our rules instead of the SDK's."""

    arguments_model: type[StrictArguments]
    checked: dict[str, Any]
    """The schema with every bound, which refusals are told by."""

    async def run(
        self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False
    ) -> CallToolResult | InputRequiredResult | Result:
        """Check, call, answer; every failure leaves as the protocol's error through one door."""
        with tool_errors(self.name):
            keywords = check_arguments(self.name, self.arguments_model, self.checked, arguments)
            if self.context_kwarg is not None:
                keywords[self.context_kwarg] = context
            result: Result = await self.fn(**keywords)
            if isinstance(result, NeedsAnswer):
                return result.asked
            return both_channels(result) if convert_result else result


def build_tool(spec: ToolSpec) -> StrictTool:
    """The tool of a specification, or a `SchemaError` that names the tool and the fault."""
    name = spec.tool_name
    if not inspect.iscoroutinefunction(spec.function):
        raise SchemaError(f"{name}: a tool must be an async function")
    if len(spec.description) < MIN_DESCRIPTION:
        raise SchemaError(f"{name}: the docstring must tell an agent what the tool does and when to call it")
    signature = inspect.signature(spec.function, eval_str=True)
    context = next((p.name for p in signature.parameters.values() if _is_context(p.annotation)), None)
    model = _arguments_model(name, signature, context)
    output = signature.return_annotation
    if not (isinstance(output, type) and issubclass(output, Result)):
        raise SchemaError(f"{name}: a tool must return a subclass of Result, not {output!r}")
    check_output(name, output)
    checked = input_schema_of(name, model)
    return StrictTool(
        fn=spec.function,
        name=name,
        title=spec.title,
        description=spec.description,
        parameters=listed(checked, rare=spec.lists_rare),
        fn_metadata=FuncMetadata(arg_model=model),
        is_async=True,
        context_kwarg=context,
        annotations=spec.annotations,
        meta=spec.meta,
        arguments_model=model,
        checked=checked,
    )


def input_schema_of(tool: str, model: type[BaseModel]) -> dict[str, Any]:
    """The closed, flat schema of the arguments; each is a scalar or a list of scalars, and described."""
    schema = _flattened(model.model_json_schema(by_alias=True), tool)
    schema.pop("description", None)
    schema.setdefault("properties", {})
    for name, node in schema["properties"].items():
        length = len(node.get("description", ""))
        if not MIN_PARAMETER_DESCRIPTION <= length <= MAX_DESCRIPTION:
            raise SchemaError(
                f"{tool}.{name}: the description has {length} characters, it needs {MIN_PARAMETER_DESCRIPTION} to "
                f"{MAX_DESCRIPTION}"
            )
        item = node.get("items", {}) if node.get("type") == "array" else node
        if item.get("type") not in SCALARS:
            raise SchemaError(f"{tool}.{name}: a parameter must be a scalar or a list of scalars")
    return schema | {"type": "object", "additionalProperties": False}


def listed(schema: dict[str, Any], *, rare: bool) -> dict[str, Any]:
    """The schema of the arguments as every host reads it before the first call: without what only a refusal needs to tell.

    What strings may be, and bounds that go without saying, are checked all the same; and parameters that few callers need are
    taken where they are not listed. `rare`: list those too.
    """

    def walk(node: dict[str, Any]) -> dict[str, Any]:
        return {
            key: walk(value) if key == "items" else value
            for key, value in node.items()
            if key not in _UNLISTED and not (key == "maximum" and value >= _FAR) and not (key == "minimum" and value in _NEAR)
        }

    shown = {name: walk(node) for name, node in schema["properties"].items() if rare or not RARE.items() <= node.items()}
    return schema | {"properties": shown}


def check_output(tool: str, model: type[Result]) -> None:
    """Raise SchemaError unless the answer is flat.

    Its schema is not listed: every host reads the list before the first call, and answers name their own fields.
    """
    _flattened(model.model_json_schema(mode="serialization", by_alias=True), tool)


def _is_context(annotation: Any) -> bool:
    # A parametrised Context is a subclass that pydantic makes, not an alias.
    return isinstance(annotation, type) and issubclass(annotation, Context)


def _arguments_model(tool: str, signature: inspect.Signature, context: str | None) -> type[StrictArguments]:
    fields: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        if name == context:
            continue
        if hasattr(StrictArguments, name) or name.startswith("_"):
            raise SchemaError(f"{tool}.{name}: pydantic reserves this name, choose another")
        if parameter.annotation is inspect.Parameter.empty:
            raise SchemaError(f"{tool}.{name}: a parameter needs a type")
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[name] = (parameter.annotation, default)
    return create_model(f"{tool}_arguments", __base__=StrictArguments, **fields)


def _flattened(schema: dict[str, Any], tool: str) -> dict[str, Any]:
    """The schema without references, titles and unions with null."""
    definitions = schema.get("$defs", {})

    def walk(node: Any, path: str, open_refs: tuple[str, ...]) -> Any:
        if isinstance(node, list):
            return [walk(item, path, open_refs) for item in node]
        if not isinstance(node, dict):
            return node
        node = _without_null(node, path)
        if "$ref" in node:
            key = node["$ref"].rsplit("/", 1)[-1]
            if key in open_refs:
                raise SchemaError(f"{path}: {key} contains itself")
            beside = {name: value for name, value in node.items() if name != "$ref"}
            # The docstring of a nested record is for our readers; callers go by the names of its fields.
            target = {name: value for name, value in definitions[key].items() if name != "description"}
            return walk(target | beside, path, (*open_refs, key))
        flat = {
            key: walk(value, path, open_refs)
            for key, value in node.items()
            if key not in _LEFT_OUT and (key, value) != ("additionalProperties", False)
        }
        if "properties" in node:
            flat["properties"] = {name: walk(value, f"{path}.{name}", open_refs) for name, value in node["properties"].items()}
            optional = {name for name, value in node["properties"].items() if _nullable(value)}
            if required := [name for name in node.get("required", ()) if name not in optional]:
                flat["required"] = required
        return flat

    flat: dict[str, Any] = walk(schema, tool, ())
    return flat


def _nullable(node: Mapping[str, Any]) -> bool:
    return {"type": "null"} in node.get("anyOf", ())


def _without_null(node: dict[str, Any], path: str) -> dict[str, Any]:
    """`X | None` becomes X: such a parameter need not be given, such a result field need not be sent."""
    if _nullable(node):
        branches = [branch for branch in node["anyOf"] if branch != {"type": "null"}]
        beside = {key: value for key, value in node.items() if key != "anyOf"}
        if beside.get("default", ...) is None:
            del beside["default"]
        if len(branches) == 1:
            node = branches[0] | beside
    if union := next((word for word in ("anyOf", "oneOf", "allOf") if word in node), None):
        raise SchemaError(f"{path}: {union} is not read by all clients, use one type")
    return node
