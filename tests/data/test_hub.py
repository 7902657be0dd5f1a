import sys
from pathlib import Path
from typing import Any

import pytest

from destilo.data.hub import HubSource
from destilo.data.readers import read_split
from destilo.errors import DataError
from destilo.rows import Split, TaggingRow, TextRow

datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def tagged() -> Any:
    names = datasets.ClassLabel(names=["O", "B-PER", "I-PER"])
    features = datasets.Features(
        {"tokens": [datasets.Value("string")], "ner_tags": datasets.Sequence(names)}
    )
    rows = {"tokens": [["Ana", "Ruiz"], ["ayer"]], "ner_tags": [[1, 2], [0]]}
    return datasets.Dataset.from_dict(rows, features=features)


@pytest.fixture(scope="module")
def classes() -> Any:
    label = datasets.ClassLabel(names=["neg", "pos"])
    features = datasets.Features({"text": datasets.Value("string"), "label": label})
    rows = {"text": ["bien", "mal", "?"], "label": [1, 0, -1]}
    return datasets.Dataset.from_dict(rows, features=features)


TAGGED = (
    TaggingRow("1", ("Ana", "Ruiz"), ("B-PER", "I-PER")),
    TaggingRow("2", ("ayer",), ("O",)),
)
CLASSES = (
    TextRow("1", "bien", None, "pos"),
    TextRow("2", "mal", None, "neg"),
    TextRow("3", "?", None, None),
)


def hub(source: HubSource, task: str, **columns: str) -> Split:
    return read_split("train", task=task, format="hub", hub=source, columns=columns)


@pytest.mark.parametrize("way", ["parquet", "folder", "saved"])
def test_class_numbers_become_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tagged: Any, classes: Any, way: str
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for name, data in (("tagged", tagged), ("classes", classes)):
        folder = tmp_path / name
        if way == "saved":
            datasets.DatasetDict({"train": data}).save_to_disk(str(folder))
        else:
            folder.mkdir()
            data.to_parquet(str(folder / "train.parquet"))
    tags, texts = {"tags": "ner_tags"}, "text-classification"
    if way == "parquet":
        split = read_split(
            "train",
            task="token-classification",
            format="parquet",
            path=[tmp_path / "tagged" / "train.parquet"],
            columns=tags,
        )
        assert split.rows == TAGGED
        path = tmp_path / "classes" / "train.parquet"
        split = read_split("train", task=texts, format="parquet", path=[path])
        assert split.rows[1].where == f"{path}:row 2"
    else:
        source = HubSource(str(tmp_path / "tagged"))
        assert hub(source, "token-classification", **tags).rows == TAGGED
        split = hub(HubSource(str(tmp_path / "classes")), texts)
    assert split.rows == CLASSES


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match=r"a\.parquet: not a readable Parquet file"):
        read_split("train", task="text-classification", format="parquet", path=[path])


def test_offline_the_remedy_is_a_local_copy() -> None:
    with pytest.raises(DataError, match=r"cannot be reached.*`format: parquet`"):
        hub(HubSource("nobody/nothing-of-that-name"), "text-classification")


def test_scripts_are_refused_with_their_conversion(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "old.py").write_text("raise SystemExit('never run')")
    with pytest.raises(DataError, match=r"scripts are not run.*refs/convert/parquet"):
        hub(HubSource(str(folder)), "text-classification")


def test_an_unknown_split_is_answered_with_the_known_ones(tmp_path: Path, classes: Any) -> None:
    (tmp_path / "d").mkdir()
    classes.to_parquet(str(tmp_path / "d" / "train.parquet"))
    with pytest.raises(DataError, match=r"as `split`.*train"):
        hub(HubSource(str(tmp_path / "d"), split="dev"), "text-classification")


def test_a_missing_library_gives_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install = r'pip install "destilo\[data\]"'
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=install):
        hub(HubSource("a/b"), "text-classification")
    path = tmp_path / "a.parquet"
    path.write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=install):
        read_split("train", task="text-classification", format="parquet", path=[path])
