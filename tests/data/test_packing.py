import json
import pickle
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from destilo.data import packing
from destilo.data.blocks import Blocks, Packed, open_store
from destilo.data.corpus import CorpusSource, Division, read_documents
from destilo.data.hub import HubSource
from destilo.data.packing import PackSettings, cuts, pack
from destilo.errors import DataError, InputError
from destilo.progress import Silent
from destilo.tasks.masking import MaskPieces, MaskSettings, mask_block
from tests.factories import KINDS, SENTENCES, Kind, text_tokenizer

FILES = ("pieces", "marks", "blocks")


def documents(n: int, *, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [
        "\n".join(rng.choice(SENTENCES) for _ in range(rng.choice((1, 1, 2, 5, 12)))) + f" {number}"
        for number in range(n)
    ]


@pytest.fixture
def source(tmp_path: Path) -> CorpusSource:
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(documents(120)), encoding="utf-8")
    return CorpusSource("train", "text", (path,))


SETTINGS = PackSettings(max_length=40, division=Division(held_out=0.2))


def packed(
    source: CorpusSource,
    root: Path,
    settings: PackSettings = SETTINGS,
    *,
    kind: Kind = "wordpiece",
    progress: Silent | None = None,
) -> Packed:
    return pack(source, text_tokenizer(kind), root=root, settings=settings, progress=progress)


def inside(block: Any, blocks: Blocks) -> list[int]:
    ids: list[int] = block.input_ids[1:-1].tolist()
    assert blocks.n_special == 2
    return ids


@pytest.mark.parametrize("kind", KINDS)
def test_the_blocks_are_the_documents_and_nothing_else(
    source: CorpusSource, tmp_path: Path, kind: Kind
) -> None:
    tokenizer, store = text_tokenizer(kind), packed(source, tmp_path / "s", kind=kind)
    for side, blocks in (("train", store.train), ("held_out", store.held_out)):
        at = 0
        wanted = [
            one.text for one in read_documents(source) if SETTINGS.division.side(one.key) == side
        ]
        for text in wanted:
            pieces = tokenizer.pieces([text])[0].tolist()
            mine: list[int] = []
            characters = 0
            while len(mine) < len(pieces):  # so no block holds pieces of two documents
                block = blocks[at]
                mine += inside(block, blocks)
                assert block.input_ids[0] == tokenizer.cls_id
                assert block.input_ids[-1] == tokenizer.sep_id
                assert len(block) <= SETTINGS.max_length
                assert block.n_characters == block.characters.sum()
                assert block.characters[0] == block.characters[-1] == 0
                assert block.begins_word[[0, 1, -1]].all()
                characters += block.n_characters
                at += 1
            assert mine == pieces
            assert characters == len(text)
        assert at == len(blocks) > 0
        facts = store.facts[side]
        assert facts.documents == len(wanted)
        assert facts.blocks == len(blocks)
        assert facts.characters == sum(map(len, wanted))
        assert facts.pieces == sum(len(block) - 2 for block in blocks)
    assert store.left_out == 0


@given(st.lists(st.booleans(), max_size=80), st.integers(2, 20))
def test_a_document_is_cut_where_words_begin(begins: list[bool], capacity: int) -> None:
    marks = np.array([True, *begins][: len(begins)], dtype=bool)
    ends = cuts(marks, capacity=capacity)
    lengths = np.diff([0, *ends])
    assert (ends[-1] if ends else 0) == len(marks)
    assert (lengths >= 1).all()
    assert (lengths <= capacity).all()
    for start, stop in zip([0, *ends], ends[:-1], strict=False):
        word_begins = np.flatnonzero(marks[start : stop + 1])[1:]
        # In a word as long as half a block there is nothing to be saved.
        assert marks[stop] or len(word_begins) == 0 or word_begins[-1] <= capacity // 2


@given(st.integers(1, 200), st.integers(4, 30))
def test_no_rest_is_short(length: int, capacity: int) -> None:
    lengths = np.diff([0, *cuts(np.ones(length, dtype=bool), capacity=capacity)])
    assert length <= capacity or lengths.min() >= capacity // 4
    assert len(lengths) == -(-length // capacity)
    assert (lengths[:-2] == capacity).all()


def test_short_documents_are_left_out_and_counted(source: CorpusSource, tmp_path: Path) -> None:
    whole = packed(source, tmp_path / "s")
    lengths = [
        len(text_tokenizer("wordpiece").pieces([one.text])[0]) for one in read_documents(source)
    ]
    limit = int(np.median(lengths))
    settings = PackSettings(max_length=40, division=SETTINGS.division, shortest=limit)
    less = packed(source, tmp_path / "s", settings)
    assert sum(facts.too_short for facts in less.facts.values()) == sum(
        length < limit for length in lengths
    )
    assert less.facts["train"].documents == whole.facts["train"].documents
    assert less.facts["train"].pieces < whole.facts["train"].pieces


@pytest.mark.parametrize("kind", KINDS)
def test_across_documents_blocks_are_full_and_separated(
    source: CorpusSource, tmp_path: Path, kind: Kind
) -> None:
    tokenizer = text_tokenizer(kind)
    settings = PackSettings(max_length=40, across_documents=True, division=SETTINGS.division)
    store = packed(source, tmp_path / "s", settings, kind=kind)
    blocks = store.train
    assert np.median(blocks.lengths()) >= 38
    assert len(blocks) < len(packed(source, tmp_path / "s", kind=kind).train)
    found: list[int] = []
    for block in blocks:
        pieces = inside(block, blocks)
        assert tokenizer.sep_id not in (pieces[0], pieces[-1])
        separators = block.input_ids == tokenizer.sep_id
        assert block.begins_word[separators].all()
        assert (block.characters[separators] == 0).all()
        found += [piece for piece in pieces if piece != tokenizer.sep_id]
    wanted = [
        one.text for one in read_documents(source) if SETTINGS.division.side(one.key) == "train"
    ]
    assert found == np.concatenate(tokenizer.pieces(wanted)).tolist()
    assert store.facts["train"].characters == sum(map(len, wanted))
    assert sum(block.n_characters for block in blocks) == sum(map(len, wanted))


class _Kill(Silent):
    """Stops packing as a kill would, after so many batches."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.told: list[str] = []

    def note(self, message: str, *, level: str = "info") -> None:
        self.told.append(message)

    def advance(self, amount: int = 1, *, figures: Any = None) -> None:
        self.after -= 1
        if self.after < 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("across", [False, True])
def test_an_interrupted_packing_ends_with_the_same_bytes(
    source: CorpusSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, across: bool
) -> None:
    monkeypatch.setattr("destilo.data.corpus.SLICE_CHARACTERS", 100)
    settings = PackSettings(max_length=40, across_documents=across, division=SETTINGS.division)
    whole = packed(source, tmp_path / "whole", settings).folder
    monkeypatch.setattr(packing, "_BATCH_CHARACTERS", 500)
    monkeypatch.setattr(packing, "_COMMIT_PIECES", 700)
    kills = 0
    while True:
        progress = _Kill(after=4)
        try:
            packed(source, tmp_path / "killed", settings, progress=progress)
        except KeyboardInterrupt:
            folder = next((tmp_path / "killed").iterdir())
            with pytest.raises(DataError, match="no finished store"):
                open_store(folder)
            for file in folder.glob("*.pieces"):  # what a kill leaves half written
                file.write_bytes(file.read_bytes() + b"half")
            kills += 1
            assert kills < 100
            continue
        break
    assert kills > 2
    assert "packing goes on behind" in progress.told[0]
    folder = next((tmp_path / "killed").iterdir())
    names = sorted(path.name for path in whole.iterdir())
    assert sorted(path.name for path in folder.iterdir()) == names
    for name in names:
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name


class _Watch(Silent):
    def __init__(self) -> None:
        self.total = self.done = 0
        self.rates: list[float] = []
        self.told: list[str] = []

    def note(self, message: str, *, level: str = "info") -> None:
        self.told.append(message)

    def begin(self, name: str, total: int, *, done: int = 0) -> None:
        self.total, self.done = total, done

    def advance(self, amount: int = 1, *, figures: Any = None) -> None:
        self.done += amount
        self.rates.append(figures["tokens/s"])


def test_a_watcher_is_told_how_far_it_is(
    source: CorpusSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "_BATCH_CHARACTERS", 500)
    watch = _Watch()
    packed(source, tmp_path / "s", progress=watch)
    assert watch.done == watch.total == source.size_bytes
    assert len(watch.rates) > 10
    assert min(watch.rates) > 0


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_data_set_is_packed_from_the_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: CorpusSource
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(packing, "_TELL_SECONDS", -1.0)
    (tmp_path / "set").mkdir()
    rows = datasets.Dataset.from_dict({"text": documents(120)})
    rows.to_parquet(str(tmp_path / "set/train.parquet"))
    watch = _Watch()
    hub = CorpusSource("train", "hub", hub=HubSource(str(tmp_path / "set")))
    found = packed(hub, tmp_path / "s", progress=watch)
    assert "tokens packed" in watch.told[0]
    assert found.facts == packed(source, tmp_path / "s").facts


def test_what_is_packed_is_not_packed_again(source: CorpusSource, tmp_path: Path) -> None:
    packed(source, tmp_path / "s")
    progress = _Kill(after=0)
    packed(source, tmp_path / "s", progress=progress)
    assert "packed before" in progress.told[0]


def test_everything_that_matters_makes_another_store(source: CorpusSource, tmp_path: Path) -> None:
    root = tmp_path / "s"
    stores = {packed(source, root).folder}
    for settings in (
        PackSettings(max_length=41, division=SETTINGS.division),
        PackSettings(max_length=40, division=SETTINGS.division, across_documents=True),
        PackSettings(max_length=40, division=SETTINGS.division, shortest=3),
        PackSettings(max_length=40, division=Division(held_out=0.2, seed=14)),
        PackSettings(max_length=40, division=Division(held_out=0.2, kept=0.5)),
    ):
        stores.add(packed(source, root, settings).folder)
    stores.add(packed(source, root, kind="unigram").folder)
    copy = tmp_path / "copy"
    copy.write_bytes(source.paths[0].read_bytes())
    assert packed(CorpusSource("train", "text", (copy,)), root).folder in stores
    copy.write_bytes(source.paths[0].read_bytes() + b"!")
    stores.add(packed(CorpusSource("train", "text", (copy,)), root).folder)
    assert len(stores) == 8


def test_half_of_the_data_is_measured_on_the_same_text(
    source: CorpusSource, tmp_path: Path
) -> None:
    whole = packed(source, tmp_path / "s")
    settings = PackSettings(max_length=40, division=Division(held_out=0.2, kept=0.5))
    half = packed(source, tmp_path / "s", settings)
    assert half.left_out > 0
    assert half.facts["held_out"] == whole.facts["held_out"]
    documents = half.facts["train"].documents + half.left_out
    assert documents == whole.facts["train"].documents
    texts = [block.input_ids.tolist() for block in whole.held_out]
    assert [block.input_ids.tolist() for block in half.held_out] == texts


def test_blocks_are_a_sequence(source: CorpusSource, tmp_path: Path) -> None:
    blocks = packed(source, tmp_path / "s").train
    assert blocks.lengths().tolist() == [len(block) for block in blocks]
    assert blocks.lengths([3, 0]).tolist() == [len(blocks[3]), len(blocks[0])]
    assert (blocks[-1].input_ids == blocks[len(blocks) - 1].input_ids).all()
    assert (blocks[np.int64(2)].input_ids == blocks[2].input_ids).all()
    for index in (len(blocks), -len(blocks) - 1):
        with pytest.raises(IndexError):
            blocks[index]
    again = pickle.loads(pickle.dumps(blocks))
    assert (again[5].input_ids == blocks[5].input_ids).all()
    assert again.digest == blocks.digest


def test_threads_read_the_same_blocks(source: CorpusSource, tmp_path: Path) -> None:
    blocks = packed(source, tmp_path / "s").train
    wanted = [block.input_ids.tolist() for block in blocks]
    found: dict[int, list[int]] = {}

    def read(first: int) -> None:
        for index in range(first, len(blocks), 4):
            found[index] = blocks[index].input_ids.tolist()

    threads = [threading.Thread(target=read, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[index] for index in range(len(blocks))] == wanted


def test_a_long_unknown_piece_keeps_its_characters(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("la " + "ж" * 500, encoding="utf-8")
    store = packed(CorpusSource("train", "text", (path,)), tmp_path / "s", PackSettings())
    assert store.train[0].n_characters == 503
    assert store.train[0].characters.max() == 127
    assert store.facts["train"].unknown_pieces == 1
    assert store.facts["train"].unknown_characters == 501


def test_a_damaged_store_is_refused(source: CorpusSource, tmp_path: Path) -> None:
    folder = packed(source, tmp_path / "s").folder
    file = folder / "train.pieces"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"train\.pieces has \d+ bytes"):
        open_store(folder)
    meta = json.loads((folder / "store.json").read_text())
    (folder / "store.json").write_text(json.dumps(meta | {"format": 0}))
    with pytest.raises(DataError, match="another version"):
        open_store(folder)


def test_what_cannot_be_packed_is_said(source: CorpusSource, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no room for text"):
        packed(source, tmp_path / "s", PackSettings(max_length=3))
    empty = tmp_path / "empty"
    empty.write_text("\n \n")
    with pytest.raises(DataError, match="no text to train on"):
        packed(CorpusSource("train", "text", (empty,)), tmp_path / "s")
    folder = packed(source, tmp_path / "s").folder
    with packing._held(folder), pytest.raises(InputError, match="another destilo process"):
        packed(source, tmp_path / "s")


@pytest.mark.parametrize("kind", KINDS)
def test_whole_words_to_guess_are_as_many_characters_in_every_vocabulary(
    tmp_path: Path, kind: Kind
) -> None:
    def known(word: str) -> bool:
        pairs = [(one.pieces([word])[0], one.unk_id) for one in map(text_tokenizer, KINDS)]
        return not any(unknown in pieces for pieces, unknown in pairs)

    words = {word for text in documents(120) for word in text.split()}
    kept = {word for word in words if known(word)}
    path = tmp_path / "a"
    path.write_text(
        "\n\n".join(" ".join(filter(kept.__contains__, text.split())) for text in documents(120)),
        encoding="utf-8",
    )
    source = CorpusSource("train", "text", (path,))
    store = packed(source, tmp_path / "s", PackSettings(max_length=60), kind=kind)
    assert store.facts["train"].unknown_pieces == 0
    blocks = store.train
    pieces, settings = MaskPieces.of(text_tokenizer(kind)), MaskSettings(whole_words=True)
    guessed = 0
    for epoch in range(8):
        for index, block in enumerate(blocks):
            masked = mask_block(
                block.input_ids,
                block.begins_word,
                pieces=pieces,
                settings=settings,
                example=index,
                epoch=epoch,
            )
            guessed += int(block.characters[masked.positions].sum())
    text = sum(block.n_characters for block in blocks)
    assert guessed / (8 * text) == pytest.approx(0.15, abs=0.005)


_MEASURE = """
import sys
from pathlib import Path
from destilo.data.corpus import CorpusSource
from destilo.data.order import BlockPlan
from destilo.data.hub import HubSource
from destilo.data.packing import PackSettings, pack
from destilo.tasks.tokenization import TextTokenizer
from tokenizers import Tokenizer
tokenizer = TextTokenizer.from_tokenizer(
    Tokenizer.from_file(sys.argv[1]), cls="[CLS]", sep="[SEP]", mask="[MASK]", unk="[UNK]")
root = Path(sys.argv[3])
store = pack(CorpusSource("train", "text", (Path(sys.argv[2]),)), tokenizer, root=root)
plan = BlockPlan(len(store.train), store.train.lengths, batch_size=32, seed=1)
pieces = sum(len(store.train[i]) for batch in plan.epoch(0) for i in batch)
# Not ru_maxrss, which begins with what the parent process had.
status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
print(status["VmHWM"].split()[0], pieces)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is told by Linux")
def test_more_text_needs_no_more_memory(tmp_path: Path) -> None:
    tokenizer = tmp_path / "tokenizer.json"
    text_tokenizer("wordpiece").tokenizer.save(str(tokenizer))
    used = []
    text = "\n\n".join(documents(4000)) + "\n\n"
    for times in (4, 16):
        path = tmp_path / f"{times}.txt"
        path.write_text(text * times, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", _MEASURE, str(tokenizer), str(path), str(tmp_path / "s")],
            capture_output=True,
            text=True,
            check=True,
        )
        memory, pieces = map(int, done.stdout.split())
        used.append((memory, pieces))
    assert used[1][1] == 4 * used[0][1]
    # Kibibytes; the allocator's own unrest. The larger text alone has 20 MB more.
    assert used[1][0] - used[0][0] < 8 << 10
