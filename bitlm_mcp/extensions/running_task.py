"""One call that runs in the background: its state on the wire, its questions, and its end."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from mcp.server.context import HandlerResult
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, CallToolRequestParams, InputRequiredResult
from pydantic import BaseModel

from bitlm_mcp.silent_dispatch import SilentDispatch

POLL_MS = 1000


def moment(unix_s: float) -> str:
    """A time as the protocol writes it."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class RunningTask:
    """Used on the event loop alone."""

    def __init__(self, ttl_ms: int) -> None:
        self.task_id = secrets.token_urlsafe(24)
        self.over = False
        self.cancelled = False
        self.message: str | None = None
        self._told = False
        self._ttl_ms = ttl_ms
        self._created = self._changed = time.time()
        self._began = time.monotonic()
        self._result: dict[str, Any] | None = None
        self._error: MCPError | None = None
        self._questions: dict[str, Any] = {}
        self._answers: dict[str, Any] = {}
        self._answered = asyncio.Event()
        self._named = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None

    def start(self, call: Callable[[], Awaitable[HandlerResult]], params: CallToolRequestParams) -> None:
        """Run the call; when it asks for input it is made again with the answers in `params`."""
        self._runner = asyncio.create_task(self._run(call, params), name=f"task {self.task_id[:6]}")

    def announce(self, job_id: str) -> None:
        """The call has made a job: the task goes by its name, unless it was told under another already."""
        if not self._told:
            self.task_id = job_id
        self._named.set()

    async def settle(self, quick_s: float, *, named: bool) -> None:
        """Give the call a moment to end; with `named`, until it has made its job, however long that takes."""
        assert self._runner is not None  # noqa: S101 - it was started
        if named:
            naming = asyncio.create_task(self._named.wait())
            await asyncio.wait({self._runner, naming}, return_when=asyncio.FIRST_COMPLETED)
            naming.cancel()
        await asyncio.wait({self._runner}, timeout=quick_s)
        self._told = True

    def cancel(self) -> None:
        """Stop the call; one that is over stays as it is."""
        if self._runner is not None and not self.over:
            self._runner.cancel()

    def asks(self, key: str) -> bool:
        """Whether an answer of that key is waited for; all others are ignored, as SEP-2663 has it."""
        return key in self._questions

    def answer(self, answers: dict[str, Any]) -> None:
        """Take answers; the call goes on when all that was asked is answered."""
        for key, value in answers.items():
            if self._questions.pop(key, None) is not None:
                self._answers[key] = value
        if not self._questions:
            self._answered.set()

    def tell(self, message: str) -> None:
        """Take note of how far the call is."""
        self.message, self._changed = message, time.time()

    def expired(self, now: float) -> bool:
        """Whether it ended, and its time to live is over; `now` is monotonic."""
        return self.over and (now - self._began) * 1000 > self._ttl_ms

    def result_or_raise(self) -> HandlerResult:
        """What the call returned, or raise its error."""
        if self._error is not None:
            raise self._error
        return self._result

    def wire(self, *, detail: bool) -> dict[str, Any]:
        """The task as SEP-2663 has it; `detail`: with what came of it, or what it asks."""
        wire: dict[str, Any] = {
            "taskId": self.task_id,
            "status": self._status(),
            "createdAt": moment(self._created),
            "lastUpdatedAt": moment(self._changed),
            "ttlMs": self._ttl_ms,
            "pollIntervalMs": POLL_MS,
        }
        if self.message:
            wire["statusMessage"] = self.message
        if detail and self.over and not self.cancelled:
            wire |= {"error": self._error.error.model_dump(exclude_none=True)} if self._error else {"result": self._result}
        elif detail and self._questions:
            wire["inputRequests"] = self._questions
        return wire

    def _status(self) -> str:
        if self.cancelled:
            return "cancelled"
        if self.over:
            return "failed" if self._error else "completed"
        return "input_required" if self._questions else "working"

    async def _run(self, call: Callable[[], Awaitable[HandlerResult]], params: CallToolRequestParams) -> None:
        try:
            result = await call()
            while isinstance(result, InputRequiredResult):
                await self._ask(result)
                params.input_responses, params.request_state = dict(self._answers), result.request_state
                result = await call()
            self._result = _plain(result) | {"resultType": "complete"}
        except asyncio.CancelledError:
            self.cancelled = True
        except MCPError as error:
            self._error = error
        except Exception:  # the boundary: nobody awaits this but the event loop
            self._error = MCPError(INTERNAL_ERROR, "the call failed because of a fault in the server; its log has the details")
        finally:
            self.over, self._questions, self._changed = True, {}, time.time()

    async def _ask(self, result: InputRequiredResult) -> None:
        requests = result.input_requests or {}
        self._questions = {key: _plain(request) for key, request in requests.items()}
        self._changed = time.time()
        self._answered.clear()
        if self._questions:
            await self._answered.wait()


class TaskDispatch(SilentDispatch):
    """The channel of a request that has been answered: progress goes to the task."""

    def __init__(self, task: RunningTask) -> None:
        super().__init__("task")
        self._task = task

    @property
    def request_id(self) -> str:
        """The task stands for the request."""
        return self._task.task_id

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Keep the message for whoever polls."""
        self._task.tell(message or f"{progress:.0%}")


def _plain(value: Any) -> dict[str, Any]:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    return dict(value or {})
