"""What all pictures are made of: self-contained SVG without scripts or styles, for a file or a page."""

from __future__ import annotations

from xml.sax.saxutils import escape

_STYLE = "font-family='monospace' font-size='11' fill='#222'"


def opening(width: int, height: int, title: str) -> str:
    """The beginning of a picture on white; `title` may be any text. It ends with `</svg>`."""
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' viewBox='0 0 {width} {height}' role='img'>"
        f"<title>{plain(title)}</title><rect width='100%' height='100%' fill='#fff'/>"
    )


def label(x: float, y: float, text: str, *, end: bool = False) -> str:
    """A line of text from (x, y) on, or up to there."""
    anchor = " text-anchor='end'" if end else ""
    return f"<text x='{x:g}' y='{y:g}' {_STYLE}{anchor}>{plain(text)}</text>"


def plain(text: str) -> str:
    """Escaped, and without the characters that XML cannot hold."""
    allowed = (c if c in "\t\n" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff" else "?" for c in text)
    return escape("".join(allowed))
