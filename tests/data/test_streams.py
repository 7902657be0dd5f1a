import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from destilo.data import streams
from destilo.data.files import numbered_lines, read_text
from destilo.data.streams import StreamedLines
from destilo.errors import DataError

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gz": gzip.compress,
    "xz": lzma.compress,
}


def outcome(read) -> list[tuple[int, str]] | str:  # type: ignore[no-untyped-def] # any reader
    try:
        return list(read())
    except DataError as error:
        return str(error)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    st.lists(
        st.one_of(
            st.sampled_from([b"\n", b"\r", b"\r\n", b"\xef\xbb\xbf", b"\xc3\xb1", b"\xff\xfe"]),
            st.text("añ\u2028\x0c€", max_size=5).map(str.encode),
            st.binary(max_size=2),
        ),
        max_size=12,
    ),
    st.integers(1, 9),
    st.sampled_from(sorted(PACKERS)),
)
def test_streamed_lines_and_errors_are_those_of_the_whole_text(
    tmp_path: Path, parts: list[bytes], chunk: int, packer: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(PACKERS[packer](b"".join(parts)))
    streamed = outcome(lambda: StreamedLines(path, chunk_bytes=chunk))
    assert streamed == outcome(lambda: numbered_lines(read_text(path)))


@pytest.mark.parametrize("packer", ["gz", "xz"])
def test_a_file_of_several_packed_parts_is_read_whole(tmp_path: Path, packer: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(PACKERS[packer](b"uno\nd") + PACKERS[packer](b"os\n"))
    assert list(StreamedLines(path)) == [(1, "uno"), (2, "dos")]


@pytest.mark.parametrize("packer", ["gz", "xz"])
def test_an_archive_that_is_cut_short_is_named(tmp_path: Path, packer: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(PACKERS[packer](bytes(range(65, 90)) * 50)[:-14])
    with pytest.raises(DataError, match="a: the compressed file is damaged or cut short"):
        list(StreamedLines(path))


def test_a_line_too_long_for_memory_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LONGEST_LINE_BYTES", 100)
    path = tmp_path / "a"
    path.write_bytes(b"x\n\n" + b"y" * 150)
    with pytest.raises(DataError, match=r"a:3: this line has more than"):
        list(StreamedLines(path, chunk_bytes=20))


def test_bytes_read_reaches_the_size_of_the_packed_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(lzma.compress(b"una frase\n" * 10_000))
    lines = StreamedLines(path, chunk_bytes=1000)
    assert lines.bytes_read == 0
    assert len(list(lines)) == 10_000
    assert lines.bytes_read == path.stat().st_size
