import gzip
import lzma
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from destilo.data.files import check_files, numbered_lines, read_text
from destilo.errors import DataError

# What str.splitlines cuts at and a line of data does not.
NO_LINE_ENDS = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\x00"


@given(st.lists(st.text(alphabet="añ\u0301 " + NO_LINE_ENDS), min_size=1))
def test_only_lf_crlf_and_cr_end_lines(lines: list[str]) -> None:
    lines.append("x")  # so that no empty line stands at the end
    expected = list(enumerate(lines, start=1))
    for end in ("\n", "\r\n", "\r"):
        assert list(numbered_lines(end.join(lines))) == expected
        assert list(numbered_lines(end.join(lines) + end)) == expected


def test_mixed_line_ends_are_counted_once_each() -> None:
    assert list(numbered_lines("a\r\n\rb\n\nc")) == [(1, "a"), (2, ""), (3, "b"), (4, ""), (5, "c")]


def test_an_empty_text_has_no_lines() -> None:
    assert list(numbered_lines("")) == []


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
def test_compressed_files_read_like_plain_ones(tmp_path: Path, pack) -> None:  # type: ignore[no-untyped-def] # three unrelated functions
    path = tmp_path / "a.txt"
    path.write_bytes(pack("\ufeffaño\n".encode()))
    assert read_text(path) == "año\n"


def test_only_the_first_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeff\ufeffa".encode())
    assert read_text(path) == "\ufeffa"


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"a" * 1000)[:-12])
    with pytest.raises(DataError, match=r"a\.gz: the compressed file is damaged or cut short"):
        read_text(path)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_bytes_that_are_not_utf8_are_named_with_their_line(tmp_path: Path, end: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(f"uno{end}dos{end}".encode() + "año".encode("cp1252"))
    with pytest.raises(DataError, match=r"a\.txt:3: byte 0xf1 is not UTF-8.*WINDOWS-1252"):
        read_text(path)


def test_utf16_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("año".encode("utf-16"))
    with pytest.raises(DataError, match="UTF-16"):
        read_text(path)


def test_missing_files_get_their_neighbour(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a")
    with pytest.raises(DataError, match=r"no such file: .*trian\.txt\. Did you mean 'train\.txt'"):
        check_files("train", [tmp_path / "trian.txt"])
    with pytest.raises(DataError, match="is a folder"):
        check_files("train", [tmp_path])
    with pytest.raises(DataError, match="needs a `path`"):
        check_files("train", None)
