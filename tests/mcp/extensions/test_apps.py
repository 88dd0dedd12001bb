"""Pages in the chat: how tools are bound to them, what they are made of, and that nobody else notices."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.client import advertise
from mcp.server.apps import APP_MIME_TYPE, EXTENSION_ID

from bitlm_mcp.assembly import assemble, offered_tools
from bitlm_mcp.extensions.apps import PAGES, app_uri, apps
from bitlm_mcp.settings import ServerSettings
from tests.mcp.whole_server import connected, prepare
from tests.mcp.workspaces import Server, server

MAX_PAGE_BYTES = 60_000
ABLE = [advertise(EXTENSION_ID, {"mimeTypes": [APP_MIME_TYPE]})]

WAYS_OUT = ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "fetch(", "XMLHttpRequest", "@import"]


class Document(HTMLParser):
    """The elements of a page, and what is between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] == "script" and self.cdata_elem == "script":
            self.scripts[-1] += data


@pytest.mark.parametrize("tool", sorted(PAGES))
def test_a_page_is_one_small_file_that_asks_nobody_for_anything(tool: str) -> None:
    page = PAGES[tool].html()
    document = Document(page)
    assert page.startswith("<!doctype html>") and len(page.encode()) <= MAX_PAGE_BYTES
    tags = [tag for tag, _ in document.elements]
    assert tags.count("script") == 1 and tags.count("style") == 2 and not {"link", "img", "iframe", "base", "form"} & {*tags}
    assert not {"src", "href", "style"} & {name for _, given in document.elements for name in given}
    assert (document.scripts[0].rstrip().endswith("})();") and f'"{tool}"' in page) or tool == "show_training"
    # The name of SVG is no address that is fetched; everything else that looks like one would be.
    assert set(re.findall(r"https?://[^\s\"']+", page)) == {"http://www.w3.org/2000/svg"}
    assert not [word for word in WAYS_OUT if word in page]


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["legacy", "auto"])
@pytest.mark.parametrize("extensions", [[], ABLE], ids=["plain", "shows pages"])
async def test_every_client_gets_the_same_answer(mode: str, extensions: list[Any], tmp_path: Path) -> None:
    """A host that shows pages finds one; a host that does not reads the same as from get_telemetry."""
    async with connected(tmp_path, mode, extensions=extensions) as (client, _):
        await prepare(client)
        await client.call_tool("train_step", {"model_id": "m", "dataset_id": "data", "steps": 3, "batch_size": 2})
        shown = await client.call_tool("show_training", {"model_id": "m"})
        read = await client.call_tool("get_telemetry", {"model_id": "m"})
        assert shown.structured_content == read.structured_content and shown.content == read.content
        assert shown.structured_content is not None and shown.structured_content["history"]["step"] == [1, 2, 3]
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        uri = tools["show_training"].meta["ui"]["resourceUri"]  # type: ignore[index]
        assert tools["show_training"].meta == {"ui": {"resourceUri": uri}, "ui/resourceUri": uri}
        assert tools["get_telemetry"].meta is None
        (listed,) = [found for found in (await client.list_resources()).resources if found.uri == uri]
        (content,) = (await client.read_resource(uri)).contents
        domains = ("connectDomains", "resourceDomains", "frameDomains", "baseUriDomains")
        policy = {"csp": {name: [] for name in domains}, "prefersBorder": True}
        assert listed.mime_type == content.mime_type == APP_MIME_TYPE
        assert listed.meta == content.meta == {"ui": policy}
        assert content.text == PAGES["show_training"].html()  # type: ignore[union-attr]


@pytest.mark.anyio
async def test_a_model_that_there_is_not_is_an_error(tmp_path: Path) -> None:
    async with connected(tmp_path, "auto") as (client, _):
        refused = await client.call_tool("show_training", {"model_id": "none"})
        assert refused.is_error and "no model 'none'" in refused.content[0].text  # type: ignore[union-attr]


@pytest.fixture
def made(tmp_path: Path) -> Any:
    with server(tmp_path) as one:
        yield one


def test_only_tools_that_are_offered_bring_their_pages(tmp_path: Path, made: Server) -> None:
    tools = offered_tools(made.workspace)
    assert {spec.tool_name for spec in tools if spec.ui} == {tool for tool in PAGES if any(s.tool_name == tool for s in tools)}
    (extension,) = apps(tools)
    assert {found.resource.uri for found in extension.resources()} == {spec.ui for spec in tools if spec.ui}
    assert apps([spec for spec in tools if not spec.ui]) == []
    assert app_uri("infer") == ""


@pytest.mark.anyio
@pytest.mark.parametrize("toolset", ["telemetry", "data"])
async def test_without_their_tools_the_extension_is_not_advertised(tmp_path: Path, toolset: Any) -> None:
    parts = assemble(ServerSettings(state_dir=tmp_path, toolsets=(toolset,)))
    try:
        # The older era has no word for it: there, hosts go by what a tool says of itself.
        async with Client(parts.server, mode="auto") as client:
            assert client.server_capabilities is not None
            advertised = EXTENSION_ID in (client.server_capabilities.extensions or {})
            pages = [found.uri for found in (await client.list_resources()).resources if found.uri.startswith("ui:")]
            assert (advertised, pages) == ((True, [app_uri("show_training")]) if toolset == "telemetry" else (False, []))
    finally:
        parts.on_stop()
