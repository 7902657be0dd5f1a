import gzip
import json
import lzma
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from destilo.data import corpus
from destilo.data.corpus import (
    HELD_OUT,
    TRAIN,
    CorpusSource,
    Division,
    Document,
    corpus_facts,
    document_key,
    read_documents,
)
from destilo.data.hub import HubSource
from destilo.data.tally import Tally
from destilo.errors import DataError

DOCUMENTS = [f"Documento {n}.\nTiene {n % 7} olivos y {n % 5} higueras." for n in range(200)]
BLOCKS = "\n\n".join(DOCUMENTS) + "\n"


def text_source(path: Path, *more: Path, **options: object) -> CorpusSource:
    return CorpusSource("train", "text", (path, *more), **options)  # type: ignore[arg-type] # each test's own


def texts(source: CorpusSource) -> list[str]:
    return [document.text for document in read_documents(source)]


@pytest.fixture
def blocks(tmp_path: Path) -> Path:
    path = tmp_path / "blocks.txt"
    path.write_text(BLOCKS, encoding="utf-8")
    return path


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
def test_a_blank_line_ends_a_document(tmp_path: Path, pack) -> None:  # type: ignore[no-untyped-def] # three unrelated functions
    path = tmp_path / "a"
    path.write_bytes(pack(BLOCKS.replace("\n\n", "\n \n\t\n\n").encode()))
    found = list(read_documents(text_source(path)))
    assert [one.text for one in found] == DOCUMENTS
    assert found[1].where == f"{path}:6"


def test_each_line_can_be_a_document(blocks: Path) -> None:
    lines = [line for line in BLOCKS.split("\n") if line]
    assert texts(text_source(blocks, documents="lines")) == lines


def test_tables_give_the_same_documents(tmp_path: Path) -> None:
    rows = [{"id": n, "body": text} for n, text in enumerate([*DOCUMENTS, "  ", None])]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n\n" for row in rows), encoding="utf-8")
    tally = Tally()
    source = CorpusSource("train", "jsonl", (path,), column="body")
    assert [one.text for one in read_documents(source, tally=tally)] == DOCUMENTS
    assert tally.notes()[0].startswith("Documents without text left out: 2 (")
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=30)
    assert texts(CorpusSource("train", "parquet", (tmp_path / "a.parquet",), column="body")) == (
        DOCUMENTS
    )


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_data_set_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "set").mkdir()
    datasets.Dataset.from_dict({"text": DOCUMENTS}).to_parquet(str(tmp_path / "set/train.parquet"))
    source = CorpusSource("train", "hub", hub=HubSource(str(tmp_path / "set")), limit=150)
    assert texts(source) == DOCUMENTS[:150]
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").rglob("*.arrow"))
    assert corpus_facts(source)["files"]


@pytest.mark.parametrize("limit", [None, 0, 1, 130, 1000])
def test_reading_goes_on_from_any_place(
    blocks: Path, tmp_path: Path, limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "SLICE_CHARACTERS", 20)
    other = tmp_path / "other"
    other.write_bytes(lzma.compress(b"uno\n\ndos\n"))
    source = text_source(other, blocks, other, limit=limit)
    whole = list(read_documents(source))
    assert sum(one.slice == 0 for one in whole) == min(204, 204 if limit is None else limit)
    for n in range(0, len(whole), 37):
        assert list(read_documents(source, start=whole[n].place)) == whole[n + 1 :]
    if limit is None:
        assert whole[-1].place.bytes_read == source.size_bytes


def test_a_long_document_comes_in_slices_with_one_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "SLICE_CHARACTERS", 50)
    text = "\n".join(["el olivo viejo " * 2] * 20) + "\n" + "sinespacios" * 20
    for content, format_ in ((text, "text"), (json.dumps({"text": text}), "jsonl")):
        path = tmp_path / "a"
        path.write_text(f"{content}\n", encoding="utf-8")
        found = list(read_documents(CorpusSource("train", format_, (path,))))
        assert [one.slice for one in found] == list(range(len(found)))
        assert all(len(one.text) <= 50 for one in found)
        assert "".join("".join(one.text.split()) for one in found) == "".join(text.split())
        assert len({one.key for one in found}) == 1
        assert len(list(read_documents(CorpusSource("train", format_, (path,), limit=1)))) == len(
            found
        )


def sides(source: CorpusSource, division: Division) -> dict[str, str | None]:
    return {one.text: division.side(one.key) for one in read_documents(source)}


@given(st.permutations(range(20)), st.integers(1, 4), st.integers(0, 5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
def test_order_and_number_of_files_do_not_change_the_division(
    tmp_path: Path, order: list[int], n_files: int, seed: int
) -> None:
    division = Division(held_out=0.3, kept=0.5, seed=seed)
    paths = []
    for file in range(n_files):
        paths.append(tmp_path / f"{file}.txt")
        mine = [DOCUMENTS[n] for n in order[file::n_files]]
        paths[-1].write_text("\n\n".join(mine), encoding="utf-8")
    expected = {text: division.side(document_key(text)) for text in DOCUMENTS[:20]}
    assert sides(text_source(*paths), division) == expected


def test_copies_stand_on_one_side() -> None:
    division = Division(held_out=0.5)
    for text in DOCUMENTS:
        copy = "  " + text.upper().replace("\n", "\r\n\t")
        assert division.side(document_key(text)) == division.side(document_key(copy))


def test_the_shares_are_what_was_asked_for() -> None:
    keys = [document_key(str(n)) for n in range(20_000)]
    counted = Counter(Division(held_out=0.1, kept=0.5).side(key) for key in keys)
    # Five standard deviations of a binomial draw of 20,000.
    assert counted[HELD_OUT] == pytest.approx(2000, abs=5 * 42)
    assert counted[TRAIN] == pytest.approx(9000, abs=5 * 70)


def test_less_training_text_changes_nothing_else() -> None:
    keys = [document_key(str(n)) for n in range(2000)]
    quarter, half, whole = (Division(held_out=0.1, kept=kept) for kept in (0.25, 0.5, 1.0))
    for key in keys:
        assert (half.side(key) == HELD_OUT) == (whole.side(key) == HELD_OUT)
        assert quarter.side(key) != TRAIN or half.side(key) == TRAIN
    assert [whole.side(key) for key in keys] != [
        Division(held_out=0.1, seed=14).side(key) for key in keys
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"txt": "a"}', "a.jsonl:2: Unknown column 'text'. Did you mean 'txt'?"),
        ('{"text": 3}', "a.jsonl:2: 'text' must be text, not 3."),
        ("[1]", "a.jsonl:2: a JSON object is expected, not a list."),
        ("{", "a.jsonl:2:2: not valid JSON"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "bien"}\n' + line, encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.jsonl:2") as caught:
        list(read_documents(CorpusSource("train", "jsonl", (path,))))
    assert said in str(caught.value)


def test_unknown_words_are_refused_with_the_near_one(blocks: Path) -> None:
    with pytest.raises(DataError, match="Did you mean 'parquet'"):
        CorpusSource("train", "parket", (blocks,))
    with pytest.raises(DataError, match="Did you mean 'lines'"):
        text_source(blocks, documents="line")
    with pytest.raises(DataError, match="no such file"):
        text_source(blocks.with_name("gone"))
    with pytest.raises(DataError, match=r"must be in \[0, 1\)"):
        Division(held_out=1.0)
    with pytest.raises(DataError, match=r"must be in \(0, 1\]"):
        Division(kept=0.0)


def test_facts_change_with_content_and_settings_alone(blocks: Path, tmp_path: Path) -> None:
    same = tmp_path / "same"
    same.write_bytes(blocks.read_bytes())
    facts = corpus_facts(text_source(blocks))
    assert corpus_facts(text_source(same)) == facts
    others = [text_source(blocks, limit=3), text_source(blocks, documents="lines")]
    others.append(text_source(blocks, same))
    assert facts not in [corpus_facts(one) for one in others]


def test_a_document_is_a_value(blocks: Path) -> None:
    first = next(read_documents(text_source(blocks)))
    assert isinstance(first, Document)
    assert first == next(read_documents(text_source(blocks)))


SHARED = Path(__file__).parents[2] / ".." / "shared" / "corpus" / "tl-open.txt.xz"


@pytest.mark.skipif(not SHARED.is_file(), reason="no ../shared/corpus beside the project")
def test_a_real_corpus_is_divided_without_copies_on_both_sides() -> None:
    division = Division(held_out=0.05)
    seen: dict[str, set[str]] = {TRAIN: set(), HELD_OUT: set()}
    source = text_source(SHARED)
    for document in read_documents(source):
        seen[str(division.side(document.key))].add(" ".join(document.text.split()))
    assert not seen[TRAIN] & seen[HELD_OUT]
    assert 0.03 < len(seen[HELD_OUT]) / (len(seen[TRAIN]) + len(seen[HELD_OUT])) < 0.07
    assert document.place.bytes_read == source.size_bytes
