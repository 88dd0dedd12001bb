"""A page made one file: its styles and its modules written into it, for hosts that show a document and fetch nothing.

In: a page that links its styles and its module as any page does, and the folders where those lie. Out: the same page with
their texts in place of the links. Each module becomes a function that returns what it exports, so that two modules may use
one name for different things.

Not a bundler: it knows `import { a, b as c } from "./file.js";` and `export` before a function, a class or a const, which is
all that our modules use, and refuses everything else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

_STYLE = re.compile(r'<link rel="stylesheet" href="([\w.-]+)">')
_MODULE = re.compile(r'<script type="module" src="([\w.-]+)"></script>')
_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w.-]+)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const) (\w+))", re.MULTILINE)
_UNKNOWN = re.compile(r"^(?:import|export)\b.*|\bimport[.(].*", re.MULTILINE)
_ENDS = re.compile(r"<(?=/script|/style|!--)", re.IGNORECASE)
"""Where a sign would end the text, or begin a comment of the document: there it is written by its number."""
_IN_STYLES, _IN_SCRIPTS = r"\\3c ", r"\\x3c"


class InliningError(Exception):
    """A page that cannot be made one file: a fault of its author."""


def inlined(page: str, folders: Sequence[Path]) -> str:
    """The page with its styles and modules in place of the links to them. Raises InliningError."""

    def text_of(name: str) -> str:
        found = [folder / name for folder in folders if (folder / name).is_file()]
        if len(found) != 1:
            raise InliningError(f"{name}: {len(found)} files of that name in {', '.join(map(str, folders))}")
        return found[0].read_text("utf-8")

    def styled(match: re.Match[str]) -> str:
        return f"<style>\n{_ENDS.sub(_IN_STYLES, text_of(match[1]))}</style>"

    def scripted(match: re.Match[str]) -> str:
        written = "\n".join(_written(match[1], text_of, {}, ()).values())
        return f'<script type="module">\n{_ENDS.sub(_IN_SCRIPTS, written)}\n</script>'

    return _MODULE.sub(scripted, _STYLE.sub(styled, page))


def _written(name: str, text_of: Callable[[str], str], done: dict[str, str], within: tuple[str, ...]) -> dict[str, str]:
    """`done`, and then the module with all that it imports before it, by name."""
    if name in within:
        raise InliningError(f"{name} imports itself, by way of {', '.join(within)}")
    text = text_of(name)
    for imported in _IMPORT.finditer(text):
        if imported[2] not in done:
            _written(imported[2], text_of, done, (*within, name))
    body = _IMPORT.sub(lambda found: f"const {{{found[1].replace(' as ', ': ')}}} = {_variable(found[2])};", text)
    exported = _EXPORT.findall(body)
    body = _EXPORT.sub("", body)
    if unknown := _UNKNOWN.search(body):
        raise InliningError(f"{name}: {unknown[0]!r} cannot be written into a page")
    done[name] = f"const {_variable(name)} = (() => {{\n{body}\nreturn {{ {', '.join(exported)} }};\n}})();"
    return done


def _variable(name: str) -> str:
    return re.sub(r"\W", "_", name)
