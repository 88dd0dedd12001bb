"""The report: its JSON, its Markdown, its pictures, and the sections of the documents that are made of it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from bitlm_mcp import cli
from bitlm_mcp.bench_all import sections
from bitlm_mcp.bench_all.cases import PLAN
from bitlm_mcp.bench_all.charts import Bars, Lines, draw_bars, draw_lines
from bitlm_mcp.bench_all.plan import Case
from bitlm_mcp.bench_all.plots import PICTURES, draw_all
from bitlm_mcp.bench_all.records import CaseRecord
from bitlm_mcp.bench_all.reporting import Report, markdown, number, report_of

ROOT = Path(__file__).parents[3]
REPORT = ROOT / "examples" / "report" / "report.json"
SVG = "{http://www.w3.org/2000/svg}"
MACHINE: dict[str, str | int] = {
    "processor": "P & Q", "cores": 2, "memory_gib": 8, "system": "S", "bitlm": "1", "python": "3", "torch": "2", "numba": "0",
}  # fmt: skip


def record(case: Case, figures: dict[str, float], **others: object) -> CaseRecord:
    found = CaseRecord(
        case=case.name, key="k", command=f"bitlm bench {case.benchmark} --json", data={case.data: "d"}, figures=figures,
        exit_code=0, error="", wall_seconds=10.0, cpu_seconds=8.0, peak_mib=100, load=1.0, beside=not case.alone,
        date="2026-01-02 03:04", commit="abc", machine=MACHINE,
    )  # fmt: skip
    return replace(found, **others)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def whole() -> Report:
    """A report in which every figure of every case is its place in the plan, and of the codecs and files what is drawn."""
    figures = {case.name: {figure.name: float(place + 1) for place, figure in enumerate(case.figures)} for case in PLAN}
    for name in ("obj2", "geo"):
        figures["compress"] |= {f"files.{name}.bpb": 1.5, f"peers.xz.files.{name}": 2.0}
    figures["learn-text"]["bpb_xz"] = 0.5
    records = {case.name: record(case, figures[case.name]) for case in PLAN}
    return report_of(PLAN, lambda case: records[case.name], {})


def test_the_report_tells_every_case_and_whether_bounds_are_met(whole: Report) -> None:
    assert list(whole) == ["machine", "dates", "commits", "core_seconds", "wall_seconds", "cases", "figures"]
    assert whole["cases"].keys() == {case.name for case in PLAN} and whole["core_seconds"] == 8 * len(PLAN)
    learn = whole["cases"]["learn-180"]
    assert learn["state"] == "measured" and learn["learned_instead"] == ""
    first, second = learn["figures"][:2]
    assert first == {"name": "bpb_online", "label": "adapting as it codes", "unit": "bits/byte", "better": "lower",
                     "value": 1.0, "limit": 1.82, "limit_met": True, "goal": 1.78, "goal_met": True}  # fmt: skip
    assert second["limit_met"] and not second["goal_met"] and whole["figures"]["learn-180.bpb_static"] == 2.0


def test_other_text_than_planned_has_no_bounds() -> None:
    case = next(case for case in PLAN if case.name == "learn-180")
    found = report_of((case,), lambda case: record(case, {"bpb_online": 1.0}, data={}), {})
    told = found["cases"]["learn-180"]
    assert told["learned_instead"] == "Python's language reference" and "limit" not in told["figures"][0]
    assert "Python's language reference, for which there are no bounds" in markdown(found, {})
    assert "learn-180" not in sections.readme_section(found) and draw_all(found) == {}


def test_what_another_machine_measured_is_not_told_as_of_this_one() -> None:
    ours, theirs = (case for case in PLAN if case.name in ("serve", "pages"))
    old = {"date": "2026-01-01 00:00", "machine": MACHINE | {"processor": "R"}}
    records = {
        ours.name: record(ours, {ours.figures[0].name: 1.0}),
        theirs.name: record(theirs, {theirs.figures[0].name: 2.0}, **old),
    }
    found = report_of((ours, theirs), lambda case: records[case.name], {})
    assert found["machine"]["processor"] == "P & Q" and list(found["figures"]) == [f"{ours.name}.{ours.figures[0].name}"]
    assert found["cases"][theirs.name]["state"] == "not run" and "another machine" in markdown(found, {})


def test_the_page_tells_it_to_people(whole: Report) -> None:
    page = markdown(whole, {"learning.svg": "Learning."})
    assert page.count("\n## ") == len(PLAN) + 1 and "![Learning.](learning.svg)" in page
    assert f"{len(PLAN)} measured, 0 failed, 0 not run" in page
    assert "- `learn-180`: frozen 2 bits/byte, goal ≤ 1.95" in page and "≤ 1.95: **missed**" in page and "≤ 1.82: met" in page
    assert "`bitlm bench serve --json`; 2026-01-02 03:04, abc; 8 CPU-s, 10 s, alone, load 1.0, 100 MiB." in page
    assert not re.search(r"\n\n\n", page) and page.endswith(".\n")


@pytest.mark.parametrize(
    ("value", "told"), [(1.0, "1"), (0.12345, "0.1235"), (12345.6, "12,346"), (3.2e-6, "3.2e-06"), (7, "7")]
)
def test_numbers_have_the_digits_that_matter(value: float, told: str) -> None:
    assert number(value) == told


def test_all_pictures_are_drawn_and_well_formed(whole: Report) -> None:
    drawn = draw_all(whole)
    assert drawn.keys() == PICTURES.keys() and len(drawn) >= 4
    for name, (picture, alt) in drawn.items():
        root = ElementTree.fromstring(picture)  # noqa: S314 - our own
        assert root.tag == SVG + "svg" and root.attrib["role"] == "img", name
        assert root.findtext(SVG + "title") and root.findtext(SVG + "desc") == alt and alt in markdown(whole, {name: alt})
        assert (
            "prefers-color-scheme:dark" in picture and "<script" not in picture and "http" not in picture.replace(SVG[1:-1], "")
        )


def places(picture: str, tag: str, *names: str) -> list[tuple[float, ...]]:
    """Of what is drawn in the colours of series, outside the key."""
    found = ElementTree.fromstring(picture).iterfind(f".//{SVG}g/{SVG}{tag}")  # noqa: S314 - our own
    return [tuple(float(element.attrib[name]) for name in names) for element in found]


def test_bars_are_as_long_as_their_values() -> None:
    chart = Bars("A & B", "alt", "axis", {"one": {"x": 1.0, "y": 2.0}, "two": {"x": 4.0}})
    (short,), (middle,), (long,) = places(draw_bars(chart), "rect", "width")
    assert long == 4 * short and middle == 2 * short
    (short,), (middle,), (long,) = places(draw_bars(replace(chart, logarithmic=True)), "rect", "width")
    assert long - middle == pytest.approx(middle - short, abs=0.2)


def test_lines_go_through_their_points() -> None:
    chart = Lines("t", "alt", "axis", "seconds", {"a": [(10.0, 3.0), (100.0, 2.0), (1000.0, 1.0)]}, {"xz": 2.0})
    (x0, y0), (x1, y1), (x2, y2) = places(draw_lines(chart), "circle", "cx", "cy")
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2) and y1 - y0 == pytest.approx(y2 - y1, abs=0.2) and y0 < y2


def test_a_section_takes_the_place_of_the_one_before() -> None:
    document = "before\n<!-- figures:begin -->\nold\n<!-- figures:end -->\nafter\n"
    found = sections.placed(document, "figures", "new")
    assert found == document.replace("old", "new") == sections.placed(found, "figures", "new")
    for damaged in ("nothing", "<!-- figures:end -->\n<!-- figures:begin -->"):
        with pytest.raises(sections.SectionError, match="figures:begin"):
            sections.placed(damaged, "figures", "new")


def test_readme_has_a_row_of_each_figure_that_was_measured(whole: Report) -> None:
    section = sections.readme_section(whole)
    assert section.count("| `bitlm bench") == len(sections.ROWS) >= 10 and "{" not in section
    named = {
        name.partition(".")[0]
        for row in sections.ROWS
        for name in re.findall(r"\{([^}]+)\}", " ".join((row.measured, *row.beside)))
    }
    assert named == {row.case for row in sections.ROWS}
    fewer = dict(whole) | {
        "figures": {key: value for key, value in whole["figures"].items() if "zstd" not in key and "overhead" not in key}
    }
    section = sections.readme_section(fewer)
    assert section.count("| `bitlm bench") == len(sections.ROWS) - 1 and "zstd" not in section and "× lpaq1" in section


def test_records_have_a_row_of_each_case(whole: Report) -> None:
    section = sections.records_section(whole)
    assert section.count("| `bitlm bench") == len(PLAN) and "2026-01-02, abc" in section and "(goal 1.95 missed)" in section


def invoked(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, ["bench", "figures", *map(str, arguments)])


def test_figures_writes_both_documents(tmp_path: Path, whole: Report) -> None:
    report, readme = tmp_path / "report.json", tmp_path / "README.md"
    report.write_text(json.dumps(whole))
    readme.write_text("<!-- figures:begin --><!-- figures:end -->")
    assert invoked("--report", report, "--readme", readme).exit_code == 0
    assert sections.readme_section(whole) in readme.read_text()
    assert sections.readme_section(whole) in invoked("--report", report).stdout
    for arguments in (("--report", readme), ("--report", report, "--records", readme)):
        found = invoked(*arguments)
        assert found.exit_code == 1 and found.stderr.startswith("bitlm: ") and found.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("path", "name", "make"),
    [
        ("README.md", sections.FIGURES, sections.readme_section),
        ("examples/RECORDS.md", sections.RECORDED, sections.records_section),
    ],
)
def test_the_documents_say_what_the_report_says(path: str, name: str, make) -> None:  # type: ignore[no-untyped-def]
    document = (ROOT / path).read_text()
    assert sections.placed(document, name, make(json.loads(REPORT.read_text()))) == document, "run bitlm bench figures"


def test_the_report_that_is_kept_is_whole() -> None:
    report, page = json.loads(REPORT.read_text()), (REPORT.parent / "report.md").read_text()
    pictures = {name: alt for name, (_, alt) in draw_all(report).items()}
    assert markdown(report, pictures) == page and report["cases"].keys() == {case.name for case in PLAN}
    for name in pictures:
        assert (REPORT.parent / name).read_text() == draw_all(report)[name][0]
