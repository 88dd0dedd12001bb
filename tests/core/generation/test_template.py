"""What may be known of bytes that are to be filled in."""

from __future__ import annotations

import pytest

from bitlm_core import ConfigError, Template


def test_marks_stand_for_one_unknown_byte_each() -> None:
    found = Template.marked(b"a__b_", prefix=b"<", suffix=b">")
    assert found.data == b"a\0\0b\0" and found.known == b"\xff\0\0\xff\0" and found.num_open == 3
    assert found.whole == (b"<a\0\0b\0>", b"\xff\xff\0\0\xff\0\xff")
    other = Template.marked(b"a_<?><?>", b"<?>")
    assert (other.data, other.known) == (b"a_\0\0", b"\xff\xff\0\0")


def test_a_gap_is_a_template_of_nothing_known() -> None:
    found = Template.between(b"x", 2, b"y")
    assert found.whole == (b"x\0\0y", b"\xff\0\0\xff") and found.num_open == 2


def test_templates_of_nothing_to_fill_are_refused() -> None:
    with pytest.raises(ConfigError, match="holds no '_'"):
        Template.marked(b"abc")
    with pytest.raises(ConfigError, match="mark of a gap is empty"):
        Template.marked(b"a_c", b"")
    with pytest.raises(ConfigError, match="num_bytes=0") as gap:
        Template.between(b"a", 0)
    assert gap.value.num_bytes == 0
    with pytest.raises(ConfigError, match="leave a bit unknown"):
        Template(b"ab", b"\xff\xff")
    with pytest.raises(ConfigError, match="one per byte") as masks:
        Template(b"ab", b"\xff")
    assert (masks.value.num_bytes, masks.value.num_masks) == (2, 1)
