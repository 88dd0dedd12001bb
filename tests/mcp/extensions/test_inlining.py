"""One file made of a page, its styles and its modules: in what order, under which names, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bitlm_mcp.extensions.inlining import InliningError, inlined

PAGE = '<title>&amp;</title><link rel="stylesheet" href="a.css"><script type="module" src="app.js"></script><p>end</p>'


def folder(root: Path, **files: str) -> Path:
    root.mkdir(exist_ok=True)
    for name, text in ({"a_css": "p { margin: 0; }\n"} | files).items():
        (root / ".".join(name.rsplit("_", 1))).write_text(text)
    return root


def made(root: Path, **files: str) -> str:
    return inlined(PAGE, [folder(root, **files)])


def test_modules_come_once_and_before_who_needs_them(tmp_path: Path) -> None:
    app = 'import { b } from "./b.js";\nimport {\n  c,\n  shared as mine,\n} from "./c.js";\nb(c, mine);\n'
    b = 'import { shared } from "./c.js";\nexport function b() {}\nexport class B {}\nexport async function later() {}\n'
    page = made(tmp_path, app_js=app, b_js=b, c_js="const own = 1;\nexport const c = own;\nexport const shared = 2;\n")
    assert re.findall(r"^const (\w+) = \(\(\) => \{$", page, re.MULTILINE) == ["c_js", "b_js", "app_js"]
    assert re.findall(r"^return \{ (.*) \};$", page, re.MULTILINE) == ["c, shared", "b, B, later", ""]
    assert "const { b } = b_js;" in page and "const {\n  c,\n  shared: mine,\n} = c_js;" in page
    assert "import" not in page and "export" not in page
    assert page.startswith("<title>&amp;</title><style>\np { margin: 0; }") and page.endswith("</script><p>end</p>")


def test_nothing_ends_a_text_early(tmp_path: Path) -> None:
    app = 'const a = "</script><script>";\nconst b = `</SCRIPT>`;\nconst c = "<!--";\n'
    page = made(tmp_path, app_js=app, a_css='p::before { content: "</style>"; }')
    assert page.count("</script>") == 1 and page.lower().count("</script") == 1 and "<!--" not in page
    assert page.count("</style>") == 1
    assert r'"\x3c/script><script>"' in page and r"`\x3c/SCRIPT>`" in page and r'"\3c /style>"' in page


@pytest.mark.parametrize(
    ("app", "told"),
    [
        ('import all from "./b.js";', "import all"),
        ('import * as b from "./b.js";', r"import \* as b"),
        ('import { b } from "b";', 'from "b"'),
        ('import { b } from "./none.js";', r"none\.js: 0 files"),
        ("export default 1;", "export default"),
        ("export let a = 1;", "export let"),
        ('const b = await import("./b.js");', "import"),
        ("const here = import.meta.url;", "import.meta"),
        ('import { a } from "./app.js";', "app.js imports itself"),
    ],
)
def test_what_it_does_not_know_is_refused(tmp_path: Path, app: str, told: str) -> None:
    with pytest.raises(InliningError, match=told):
        made(tmp_path, app_js=app, b_js="export const b = 1;")


def test_a_name_belongs_to_one_file(tmp_path: Path) -> None:
    folders = [folder(tmp_path / name, app_js="") for name in ("one", "two")]
    with pytest.raises(InliningError, match=r"a\.css: 2 files"):
        inlined(PAGE, folders)
