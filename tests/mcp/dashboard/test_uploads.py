"""A file from the page: streamed to the disk, stored as add_dataset does, and gone without a trace when it cannot be."""

from __future__ import annotations

import base64
import errno
import os
import shutil
import tempfile
from collections import namedtuple
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.types import Message

from bitlm_mcp.dashboard import uploads
from tests.mcp.pages import Page, body_of
from tests.mcp.workspaces import Server, server

BYTES = {"content_type": "application/octet-stream"}
HEADERS = {"content-type": "application/octet-stream"}
TEXT = b"".join(b"line %d of a file\n" % number for number in range(40))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(tmp_path_factory.mktemp("state"), max_upload_mib=2) as one:
        yield one


@pytest.fixture(scope="module")
def one_page(made: Server) -> Page:
    return Page(made.workspace)


@pytest.fixture
def page(one_page: Page) -> Page:
    """The page, before any call."""
    one_page.calls.clear()
    return one_page


def left_behind(made: Server) -> list[Path]:
    state = made.workspace.settings.state_dir
    return [*(state / "datasets").glob(".*"), *state.glob("tmp*")]


async def unread() -> AsyncIterator[Message]:
    raise AssertionError("the body was read")
    yield {}


def put(page: Page, dataset_id: str, content: bytes = TEXT, **query: str) -> tuple[int, dict[str, Any]]:
    answer = page.http.put(f"/api/datasets/{dataset_id}", content=content, params=query, headers=HEADERS)
    return answer.status_code, answer.json()


def test_a_file_is_stored_as_add_dataset_stores_it(page: Page, made: Server) -> None:
    status, answer = put(page, "a", filename="Möbius\n.txt", records="lines", holdout_fraction="0.25")
    data = base64.b64encode(TEXT).decode()
    same = page.act("add_dataset", dataset_id="b", data_base64=data, records="lines", holdout_fraction=0.25)
    assert status == 201 and answer["result"] | {"dataset_id": "b", "next": same["next"]} == same
    assert (same["num_documents"], same["bytes"]) == (40, len(TEXT)) and same["holdout_bytes"] > 0
    assert made.workspace.snapshot.datasets["a"].source == "upload of Möbius\n.txt"
    assert [(call.tool, call.outcome) for call in page.calls] == [("add_dataset", "ok")] * 2
    status, answer = put(page, "plain", filename="x" * 5000)
    assert answer["result"]["holdout_bytes"] == len(TEXT) // 10 and "num_documents" not in answer["result"]
    assert len(made.workspace.snapshot.datasets["plain"].source) < 220
    assert not left_behind(made)


@pytest.mark.anyio
async def test_a_large_file_goes_to_the_disk_as_it_comes(page: Page, made: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    in_memory, files, real = [], [], tempfile.TemporaryFile

    def opened(*arguments: Any, **options: Any) -> Any:
        files.append(real(*arguments, **options))
        return files[-1]

    def look(sent: int) -> None:
        in_memory.append(sent - os.fstat(files[-1].fileno()).st_size)

    monkeypatch.setattr(tempfile, "TemporaryFile", opened)

    chunks = [bytes([number]) * 65_536 for number in range(24)]
    status, answer = await page.ask("PUT", "/api/datasets/large", body_of(*chunks, between=look), **BYTES)
    assert status == 201 and answer["result"]["bytes"] == 24 * 65_536
    assert len(in_memory) == 24 and max(in_memory) < 200_000 and len(files) == 1 and files[0].closed
    stored = made.workspace.datasets.part("large", holdout=None)
    assert stored.path.read_bytes() == b"".join(chunks) and not left_behind(made)


@pytest.mark.anyio
async def test_of_a_file_that_is_cut_off_nothing_stays(page: Page, made: Server) -> None:
    found = await page.ask("PUT", "/api/datasets/cut", body_of(TEXT, TEXT, cut=True), **BYTES)
    assert found == (0, {}) and not left_behind(made) and "cut" not in made.workspace.snapshot.datasets
    assert [(call.tool, call.outcome) for call in page.calls] == [("add_dataset", "cancelled")]


@pytest.mark.anyio
async def test_a_page_that_falls_silent_is_let_go(page: Page, made: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "SILENCE_S", 0.01)

    async def silent() -> AsyncIterator[Message]:
        yield {"type": "http.request", "body": TEXT, "more_body": True}
        await anyio.sleep_forever()

    status, answer = await page.ask("PUT", "/api/datasets/silent", silent(), **BYTES)
    assert status == 422 and f"after {len(TEXT):,} bytes" in answer["error"] and not left_behind(made)


@pytest.mark.anyio
async def test_what_is_too_large_is_refused_before_or_while_it_comes(page: Page, made: Server) -> None:
    limit = 2 << 20
    told = await page.ask("PUT", "/api/datasets/big", unread(), **BYTES, content_length=str(limit + 1))
    chunk = b"x" * 65_536
    counted = await page.ask("PUT", "/api/datasets/big", body_of(*[chunk] * 32, b"x"), **BYTES)
    for status, answer in (told, counted):
        assert status == 413 and f"{limit:,} bytes" in answer["error"] and "--max-upload-mib" in answer["error"]
    assert not left_behind(made) and "big" not in made.workspace.snapshot.datasets
    assert (await page.ask("PUT", "/api/datasets/most", body_of(*[chunk] * 32), **BYTES))[0] == 201


BAD: list[tuple[str, str, str, list[str], str]] = [
    ("like a path", "../x", "", ["dataset_id"], "dataset_id must be a string"),
    ("of capitals", "Data", "", ["dataset_id"], "dataset_id must be a string"),
    ("with a zero", "a\0b", "", ["dataset_id"], "dataset_id must be a string"),
    ("taken", "taken", "", ["dataset_id", "overwrite"], "exists already"),
    ("not replaced", "taken", "overwrite=false", ["dataset_id", "overwrite"], "exists already"),
    ("no boolean", "n", "overwrite=1", ["overwrite"], "overwrite must be true or false"),
    ("no fraction", "n", "holdout_fraction=half", ["holdout_fraction"], "holdout_fraction must be a number"),
    ("no finite fraction", "n", "holdout_fraction=NaN", ["holdout_fraction"], "holdout_fraction must be a number"),
    ("all of it", "n", "holdout_fraction=1", ["holdout_fraction"], "at most 0.9"),
    ("no records", "n", "records=line", ["records"], "give one of these"),
    ("a file of the server", "n", "path=/etc/passwd", [], 'an upload takes no "path"'),
    ("an option of none", "n", "separator=x", [], 'an upload takes no "separator"'),
]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("dataset_id", "query", "names", "expected"), [case[1:] for case in BAD], ids=[case[0] for case in BAD]
)
async def test_what_is_wrong_is_told_before_anything_is_read(
    page: Page, made: Server, dataset_id: str, query: str, names: list[str], expected: str
) -> None:
    if "taken" not in made.workspace.snapshot.datasets:
        assert put(page, "taken")[0] == 201
    before = made.workspace.snapshot.datasets
    status, answer = await page.ask("PUT", f"/api/datasets/{dataset_id}", unread(), query, **BYTES)
    assert (status, answer["names"]) == (422, names) and expected in answer["error"]
    assert made.workspace.snapshot.datasets == before and not left_behind(made)


def test_a_dataset_is_replaced_where_that_is_asked_for(page: Page, made: Server) -> None:
    assert put(page, "again")[0] == 201 and put(page, "again")[0] == 422
    status, answer = put(page, "again", b"something else", overwrite="true")
    assert status == 201 and answer["result"]["bytes"] == 14
    status, answer = put(page, "again", b"", overwrite="true")
    assert status == 422 and "0 bytes" in answer["error"]
    assert made.workspace.snapshot.datasets["again"].num_bytes == 14 and not left_behind(made)


def refuse(*arguments: Any, **options: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_without_room_is_told(page: Page, made: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(uploads.SPARE_DISK_BYTES + len(TEXT) + 10))
    status, answer = put(page, "full")
    assert status == 413 and "no room for" in answer["error"] and not left_behind(made)
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    status, answer = put(page, "full")
    assert status == 422 and "No space left" in answer["error"] and "full" not in made.workspace.snapshot.datasets


def test_a_form_of_another_site_cannot_upload(page: Page, made: Server) -> None:
    for content_type in ("text/plain", "multipart/form-data; boundary=x", "application/json"):
        answer = page.http.put("/api/datasets/odd", content=TEXT, headers={"content-type": content_type})
        assert answer.status_code == 415 and "application/octet-stream" in answer.json()["error"]
    assert page.http.post("/api/datasets/odd", content=TEXT, headers=HEADERS).status_code == 405
    assert "odd" not in made.workspace.snapshot.datasets and not page.calls


def test_with_read_only_nothing_is_uploaded(tmp_path: Path) -> None:
    with server(tmp_path / "state", read_only=True) as made:
        status, answer = put(Page(made.workspace), "data")
        assert status == 403 and "--read-only" in answer["error"] and not made.workspace.snapshot.datasets


def test_uploads_count_as_calls(made: Server) -> None:
    page = Page(made.workspace, per_second=0.5)
    assert [put(page, "counted", overwrite="true")[0] for _ in range(2)] == [201, 429]
