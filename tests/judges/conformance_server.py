"""The real server with the fixtures that the conformance suite asks for beside its own tools, resources and prompts.

    conformance_server.py STATE_DIR PORT

What is tested is our application: its transports, guard, middleware and extensions. The fixtures are toys.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import anyio
from mcp.server import MCPServer
from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    AudioContent,
    CallToolResult,
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    EmbeddedResource,
    EmptyResult,
    ImageContent,
    InputRequiredResult,
    ListRootsRequest,
    SamplingMessage,
    SetLevelRequestParams,
    TextContent,
    TextResourceContents,
)
from mcp_types import GetPromptResult as PromptResult
from pydantic import BaseModel, Field

from bitlm_mcp.app import build_app
from bitlm_mcp.assembly import assemble
from bitlm_mcp.extensions.tasks import TaskPolicy, Tasks
from bitlm_mcp.server_internals import low_level
from bitlm_mcp.settings import ServerSettings
from bitlm_mcp.transports import run_http

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAgD4AAAB9AAACABAAZGF0YQAAAAA="


def text(value: str) -> list[TextContent]:
    return [TextContent(type="text", text=value)]


def elicit(message: str, **properties: dict[str, Any]) -> ElicitRequest:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def sample(prompt: str, max_tokens: int) -> CreateMessageRequest:
    message = SamplingMessage(role="user", content=TextContent(type="text", text=prompt))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=max_tokens))


def answered(ctx: Context[Any, Any], key: str) -> Any:
    """The response of that key, if it is one that can be used; None asks again."""
    response = (ctx.input_responses or {}).get(key)
    return response.model_dump(by_alias=True) if isinstance(response, BaseModel) else response


def add_content_tools(server: MCPServer[Any]) -> None:
    """Tools that return every kind of content."""

    @server.tool(structured_output=False)
    async def test_simple_text() -> str:
        """Return a simple text."""
        return "This is a simple text response for testing."

    @server.tool(structured_output=False)
    async def test_image_content() -> ImageContent:
        """Return an image."""
        return ImageContent(type="image", data=PNG, mime_type="image/png")

    @server.tool(structured_output=False)
    async def test_audio_content() -> AudioContent:
        """Return a sound."""
        return AudioContent(type="audio", data=WAV, mime_type="audio/wav")

    @server.tool(structured_output=False)
    async def test_embedded_resource() -> EmbeddedResource:
        """Return a resource."""
        content = TextResourceContents(
            uri="test://embedded-resource", mime_type="text/plain", text="This is an embedded resource content."
        )
        return EmbeddedResource(type="resource", resource=content)

    @server.tool(structured_output=False)
    async def test_multiple_content_types() -> list[TextContent | ImageContent | EmbeddedResource]:
        """Return a text, an image and a resource."""
        content = TextResourceContents(
            uri="test://mixed-content-resource", mime_type="application/json", text='{"test":"data","value":123}'
        )
        return [
            TextContent(type="text", text="Multiple content types test:"),
            ImageContent(type="image", data=PNG, mime_type="image/png"),
            EmbeddedResource(type="resource", resource=content),
        ]

    @server.tool(structured_output=False)
    async def test_error_handling() -> str:
        """Fail on purpose."""
        raise ToolError("This tool intentionally returns an error for testing")


def add_talking_tools(server: MCPServer[Any]) -> None:
    """Tools that log, report progress, and ask the client."""

    async def set_level(_ctx: ServerRequestContext[Any, Any], _params: SetLevelRequestParams) -> EmptyResult:
        return EmptyResult()

    # The app itself logs on stderr alone: the protocol has deprecated logging to clients (SEP-2577).
    low_level(server).add_request_handler("logging/setLevel", SetLevelRequestParams, set_level)

    @server.tool(structured_output=False)
    async def test_tool_with_logging(ctx: Context[Any, Any]) -> str:
        """Log three times."""
        for line in ("Tool execution started", "Tool processing data", "Tool execution completed"):
            await ctx.info(line)
            await anyio.sleep(0.05)
        return "logged"

    @server.tool(structured_output=False)
    async def test_logging_tool(ctx: Context[Any, Any]) -> str:
        """Log once, where the client wants it."""
        await ctx.info("a log line")
        return "logged"

    @server.tool(structured_output=False)
    async def test_tool_with_progress(ctx: Context[Any, Any]) -> str:
        """Report progress three times."""
        for share in (0, 50, 100):
            await ctx.report_progress(share, 100)
            await anyio.sleep(0.05)
        return "done"

    @server.tool(structured_output=False)
    async def test_sampling(prompt: str, ctx: Context[Any, Any]) -> str:
        """Ask the client's model."""
        message = SamplingMessage(role="user", content=TextContent(type="text", text=prompt))
        found = await ctx.session.create_message([message], max_tokens=100)
        return f"LLM response: {getattr(found.content, 'text', '')}"

    @server.tool(structured_output=False)
    async def test_elicitation(message: str, ctx: Context[Any, Any]) -> str:
        """Ask the user."""
        schema = {
            "type": "object",
            "properties": {
                "username": {"type": "string", "description": "User's response"},
                "email": {"type": "string", "description": "User's email address"},
            },
            "required": ["username", "email"],
        }
        found = await ctx.session.elicit_form(message, schema)
        return f"User response: action={found.action}, content={json.dumps(found.content)}"

    @server.tool(structured_output=False)
    async def test_elicitation_sep1034_defaults(ctx: Context[Any, Any]) -> str:
        """Ask the user with defaults of every kind."""
        properties = {
            "name": {"type": "string", "default": "John Doe"},
            "age": {"type": "integer", "default": 30},
            "score": {"type": "number", "default": 95.5},
            "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
            "verified": {"type": "boolean", "default": True},
        }
        found = await ctx.session.elicit_form("Please check", {"type": "object", "properties": properties})
        return f"Elicitation completed: action={found.action}, content={json.dumps(found.content)}"

    @server.tool(structured_output=False)
    async def test_elicitation_sep1330_enums(ctx: Context[Any, Any]) -> str:
        """Ask the user with enums of every kind."""
        plain = ["option1", "option2", "option3"]
        titled = [{"const": f"value{i}", "title": f"{word} Option"} for i, word in enumerate(("First", "Second", "Third"), 1)]
        properties = {
            "untitledSingle": {"type": "string", "enum": plain},
            "titledSingle": {"type": "string", "oneOf": titled},
            "legacyEnum": {
                "type": "string",
                "enum": ["opt1", "opt2", "opt3"],
                "enumNames": ["Option One", "Option Two", "Option Three"],
            },
            "untitledMulti": {"type": "array", "items": {"type": "string", "enum": plain}},
            "titledMulti": {"type": "array", "items": {"anyOf": titled}},
        }
        found = await ctx.session.elicit_form("Please choose", {"type": "object", "properties": properties})
        return f"Elicitation completed: action={found.action}, content={json.dumps(found.content)}"

    @server.tool(structured_output=False)
    async def test_reconnection(ctx: Context[Any, Any]) -> str:
        """Close the stream in the middle of the call; the rest comes after a reconnection."""
        await ctx.close_sse_stream()
        await anyio.sleep(0.2)
        return "Reconnection test completed successfully"

    @server.tool(structured_output=False)
    async def test_trigger_tool_change(ctx: Context[Any, Any]) -> str:
        """Announce that the tools have changed."""
        await ctx.notify_tools_changed()
        return "announced"

    @server.tool(structured_output=False)
    async def test_trigger_prompt_change(ctx: Context[Any, Any]) -> str:
        """Announce that the prompts have changed."""
        await ctx.notify_prompts_changed()
        return "announced"


def add_asking_tools(server: MCPServer[Any]) -> None:
    """Tools of the modern era that ask for input and are called again with the answers."""
    name = {"type": "string"}

    @server.tool(structured_output=False)
    async def test_input_required_result_elicitation(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        """Ask for a name."""
        found = answered(ctx, "user_name")
        content = (found or {}).get("content") if isinstance(found, dict) else None
        if not isinstance(content, dict) or not isinstance(content.get("name"), str):
            return InputRequiredResult(input_requests={"user_name": elicit("What is your name?", name=name)})
        return CallToolResult(content=text(f"Hello, {content['name']}!"))

    @server.tool(structured_output=False)
    async def test_input_required_result_sampling(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        """Ask the client's model for a capital."""
        found = answered(ctx, "capital_question")
        if found is None:
            return InputRequiredResult(input_requests={"capital_question": sample("What is the capital of France?", 100)})
        return CallToolResult(content=text(json.dumps(found, default=str)))

    @server.tool(structured_output=False)
    async def test_input_required_result_list_roots(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        """Ask for the client's roots."""
        found = answered(ctx, "client_roots")
        if found is None:
            return InputRequiredResult(input_requests={"client_roots": ListRootsRequest()})
        return CallToolResult(content=text(json.dumps(found, default=str)))

    @server.tool(structured_output=False)
    async def test_input_required_result_request_state(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        """Ask, and have a state echoed."""
        if answered(ctx, "confirm") is None or ctx.request_state != "waiting":
            ask = elicit("Please confirm", ok={"type": "boolean"})
            return InputRequiredResult(input_requests={"confirm": ask}, request_state="waiting")
        return CallToolResult(content=text("state-ok"))

    @server.tool(structured_output=False)
    async def test_input_required_result_tampered_state(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        """As above; the SDK seals the state, and refuses one that was changed."""
        return await test_input_required_result_request_state(ctx)

    @server.tool(structured_output=False)
    async def test_input_required_result_multiple_inputs(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        """Ask three things at once."""
        keys = ("user_name", "greeting", "client_roots")
        if any(answered(ctx, key) is None for key in keys):
            return InputRequiredResult(
                input_requests={
                    "user_name": elicit("What is your name?", name=name),
                    "greeting": sample("Generate a greeting", 50),
                    "client_roots": ListRootsRequest(),
                },
                request_state="three",
            )
        return CallToolResult(content=text("all answered"))

    @server.tool(structured_output=False)
    async def test_input_required_result_multi_round(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        """Ask twice, one after the other."""
        if ctx.request_state == "second" and answered(ctx, "step2") is not None:
            return CallToolResult(content=text("both steps done"))
        if ctx.request_state == "first" and answered(ctx, "step1") is not None:
            ask = elicit("Step 2: What is your favorite color?", color={"type": "string"})
            return InputRequiredResult(input_requests={"step2": ask}, request_state="second")
        return InputRequiredResult(
            input_requests={"step1": elicit("Step 1: What is your name?", name=name)}, request_state="first"
        )

    @server.tool(structured_output=False)
    async def test_input_required_result_capabilities(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        """Ask only for what the client can do."""
        able = ctx.client_capabilities
        requests: dict[str, Any] = {}
        if able and able.sampling is not None:
            requests["sampled"] = sample("Say hello", 20)
        if able and able.elicitation is not None:
            requests["elicited"] = elicit("Say hello", name=name)
        if not requests or all(answered(ctx, key) is not None for key in requests):
            return CallToolResult(content=text("nothing to ask"))
        return InputRequiredResult(input_requests=requests)

    @server.tool(structured_output=False)
    async def test_streaming_elicitation(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        """Report progress, then ask."""
        await ctx.report_progress(1, 2)
        return await test_input_required_result_elicitation(ctx)

    @server.tool(structured_output=False)
    async def test_missing_capability(ctx: Context[Any, Any]) -> CallToolResult:
        """Need sampling, which the client has to declare."""
        able = ctx.client_capabilities
        if able is None or able.sampling is None:
            raise MCPError(-32021, "the client has not declared sampling", {"requiredCapabilities": {"sampling": {}}})
        return CallToolResult(content=text("sampling is declared"))

    @server.prompt()
    async def test_input_required_result_prompt(ctx: Context[Any, Any]) -> PromptResult | InputRequiredResult:
        """Ask for context, then be a prompt."""
        found = answered(ctx, "user_context")
        if found is None:
            ask = elicit("What context should the prompt use?", context={"type": "string"})
            return InputRequiredResult(input_requests={"user_context": ask})
        message: dict[str, Any] = {"role": "user", "content": {"type": "text", "text": json.dumps(found, default=str)}}
        return PromptResult.model_validate({"messages": [message]})


def add_schema_tools(server: MCPServer[Any]) -> None:
    """Tools whose schemas matter: one with many keywords, one whose argument is mirrored in a header."""

    @server.tool(structured_output=False)
    async def json_schema_2020_12_tool(contactMethod: str = "phone") -> str:
        """Tool with JSON Schema 2020-12 features."""
        return contactMethod

    contact = {"contactMethod": {"type": "string", "enum": ["phone", "email"]}}
    tool = server._tool_manager.get_tool("json_schema_2020_12_tool")
    assert tool is not None
    tool.parameters = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
            }
        },
        "properties": {
            **contact,
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": False,
    }

    @server.tool(structured_output=False)
    async def test_headers(region: str = Field(json_schema_extra={"x-mcp-header": "Region"})) -> str:
        """Return an argument that a header mirrors."""
        return region


def add_resources_and_prompts(server: MCPServer[Any]) -> None:
    """Fixed resources, a template, and prompts of every kind."""

    @server.resource("test://static-text", name="static-text", description="A text.", mime_type="text/plain")
    async def static_text() -> str:
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", name="static-binary", description="A picture.", mime_type="image/png")
    async def static_binary() -> bytes:
        import base64

        return base64.b64decode(PNG)

    @server.resource("test://watched-resource", name="watched", description="One to subscribe to.", mime_type="text/plain")
    async def watched() -> str:
        return "watched"

    @server.resource("test://template/{id}/data", name="template", description="By id.", mime_type="application/json")
    async def template(id: str) -> str:
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})

    @server.prompt()
    async def test_simple_prompt() -> str:
        """A prompt without arguments."""
        return "This is a simple prompt for testing."

    @server.prompt()
    async def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        """A prompt with two arguments."""
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @server.prompt()
    async def test_prompt_with_embedded_resource(resourceUri: str) -> list[dict[str, Any]]:
        """A prompt with a resource in it."""
        content = {"uri": resourceUri, "mimeType": "text/plain", "text": "Embedded resource content for testing."}
        return [
            {"role": "user", "content": {"type": "resource", "resource": content}},
            {"role": "user", "content": {"type": "text", "text": "Please process the embedded resource above."}},
        ]

    @server.prompt()
    async def test_prompt_with_image() -> list[dict[str, Any]]:
        """A prompt with an image in it."""
        return [
            {"role": "user", "content": {"type": "image", "data": PNG, "mimeType": "image/png"}},
            {"role": "user", "content": {"type": "text", "text": "Please analyze the image above."}},
        ]


POLICIES = {
    "slow_compute": TaskPolicy(),
    "failing_job": TaskPolicy(required=True),
    "protocol_error_job": TaskPolicy(),
    "confirm_delete": TaskPolicy(),
    "multi_input": TaskPolicy(),
    "test_tool_with_task": TaskPolicy(required=True, asks_first=True),
}


def add_task_tools(server: MCPServer[Any], tasks: Tasks) -> None:
    """Tools that run as tasks."""
    tasks.add_policies(POLICIES)

    @server.tool(structured_output=False)
    async def greet(name: str = "world") -> str:
        """Greet, at once."""
        return f"Hello, {name}!"

    @server.tool(structured_output=False)
    async def slow_compute(seconds: float = 1.0) -> str:
        """Sleep, then answer."""
        await anyio.sleep(seconds)
        return f"computed for {seconds:g} s"

    @server.tool(structured_output=False)
    async def failing_job() -> str:
        """Fail after a second."""
        await anyio.sleep(1)
        raise ToolError("this job always fails")

    @server.tool(structured_output=False)
    async def protocol_error_job() -> str:
        """Break the protocol, after the moment in which a call is answered at once."""
        await anyio.sleep(0.2)
        raise MCPError(INTERNAL_ERROR, "a protocol error on purpose")

    @server.tool(structured_output=False)
    async def confirm_delete(ctx: Context[Any, Any], filename: str = "a.txt") -> CallToolResult | InputRequiredResult:
        """Ask before deleting nothing."""
        if answered(ctx, "confirm") is None:
            return InputRequiredResult(input_requests={"confirm": elicit(f"Delete {filename}?", confirm={"type": "boolean"})})
        return CallToolResult(content=text(f"{filename}: {json.dumps(answered(ctx, 'confirm'), default=str)}"))

    @server.tool(structured_output=False)
    async def multi_input(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        """Ask two things at once."""
        asked = {key: elicit(f"Your {key}?", value={"type": "string"}) for key in ("name", "colour")}
        if any(answered(ctx, key) is None for key in asked):
            return InputRequiredResult(input_requests=asked)
        return CallToolResult(content=text(json.dumps({key: answered(ctx, key) for key in asked}, default=str)))

    @server.tool(structured_output=False)
    async def test_tool_with_task(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        """Ask, then work in the background with the answer."""
        found = answered(ctx, "user_name")
        if found is None:
            return InputRequiredResult(input_requests={"user_name": elicit("What is your name?", name={"type": "string"})})
        await anyio.sleep(0.2)
        return CallToolResult(content=text(f"Hello, {(found.get('content') or {}).get('name')}!"))


def main(state_dir: str, port: str) -> None:
    settings = ServerSettings(state_dir=Path(state_dir), port=int(port), calls_per_second=1e6)
    parts = assemble(settings)
    tasks = next(extension for extension in parts.server._extensions if isinstance(extension, Tasks))
    for add in (add_content_tools, add_talking_tools, add_asking_tools, add_schema_tools, add_resources_and_prompts):
        add(parts.server)
    add_task_tools(parts.server, tasks)
    app = build_app(parts.server, settings, parts.routes, parts.background)
    run_http(app, settings, on_stop=parts.on_stop)


if __name__ == "__main__":
    main(*sys.argv[1:])
