"""Calls made up from the tools' own schemas, valid and broken, by the thousand: refused or done, and never anything else.

No crash and no internal error, no state changed by a call that was refused or that only reads, no stack trace to the client,
and no file outside the allowed folders opened.
"""

from __future__ import annotations

import base64
import logging
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio.from_thread
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from mcp import Client
from mcp_types import CallToolResult, TextContent, Tool

from bitlm_core import device
from bitlm_core.compression.container import Header, pack
from bitlm_mcp import assembly
from bitlm_mcp.operations.reading import cancel
from bitlm_mcp.schemas import build_tool
from bitlm_mcp.settings import ServerSettings
from bitlm_mcp.workspace import Workspace


def offered() -> list[dict[str, Any]]:
    """The tools with every bound that their arguments are checked by, which is more than the list tells."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(ServerSettings(state_dir=Path(folder)))
        specs = assembly.offered_tools(workspace)
        workspace.close()
    return [{"name": spec.tool_name, "inputSchema": build_tool(spec).checked} for spec in specs]


TOOLS = offered()
PARTS, CALLS_PER_EXAMPLE = 2, 25
FREE_BYTES = 256 << 20
"""The memory that the server finds free: enough for tiny models, and larger ones are refused without costing minutes."""

COSTLY = frozenset({"max_new_bytes", "num_bytes", "wait_s"})
"""Their largest values are valid, but take long."""
UNTRIED = frozenset({"compile", "nproc"})
"""They take half a minute, and write where compilers write, or start processes."""

NAMES = ["default", "default", "m", "d", "none"]
SOURCES = {"path", "text", "data_base64", "dataset_id", "prompt", "prompt_base64", "prompt_bits"}
"""Of these parameters a call takes one."""
PACKED = pack(Header("stored", 3, zlib.crc32(b"abc"), "whole", None, (3,)), [b"abc"])
JOB, OUTPUT = "the latest job", "the latest job with an output"
PATHS = ["data.txt", "folder", "folder/../data.txt", "../secret.txt", "link", "linked/secret.txt", "/etc/passwd", "~", "."]
PATHS += ["x" * 300, "data.txt/", "folder/none", "%2e%2e/secret.txt", "file:///etc/passwd", "//host/share", "a\0b"]
PATHS += ["/proc/self/environ", "\ud800"]
NASTY = ["../x", "a/b", "A", ".hidden", "a\n", "\0", "%s%n", "'; DROP TABLE jobs; --", "\u202e"]
TINY = {"preset": "tiny", "d_model": 32, "nhead": 1, "num_layers": 1, "max_seq_len": 64, "context_mixing": False}
KNOWN: dict[str, list[Any]] = {
    "model_id": NAMES,
    "dataset_id": NAMES,
    "name": NAMES,
    "job_id": [JOB, OUTPUT, "job-none"],
    "resume_job": [JOB, "job-none"],
    "path": PATHS,
    "records": ["lines", "whole", "fixed:1", "fixed:7", "pcap", "line"],
    "text": ["some text to learn " * 4, "a", ""],
    "prompt": ["the quick", "ü", ""],
    "prompt_bits": ["011000010", "011000011", "0110", "2"],
    "data_base64": [base64.b64encode(PACKED).decode()] * 5 + [base64.b64encode(bytes(range(256))).decode(), "AA==", "AA", "*"],
    "prompt_base64": ["AAEC", "AA", ""],
    "wait_s": [0, 0.01, 0.2],
    "places": [["0:1"], ["2:1", "4:2"], ["1:1", "1:2"], ["x"]],
    "template": ["a_b", "The ____ of", "none"],
    "template_base64": ["X19f", "AA=="],
    "idempotency_key": ["one", "two"],
} | {name: [value] for name, value in TINY.items() if name != "context_mixing"}
LIKELY: dict[str, dict[str, Any]] = {
    "init_model": TINY | {"overwrite": True},
    "load_checkpoint": {"name": "m", "overwrite": True},
    "save_checkpoint": {"overwrite": True},
    "train_step": {"text": "some text to learn " * 4, "steps": 1},
    "compress": {"text": "again and again"},
    "decompress": {"data_base64": base64.b64encode(PACKED).decode()},
    "infer": {"prompt": "the quick", "max_new_bytes": 3},
    "repair": {"places": ["3:1"], "text": "a text with a letter wrung"},
}
PERSONAL = {"approve_sample done"}
"""Takes an output that was withheld, see test_safety.py."""
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


def fitting(name: str, schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that the schema of a parameter allows; most of them also make sense."""
    kind = schema["type"]
    if kind == "array":
        return st.sampled_from(KNOWN[name])
    if "enum" in schema:
        values: st.SearchStrategy[Any] = st.sampled_from(schema["enum"])
    elif kind == "boolean":
        values = st.booleans()
    elif kind == "integer":
        low, high = schema["minimum"], schema.get("maximum", 2**53)
        values = st.integers(low, min(high, low + 20))
        values = values if name in COSTLY else st.one_of(values, values, st.just(high))
    elif kind == "number":
        low, open_low = schema.get("minimum", schema.get("exclusiveMinimum")), "exclusiveMinimum" in schema
        high, open_high = schema.get("maximum", schema.get("exclusiveMaximum")), "exclusiveMaximum" in schema
        within = st.floats(low, min(high, low + 1), exclude_min=open_low, exclude_max=open_high)
        values = within if name in COSTLY or open_high else st.one_of(within, within, st.just(high))
    elif "pattern" in schema:
        values = st.from_regex(schema["pattern"].replace("$", r"\Z"), fullmatch=True)
    else:
        values = st.text(min_size=schema.get("minLength", 0), max_size=min(schema["maxLength"], 50))
    return st.one_of(st.sampled_from(KNOWN[name]), st.sampled_from(KNOWN[name]), values) if name in KNOWN else values


def broken(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that the schema of a parameter forbids, or nearly."""
    choices: list[st.SearchStrategy[Any]] = [ANYTHING]
    for bound, beyond in (("minimum", -1), ("maximum", 1), ("exclusiveMinimum", 0)):
        if bound in schema:
            choices += [st.just(schema[bound] + beyond), st.just(schema[bound] + beyond * 1e300)]
    if "maxLength" in schema:
        choices.append(st.just("x" * min(schema["maxLength"] + 1, 100_000)))
    if schema["type"] == "string":
        choices.append(st.sampled_from(NASTY))
    return st.one_of(choices)


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A tool and arguments, of which most fit."""
    tool = draw(st.sampled_from(TOOLS))
    schema, chance = tool["inputSchema"], st.integers(0, 99)
    parameters = {name: about for name, about in schema["properties"].items() if name not in UNTRIED}
    required = set(schema.get("required", ()))
    optional = min(20, 200 // len(parameters)) if parameters else 0  # percent; of many, few: or hardly any call would fit
    chosen = {name for name in parameters if name == "wait_s" or draw(chance) < (97 if name in required else optional)}
    if (sources := sorted(SOURCES & parameters.keys() - required)) and draw(chance) < 80:
        chosen = chosen - set(sources) | {draw(st.sampled_from(sources))}
    arguments = {}
    for name in sorted(chosen):
        arguments[name] = draw(broken(parameters[name]) if draw(chance) < 10 else fitting(name, parameters[name]))
    if draw(chance) < 60:
        likely = LIKELY.get(tool["name"], {})
        kept = {name: value for name, value in arguments.items() if name not in SOURCES or not SOURCES & likely.keys()}
        arguments = likely | kept
    if draw(chance) < 12:
        arguments[draw(st.text(max_size=10))] = draw(ANYTHING)
    return tool["name"], arguments


class Opened:
    """The files that this process opens while it is watched, by any thread."""

    def __init__(self) -> None:
        self.watching = False
        self.paths: set[tuple[str, bool]] = set()
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.watching and event == "open" and isinstance(arguments[0], (str, bytes)):
            path, mode = arguments[0], arguments[1] or ""
            self.paths.add((path if isinstance(path, str) else path.decode(errors="replace"), any(c in mode for c in "wax+")))


class Faults(logging.Handler):
    """What a server logs when something of its own has gone wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or record.exc_info:
            self.found.append(self.format(record))


class Tried:
    """A server with some of everything, the client that calls it, and what it must never do."""

    def __init__(self, root: Path, stack: ExitStack, patch: pytest.MonkeyPatch) -> None:
        self.root, self.state, self.roots = root, root / "state", root / "roots"
        (self.roots / "folder").mkdir(parents=True)
        for path in (self.roots / "data.txt", self.roots / "folder" / "more.txt", root / "secret.txt"):
            path.write_text("some data " * 20)
        (self.roots / "link").symlink_to(root / "secret.txt")
        (self.roots / "linked").symlink_to(root)
        given = ServerSettings(state_dir=self.state, allow_dirs=(self.roots,), threads=1, calls_per_second=1e6)
        given = given.model_copy(update={"max_wait_s": 5.0})
        self.workspace = Workspace(given)
        patch.setattr(assembly, "Workspace", lambda _: self.workspace)
        parts = assembly.assemble(given)
        stack.callback(parts.on_stop)
        portal = stack.enter_context(anyio.from_thread.start_blocking_portal())
        client = stack.enter_context(portal.wrap_async_context_manager(Client(parts.server)))
        self._call: Callable[..., CallToolResult] = lambda tool, arguments: portal.call(client.call_tool, tool, arguments)
        self.read_only = {tool.name for tool in portal.call(client.list_tools).tools if read_only(tool)}
        self.opened, self.faults = Opened(), Faults()
        logging.getLogger().addHandler(self.faults)
        stack.callback(logging.getLogger().removeHandler, self.faults)
        self.latest_job = self.latest_output = "job-none"
        self._call("init_model", {"model_id": "warm", **TINY})
        self.settle()
        self.counts: Counter[str] = Counter()

    def prepare(self) -> None:
        """What calls may refer to, where an earlier one has removed it; and not ever more beside it."""
        snapshot = self.workspace.snapshot
        for kind in ("model", "dataset", "checkpoint"):
            for name in getattr(snapshot, f"{kind}s").keys() - set(NAMES):
                self._made("delete", {"kind": kind, "name": name})
        for name in ("default", "d"):
            if name not in self.workspace.snapshot.datasets:
                self._made("add_dataset", {"dataset_id": name, "text": "a text to learn " * 20})
        for name in ("default", "m"):
            if name not in self.workspace.snapshot.models:
                self._made("init_model", {"model_id": name, **TINY})
        if "m" not in snapshot.checkpoints:
            self._made("save_checkpoint", {"name": "m"})
        if self.latest_output == "job-none":
            self.latest_output = self._made("infer_long", {"dataset_id": "d"})["job_id"]
        self.settle()

    def _made(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        answer = self._call(tool, arguments)
        assert not answer.is_error and answer.structured_content, answer.content
        return answer.structured_content

    def try_call(self, tool: str, arguments: dict[str, Any]) -> None:
        """Make one call, and look at everything it may have done."""
        known = {JOB: self.latest_job, OUTPUT: self.latest_output}
        arguments = {name: known.get(value, value) if isinstance(value, str) else value for name, value in arguments.items()}
        before = self.kept()
        self.opened.watching = True
        answer = self._call(tool, arguments)
        self.settle()
        self.opened.watching = False
        text = " ".join(part.text for part in answer.content if isinstance(part, TextContent))
        assert text and "Error executing tool" not in text and "Traceback" not in text and 'File "' not in text, text
        assert len(text) < 200_000 and str(self.root / "secret") not in text, text[:500]
        if answer.is_error or tool in self.read_only:
            changed = [(was, now) for was, now in zip(before, self.kept(), strict=True) if was != now]
            assert not changed, f"{tool}({arguments}) has changed something: {changed}, though it said {text}"
        self.latest_job = (answer.structured_content or {}).get("job_id", self.latest_job)
        if tool == "infer_long" and (answer.structured_content or {}).get("status") == "completed":
            self.latest_output = self.latest_job
        self.counts[f"{tool} {'refused' if answer.is_error else 'done'}"] += 1
        assert not self.faults.found, self.faults.found
        self.check_opened()

    def kept(self) -> list[Any]:
        """All that must survive: models, checkpoints and datasets, as the snapshot and as the disk have them."""
        snapshot = self.workspace.snapshot
        files = [
            (str(path), path.stat().st_size, path.stat().st_mtime_ns)
            for kind in ("models", "checkpoints", "datasets")
            for path in sorted((self.state / kind).glob("**/*"))
            if path.is_file()
        ]
        return [snapshot.models, snapshot.checkpoints, snapshot.datasets, files]

    def settle(self) -> None:
        """Nothing goes on in the background from one call to the next."""
        deadline = time.monotonic() + 60
        for job in self.workspace.runner.unfinished():
            cancel(self.workspace, job.job_id)
        while any(not job.over for job in list(self.workspace.runner._jobs.values())):
            assert time.monotonic() < deadline, "a job that was cancelled does not end"
            threading.Event().wait(0.002)

    def check_opened(self) -> None:
        """Written is only below the state directory; read is that, the allowed folders, and Python with its libraries."""
        ours = (str(self.state), str(self.roots))
        for path, written in self.opened.paths:
            inside = path.startswith(ours[:1]) if written else path.startswith(ours)
            system = path.startswith(("/proc/", "/sys/", "/dev/")) or (sys.prefix in path and "/lib/" in path)
            own = str(Path(device.__file__).parents[1]) in path or path.startswith("bitlm_core/kernels/")  # numba's: relative
            cached = "__pycache__" in path or (own and not written)
            assert inside or cached or (system and not written), (path, written)
            assert "/etc/passwd" not in path and "environ" not in path, path
        self.opened.paths.clear()


def read_only(tool: Tool) -> bool:
    return bool(tool.annotations and tool.annotations.read_only_hint)


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tried]:
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "free_memory_bytes", lambda: FREE_BYTES)
        yield Tried(tmp_path_factory.mktemp("properties"), stack, patch)


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@pytest.mark.parametrize("part", range(PARTS))
def test_calls_are_done_or_refused_and_nothing_else(tried: Tried, request: pytest.FixtureRequest, part: int) -> None:
    number: int = request.config.getoption("--calls") // PARTS

    @seed(part)
    @settings(
        max_examples=number // CALLS_PER_EXAMPLE,
        phases=[Phase.generate],  # the server remembers, so a shorter sequence would be another one
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(calls(), min_size=CALLS_PER_EXAMPLE, max_size=CALLS_PER_EXAMPLE))
    def made_up(sequence: list[tuple[str, dict[str, Any]]]) -> None:
        tried.prepare()
        for tool, arguments in sequence:
            tried.try_call(tool, arguments)

    tried.counts.clear()
    tried.prepare()
    for tool in TOOLS:
        tried.try_call(tool["name"], {"no such argument": 1})
    for name, arguments in LIKELY.items():
        tried.try_call(name, arguments)
    made_up()
    assert sum(tried.counts.values()) >= number
    names = {tool["name"] for tool in TOOLS}
    never = {f"{name} {how}" for name in names for how in ("done", "refused")} - set(tried.counts) - PERSONAL
    assert not never, f"the made-up calls show nothing of: {never}"
