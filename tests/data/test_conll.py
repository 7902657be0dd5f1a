from pathlib import Path

import pytest

from destilo.data.readers import read_split
from destilo.errors import DataError
from destilo.rows import Split, TaggingRow

NER = """-DOCSTART- -X- O

La DET O
UE PROPN B-ORG

# NUM O
1 NUM O
"""


def read(tmp_path: Path, text: str, **options: object) -> Split:
    path = tmp_path / "a.txt"
    path.write_text(text, encoding="utf-8", newline="")
    return read_split(
        "train",
        task="token-classification",
        path=[path],
        **{"format": "conll", **options},  # type: ignore[arg-type] # each test passes its own
    )


def rows(split: Split) -> list[TaggingRow]:
    return [row for row in split.rows if isinstance(row, TaggingRow)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", [" ", "\t", "  "])
def test_columns_are_read_whatever_separates_them(tmp_path: Path, separator: str, end: str) -> None:
    split = read(tmp_path, NER.replace(" ", separator).replace("\n", end))
    assert rows(split) == [
        TaggingRow("1", ("La", "UE"), ("O", "B-ORG")),
        TaggingRow("2", ("#", "1"), ("O", "O")),
    ]
    assert [row.where.rpartition(":")[2] for row in rows(split)] == ["3", "6"]


@pytest.mark.parametrize("column", [1, -2])
def test_columns_are_chosen_by_number(tmp_path: Path, column: int) -> None:
    split = read(tmp_path, NER, columns={"tags": column})
    assert rows(split)[0].tags == ("DET", "PROPN")
    assert split.scheme == "raw"


def test_blanks_inside_words_survive(tmp_path: Path) -> None:
    words = ("10\u00a0000", "a\u200bb", "c\u2028d", "e\x85f", "\u00a0", "g\x0bh", "n\u0303")
    split = read(tmp_path, "".join(f"{word} O\n" for word in words) + "x B-A\n")
    assert rows(split)[0].tokens == (*words, "x")


def test_a_single_column_is_unlabelled(tmp_path: Path) -> None:
    split = read(tmp_path, "uno\ndos\n\ntres\n")
    assert [row.tags for row in rows(split)] == [None, None]
    assert split.scheme is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("uno O\ndos\n", r"a\.txt:2: 1 columns where .*:1 has 2"),
        ("uno\tO\ndos\t\n", r"a\.txt:2: 1 columns where"),
        ("10 000 O\nuno O\n", r"a\.txt:2: 2 columns where .*:1 has 3"),
        ("uno\tO\n\tO\n", r"a\.txt:2: column 0 \(tokens\) is empty"),
        ("uno O\ndos Z-PER\ntres B-PER\n", r"a\.txt:2: tag 'Z-PER' is not possible in IOB2"),
        ("\n\n", r"no rows in .*a\.txt"),
    ],
)
def test_faults_are_named_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, text)


def test_columns_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.txt:3: no column 7 for tags: the line has 3"):
        read(tmp_path, NER.replace("-DOCSTART- -X- O", ""), columns={"tags": 7})
    with pytest.raises(DataError, match="conll columns have no names"):
        read(tmp_path, NER, columns={"tags": "ner"})
    with pytest.raises(DataError, match="Unknown key in `columns` for conll 'tag'"):
        read(tmp_path, NER, columns={"tag": 1})


def test_the_scheme_is_decided_on_all_sentences_whatever_the_limit(tmp_path: Path) -> None:
    # The first sentence alone would pass for broken IOB2 as well.
    split = read(tmp_path, "a I-X\n\nb I-X\nc B-X\n\nd I-Y\n", limit=1)
    assert split.scheme == "iob1"
    assert rows(split) == [TaggingRow("1", ("a",), ("B-X",))]


def conllu(number: str, form: str, upos: str) -> str:
    return "\t".join((number, form, "_", upos, "xp", "_", "0", "root", "_", "_")) + "\n"


CONLLU = (
    "# sent_id = es-1\n# text = Vámonos al mar\n"
    + conllu("1-2", "Vámonos", "_")
    + conllu("1", "Vamos", "VERB")
    + conllu("2", "nos", "PRON")
    + conllu("2.1", "nada", "X")
    + conllu("3", "#", "SYM")
    + "\n"
    + conllu("1", "Sí", "INTJ")
)


def test_conllu_gives_syntactic_words(tmp_path: Path) -> None:
    split = read(tmp_path, CONLLU, format="conllu")
    assert rows(split) == [
        TaggingRow("es-1", ("Vamos", "nos", "#"), ("VERB", "PRON", "SYM")),
        TaggingRow("2", ("Sí",), ("INTJ",)),
    ]
    assert rows(split)[0].where.endswith(":4")
    other = read(tmp_path, CONLLU, format="conllu", columns={"tags": "xpos"})
    assert rows(other)[1].tags == ("xp",)


def test_conllu_without_tags_is_unlabelled_and_half_tagged_is_refused(tmp_path: Path) -> None:
    bare = conllu("1", "uno", "_")
    assert rows(read(tmp_path, bare, format="conllu"))[0].tags is None
    with pytest.raises(DataError, match=r"a\.txt:2: no tag in column upos"):
        read(tmp_path, conllu("1", "dos", "NUM") + bare, format="conllu")


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("1 uno NUM\n", {}, r"a\.txt:1: 1 columns between tabs where CoNLL-U has ten"),
        (conllu("uno", "1", "NUM"), {}, r"a\.txt:1: 'uno' is no CoNLL-U word number"),
        (CONLLU, {"tags": "pos"}, r"Unknown CoNLL-U column 'pos'\. Did you mean '.pos'"),
    ],
)
def test_faults_of_conllu_are_named(
    tmp_path: Path, text: str, columns: dict[str, str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, text, format="conllu", columns=columns)
