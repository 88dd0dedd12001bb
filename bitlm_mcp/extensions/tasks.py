"""The tasks extension (io.modelcontextprotocol/tasks, SEP-2663): calls that outlive their request.

A client of the modern era that declares the extension gets the result of a tool at once where it is quick, else a task that
it polls with tasks/get, answers with tasks/update and stops with tasks/cancel. Inside a task a tool waits as long as its work
takes (`tools.waiting`).

A call that makes a recorded job becomes a task of the same id: what is known of it comes from the job, so it outlives this
process and can be asked for at any server of the state directory. Other tasks live in memory, for their time to live, and end
with this process; how they stand is recorded, so that they can be followed and stopped, but not answered, at any server too.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mcp.server.connection import Connection
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver.server import require_client_extension
from mcp.server.session import ServerSession
from mcp.shared.exceptions import MCPError
from mcp_types import HEADER_MISMATCH, INVALID_PARAMS, CallToolRequestParams, InputResponses, RequestParams
from pydantic import TypeAdapter

from bitlm_core import BitLMError
from bitlm_mcp.extensions.running_task import POLL_MS, RunningTask, TaskDispatch, moment
from bitlm_mcp.tools.waiting import in_task

log = logging.getLogger("bitlm.tasks")

IDENTIFIER = "io.modelcontextprotocol/tasks"
MODERN = frozenset({"2026-07-28"})
MAX_TASKS = 10_000
LOOK_EVERY_S = 0.5

_RESPONSES: TypeAdapter[InputResponses] = TypeAdapter(InputResponses)


@dataclass(frozen=True)
class TaskPolicy:
    """How a tool takes part.

    quick_s: the time in which a result is returned at once instead of a task. makes_job: its call makes a recorded job, whose
    id the task takes. required: clients without the extension are refused. asks_first: while nothing was answered yet, the
    tool is called as usual, because it only asks for input then.
    """

    quick_s: float = 0.0
    makes_job: bool = False
    required: bool = False
    asks_first: bool = False


@dataclass(frozen=True)
class DurableTasks:
    """What outlives a process: how a task looks on the wire (None: there is none), how it is stopped wherever it runs, how one
    of this process is recorded, and which of those are to stop. All of it may wait for the disk.
    """

    wire: Callable[[str], dict[str, Any] | None]
    cancel: Callable[[str], None]
    keep: Callable[[dict[str, Any]], None]
    to_stop: Callable[[], frozenset[str]]


class TaskParams(RequestParams):
    """Which task."""

    task_id: str


class TaskUpdateParams(TaskParams):
    """Answers to what a task asked for, by key."""

    input_responses: dict[str, Any]


class Tasks(Extension):
    """The extension for the tools in `policies`."""

    identifier = IDENTIFIER

    def __init__(self, policies: Mapping[str, TaskPolicy], durable: DurableTasks, ttl_ms: int = 3_600_000) -> None:
        self._policies = dict(policies)
        self._durable = durable
        self._ttl_ms = ttl_ms
        self._tasks: dict[str, RunningTask] = {}
        self._of_jobs: set[RunningTask] = set()
        """Held until they are over: the event loop itself would let them go."""
        self._unrecorded: set[RunningTask] = set()
        """Whose end is not recorded yet."""

    async def run(self) -> None:
        """For as long as the server lives: record tasks that have ended, and stop those that another server was asked to."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self._of_jobs = {task for task in self._of_jobs if not task.over}
            try:
                for task in [task for task in self._unrecorded if task.over]:
                    await asyncio.to_thread(self._durable.keep, task.wire(detail=True))
                    self._unrecorded.discard(task)
                to_stop = await asyncio.to_thread(self._durable.to_stop) if self._unrecorded else ()
            except BitLMError as error:
                log.warning("how tasks stand is not recorded: %s", error.message)
                continue
            for task in self._unrecorded:
                if task.task_id in to_stop:
                    task.cancel()

    def add_policies(self, policies: Mapping[str, TaskPolicy]) -> None:
        """Let further tools take part."""
        self._policies |= policies

    def methods(self) -> Sequence[MethodBinding]:
        """tasks/get, tasks/update, tasks/cancel."""
        return [
            MethodBinding("tasks/get", TaskParams, self._get, MODERN),
            MethodBinding("tasks/update", TaskUpdateParams, self._update, MODERN),
            MethodBinding("tasks/cancel", TaskParams, self._cancel, MODERN),
        ]

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Run a call in the background where the client can follow it there."""
        policy = self._policies.get(params.name)
        if policy is None or not _declared(ctx):
            if policy is not None and policy.required:
                require_client_extension(ctx, IDENTIFIER)
            return await call_next(ctx)
        self._forget_old()
        if (policy.asks_first and not params.input_responses) or len(self._tasks) >= MAX_TASKS:
            return await call_next(ctx)
        task = RunningTask(self._ttl_ms)
        detached = _detached(ctx, task)

        async def call() -> HandlerResult:
            in_task.set(task.announce)
            return await call_next(detached)

        task.start(call, params)
        await task.settle(policy.quick_s, named=policy.makes_job)
        if task.over and not task.cancelled:
            return task.result_or_raise()
        if policy.makes_job and not task.over:
            self._of_jobs.add(task)
        else:
            self._tasks[task.task_id] = task
            try:
                await asyncio.to_thread(self._durable.keep, task.wire(detail=True))
            except BitLMError as error:  # this server knows it
                log.warning("a task is not recorded yet: %s", error.message)
            self._unrecorded.add(task)  # not before: its end must come after this in the record
        return {"resultType": "task", **task.wire(detail=False)}

    async def _get(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> dict[str, Any]:
        _check(ctx, params)
        task = self._tasks.get(params.task_id)
        wire = task.wire(detail=True) if task else await asyncio.to_thread(self._durable.wire, params.task_id)
        if wire is None:
            raise _unknown(params)
        return {"resultType": "complete", **wire}

    async def _update(self, ctx: ServerRequestContext[Any, Any], params: TaskUpdateParams) -> dict[str, Any]:
        _check(ctx, params)
        task = self._tasks.get(params.task_id)
        if task is not None:
            asked = {key: value for key, value in params.input_responses.items() if task.asks(key)}
            task.answer(_RESPONSES.validate_python(asked) or {})
        elif await asyncio.to_thread(self._durable.wire, params.task_id) is None:
            raise _unknown(params)
        return {"resultType": "complete"}

    async def _cancel(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> dict[str, Any]:
        _check(ctx, params)
        task = self._tasks.get(params.task_id)
        if task is not None:
            task.cancel()
        elif await asyncio.to_thread(self._durable.wire, params.task_id) is None:
            raise _unknown(params)
        else:
            await asyncio.to_thread(self._durable.cancel, params.task_id)
        return {"resultType": "complete"}

    def _forget_old(self) -> None:
        now = time.monotonic()
        for task_id in [task_id for task_id, task in self._tasks.items() if task.expired(now)]:
            del self._tasks[task_id]


def durable_wire(task_id: str, status: str, *, created: float, changed: float, message: str | None) -> dict[str, Any]:
    """What every task of a job has on the wire; times in UNIX seconds."""
    wire = {
        "taskId": task_id,
        "status": status,
        "createdAt": moment(created),
        "lastUpdatedAt": moment(changed),
        "ttlMs": None,
        "pollIntervalMs": POLL_MS,
    }
    return wire | ({"statusMessage": message} if message else {})


def _declared(ctx: ServerRequestContext[Any, Any]) -> bool:
    capabilities = ctx.session.client_capabilities
    extensions = capabilities.extensions if capabilities else None
    return ctx.protocol_version in MODERN and bool(extensions) and IDENTIFIER in (extensions or {})


def _detached(ctx: ServerRequestContext[Any, Any], task: RunningTask) -> ServerRequestContext[Any, Any]:
    """The context of a call that outlives its request: progress goes to the task, and nothing else can be sent."""
    connection = Connection.from_envelope(ctx.protocol_version, None, None)
    connection.client_capabilities = ctx.session.client_capabilities
    session = ServerSession(TaskDispatch(task), connection)
    return dataclasses.replace(ctx, session=session, request_id=task.task_id, request=None)


def _check(ctx: ServerRequestContext[Any, Any], params: TaskParams) -> None:
    require_client_extension(ctx, IDENTIFIER)
    headers = getattr(ctx.request, "headers", None)
    if headers is not None and headers.get("mcp-name") not in (None, params.task_id):
        raise MCPError(HEADER_MISMATCH, "the header Mcp-Name does not match the body's taskId")


def _unknown(params: TaskParams) -> MCPError:
    return MCPError(INVALID_PARAMS, f"there is no task {params.task_id[:80]!r}: it never was, or its time to live is over")
