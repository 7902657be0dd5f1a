"""Lines of corpora: the same however they are stored, in memory that does not grow."""

import gzip
import json
import lzma
import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from destilo.errors import DataError, InputError
from destilo.trimming.corpus import LONGEST, Corpus, parse_corpora, read_lines, size_units
from tests.factories import SENTENCES


def lines_of(*files: Path, column: str = "text") -> list[str]:
    return list(read_lines(Corpus("x", files, column)))


def test_every_way_of_storing_a_text_gives_the_same_lines(tmp_path: Path) -> None:
    text = "\n\n".join(SENTENCES) + "\n"
    rows = "".join(json.dumps({"body": one}) + "\n" for one in SENTENCES)
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "a.txt.xz").write_bytes(lzma.compress(text.encode()))
    (tmp_path / "a.jsonl").write_text(rows, encoding="utf-8")
    (tmp_path / "a.jsonl.xz").write_bytes(lzma.compress(rows.encode()))
    for path in tmp_path.iterdir():
        assert lines_of(path, column="body") == list(SENTENCES), path


@given(words=st.lists(st.integers(1, 40), min_size=1, max_size=30))
@settings(max_examples=20, deadline=None)
def test_long_lines_are_cut_and_nothing_is_lost(
    words: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("x") / "a.txt"
    text = " ".join("ñ" * (length * LONGEST // 20) for length in words)
    path.write_text(text, encoding="utf-8")
    parts = lines_of(path)
    assert "".join(parts) == text
    assert all(len(part) <= LONGEST for part in parts)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    peaks = []
    for number, copies in enumerate((10_000, 40_000)):
        path = tmp_path / f"{number}.txt.gz"
        path.write_bytes(gzip.compress((SENTENCES[0] + "\n").encode() * copies, 1))
        tracemalloc.start()
        assert sum(1 for _ in read_lines(Corpus("x", (path,)))) == copies
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_the_bar_ends_where_it_should(tmp_path: Path) -> None:
    class Bar:
        moved = 0

        def note(self, message: str, *, level: str = "info") -> None: ...
        def begin(self, name: str, total: int, *, done: int = 0) -> None: ...
        def end(self) -> None: ...
        def advance(self, amount: int = 1, *, figures: Mapping[str, float] | None = None) -> None:
            self.moved += amount

    (tmp_path / "a.txt").write_text((SENTENCES[0] + "\n") * 40_000, encoding="utf-8")
    (tmp_path / "b.txt").write_text("x\n", encoding="utf-8")
    corpora = parse_corpora([str(tmp_path / "*.txt")])
    bar = Bar()
    assert sum(1 for _ in read_lines(corpora[0], progress=bar)) == 40_001
    assert bar.moved == size_units(corpora)


def test_places_have_names_and_patterns(tmp_path: Path) -> None:
    for name in ("es-0.txt", "es-1.txt", "tl.txt"):
        (tmp_path / name).write_text("x\n")
    spanish, tagalog = parse_corpora([f"es={tmp_path}/es-*.txt", f"{tmp_path}/tl.txt"])
    assert (spanish.name, tagalog.name) == ("es", "tl")
    assert [path.name for path in spanish.files] == ["es-0.txt", "es-1.txt"]
    (both,) = parse_corpora([f"es={tmp_path}/es-0.txt", f"es={tmp_path}/es-1.txt"])
    assert both == spanish


@pytest.mark.parametrize(
    ("place", "said"), [("es-2.txt", "Did you mean 'es-0.txt'"), ("", "is a folder")]
)
def test_a_place_that_is_no_file_is_refused(place: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "es-0.txt").write_text("x\n")
    with pytest.raises(InputError, match=said):
        parse_corpora([f"{tmp_path}/{place}"])


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.jsonl", b'{"txt": "a"}\n', ":1: no text under 'text'; there is: txt"),
        ("a.jsonl", b'{"text": "a"}\n[1]\n', ":2: no text"),
        ("a.jsonl", b"{\n", ":1: not a JSON object"),
        ("a.txt", b"a\nb\xff\n", ":2: byte 0xff"),
        ("a.gz", gzip.compress(b"abc" * 99)[:-9], "cut short"),
    ],
)
def test_damage_is_said_with_its_place(name: str, data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=said):
        lines_of(tmp_path / name)
