import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from destilo.data.delimited import _csv_lines, csv_records, tsv_records
from destilo.data.tally import Tally
from destilo.errors import DataError

FIELD = st.text(alphabet='añ",;\n\r\t \u2028\x0b\x00')


@given(st.lists(st.lists(FIELD, min_size=2, max_size=2), min_size=1), st.sampled_from("\n\r"))
def test_what_csv_writes_reads_back(rows: list[list[str]], end: str) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(rows)
    assert [fields for _, fields in _csv_lines(text.getvalue(), ",", Path("a"))] == rows


def read(tmp_path: Path, text: str, *, header: bool = True) -> list[dict[str, str]]:
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8", newline="")
    return [dict(record.values) for record in csv_records(path, header=header, tally=Tally())]


@given(st.lists(st.lists(FIELD, min_size=2, max_size=2), min_size=1), st.sampled_from([" ", " \t"]))
def test_blanks_around_quoted_fields_change_nothing(rows: list[list[str]], blank: str) -> None:
    lines = [[f'"{field.replace(chr(34), chr(34) * 2)}"' for field in row] for row in rows]
    text = "".join(f"{blank}{f'{blank},{blank}'.join(line)}{blank}\n" for line in lines)
    assert [fields for _, fields in _csv_lines(text, ",", Path("a"))] == rows


def test_a_blank_after_the_comma_is_no_part_of_a_quoted_field(tmp_path: Path) -> None:
    text = 'text, "label"\n"frase 1", "sí"\n"dos", "no, señor"\n tres, no\n"cuatro" ,no'
    assert [tuple(row.values()) for row in read(tmp_path, text)] == [
        ("frase 1", "sí"),
        ("dos", "no, señor"),
        (" tres", " no"),
        ("cuatro", "no"),
    ]
    assert set(read(tmp_path, text)[0]) == {"text", "label"}


@pytest.mark.parametrize("field", [' "Hola" dijo', ' "a', ' a "b"'])
def test_quotes_inside_a_field_that_is_not_quoted_whole_are_kept(
    tmp_path: Path, field: str
) -> None:
    assert read(tmp_path, f"text,label\nuno,{field}\ndos,b\n")[0]["label"] == field


def test_rows_are_numbered_by_the_line_they_start_on(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('text,label\n"uno\ndos",a\n\ntres,b\n', encoding="utf-8")
    records = list(csv_records(path, header=True, tally=Tally()))
    assert [record.where.rpartition(":")[2] for record in records] == ["2", "5"]


def test_huge_fields_are_read(tmp_path: Path) -> None:
    assert len(read(tmp_path, "text,label\n" + "a" * 300_000 + ",b")[0]["text"]) == 300_000


def test_empty_fields_at_the_very_end(tmp_path: Path) -> None:
    assert read(tmp_path, "text,label\nuno,") == [{"text": "uno", "label": ""}]
    assert read(tmp_path, "text,label\n,\n") == [{"text": "", "label": ""}]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('text,label\nuno,a\n"dos,b\ntres,c\n', 3),
        ('text,label\nuno,"a\ndos,b\n', 2),
        ('text,label\n"uno\nmás",a\n"dos"",b\ntres,c\n', 4),
    ],
)
def test_an_unclosed_quote_is_named_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(DataError, match=rf"a\.csv:{line}: a quote is opened in field \d and never"):
        read(tmp_path, text)


def test_a_quote_closed_by_a_later_one_is_named_where_it_opened(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.csv:2: the quote opened in field 1 .* \(line 3\)"):
        read(tmp_path, 'text,label\n"uno,a\n"dos",b\n')


@pytest.mark.parametrize("row", ["uno,dos,a", "uno"])
def test_rows_of_another_width_are_named(tmp_path: Path, row: str) -> None:
    with pytest.raises(DataError, match=r"a\.csv:3: [13] fields where the header has 2"):
        read(tmp_path, f"text,label\nuno,a\n{row}\n")


def test_a_column_named_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.csv:1: the header names a column twice: 'text'"):
        read(tmp_path, "text,text,label\n")


def test_semicolons_of_spreadsheets_are_understood_and_said(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text;label\nuno, dos;a\n", encoding="utf-8")
    records = list(csv_records(path, header=True, tally=(tally := Tally())))
    assert records[0].values == {"text": "uno, dos", "label": "a"}
    assert "';'" in tally.notes()[0]


def test_without_header_columns_are_numbered(tmp_path: Path) -> None:
    assert read(tmp_path, "uno,a\n", header=False) == [{"0": "uno", "1": "a"}]


def test_quotes_in_tsv_are_characters(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('text\tlabel\n"uno\ta\n"dos"\tb\n', encoding="utf-8")
    records = list(tsv_records(path, header=True, tally=(tally := Tally())))
    assert [record.values["text"] for record in records] == ['"uno', '"dos"']
    assert "1 (" in tally.notes()[0]
