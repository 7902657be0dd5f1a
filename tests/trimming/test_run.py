"""From a folder and texts to a folder that transformers and tokenizers both read alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import transformers
from tokenizers import Tokenizer
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from destilo.errors import InputError, ModelError
from destilo.models.folder import SETTINGS_FILE, load_model, save_model
from destilo.models.vocabulary import ALGORITHMS, train_tokenizer
from destilo.trimming.choosing import Target
from destilo.trimming.corpus import Corpus
from destilo.trimming.report import REPORT_FILE, TrimReport
from destilo.trimming.run import load_source, trim, trim_model
from tests.encoders import CONFIGS, LABELS, heads_of, tiny_model
from tests.factories import SENTENCES, raw_tokenizer

SIZES = {"byte-level-bpe": 340, "wordpiece": 200, "unigram": 110}
HELD_OUT = "La niña del pingüino se cayó en Mérida."
PAIRS = [
    *((algorithm, "bert") for algorithm in ALGORITHMS),
    ("byte-level-bpe", "roberta"),
    ("unigram", "xlm-roberta"),
    ("unigram", "albert"),
    ("unigram", "deberta-v2"),
    ("byte-level-bpe", "modernbert"),
    ("wordpiece", "electra"),
    ("wordpiece", "distilbert"),
]


def write_source(folder: Path, algorithm: str, model_type: str) -> PreTrainedTokenizerBase:
    """A model for masked words with a tokenizer of its own."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    tokenizer = train_tokenizer(
        SENTENCES, algorithm=algorithm, vocab_size=SIZES[algorithm], model_type=model_type
    )
    special = {
        f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("pad", "cls", "sep")
    }
    shape = CONFIGS["roberta" if model_type == "xlm-roberta" else model_type]
    keys = {**shape, **special, "vocab_size": len(tokenizer)}
    config = AutoConfig.for_model(model_type, **keys)
    model = cast("PreTrainedModel", AutoModelForMaskedLM.from_config(config))
    save_model(folder, model=model, tokenizer=tokenizer, settings={})
    (folder / SETTINGS_FILE).unlink()
    return tokenizer


def corpus(folder: Path, *lines: str) -> Corpus:
    path = folder / "corpus.txt"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return Corpus("es", (path,))


@pytest.mark.parametrize(("algorithm", "model_type"), PAIRS)
def test_a_trimmed_folder_reads_alike_everywhere(
    algorithm: str, model_type: str, tmp_path: Path
) -> None:
    whole = write_source(tmp_path / "m", algorithm, model_type)
    report = trim(
        str(tmp_path / "m"),
        corpora=[corpus(tmp_path, *SENTENCES[:4])],
        held_out=[corpus(tmp_path, *SENTENCES[:4])],
        target=Target(coverage=1.0),
        output=tmp_path / "t",
    )
    assert report.after.vocabulary < report.before.vocabulary
    assert report.held_out[0].coverage == report.held_out[0].lines_unchanged == 1.0
    plain = AutoTokenizer.from_pretrained(tmp_path / "t")
    alone = Tokenizer.from_file(str(tmp_path / "t" / "tokenizer.json"))
    before = load_source(str(tmp_path / "m")).model.eval()
    after = load_source(str(tmp_path / "t")).model.eval()
    assert after.config.pad_token_id == plain.pad_token_id
    names = plain.convert_ids_to_tokens(list(range(len(plain))))
    rows = torch.tensor(whole.convert_tokens_to_ids(names))
    assert torch.equal(rows, rows.sort().values)
    for text in (*SENTENCES, HELD_OUT, "汉字 😀"):
        assert plain(text, text)["input_ids"] == alone.encode(text, text).ids
    for text in SENTENCES[:4]:
        old, new = whole(text, return_tensors="pt"), plain(text, return_tensors="pt")
        assert list(old) == list(new)
        assert torch.equal(rows[new["input_ids"]], old["input_ids"])
        with torch.inference_mode():
            logits = before(**old).logits[..., rows], after(**new).logits
        assert torch.allclose(*logits, rtol=1e-6, atol=1e-6)


def scored(*special: str) -> list[tuple[str, float]]:
    pieces = json.loads(raw_tokenizer("unigram").to_str())["model"]["vocab"]
    plain = [(piece, score) for piece, score in pieces if not piece.startswith("[")]
    return [*((piece, 0.0) for piece in special), *plain, ("<mask>", 0.0)]


def native_tokenizer(name: str) -> Any:
    """A tokenizer of a class of its own, which builds its parts anew whenever it is loaded."""
    if name in ("BertTokenizer", "DistilBertTokenizer"):
        vocab: Any = json.loads(raw_tokenizer("wordpiece").to_str())["model"]["vocab"]
        return getattr(transformers, name)(vocab=vocab, do_lower_case=False)
    if name == "RobertaTokenizer":
        model = json.loads(raw_tokenizer("byte-level-bpe").to_str())["model"]
        merges: Any = [tuple(pair) for pair in model["merges"]]
        return transformers.RobertaTokenizer(vocab=model["vocab"], merges=merges)
    special = {
        "XLMRobertaTokenizer": ("<s>", "<pad>", "</s>", "<unk>"),
        "CamembertTokenizer": ("<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED"),
        "AlbertTokenizer": ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"),
        "DebertaV2Tokenizer": ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"),
    }[name]
    return getattr(transformers, name)(vocab=scored(*special))


@pytest.mark.parametrize(
    ("name", "model_type"),
    [
        ("BertTokenizer", "bert"),
        ("DistilBertTokenizer", "distilbert"),
        ("RobertaTokenizer", "roberta"),
        ("XLMRobertaTokenizer", "xlm-roberta"),
        ("CamembertTokenizer", "camembert"),
        ("AlbertTokenizer", "albert"),
        ("DebertaV2Tokenizer", "deberta-v2"),
    ],
)
def test_tokenizers_of_classes_of_their_own(name: str, model_type: str, tmp_path: Path) -> None:
    whole = native_tokenizer(name)
    shape = CONFIGS.get(model_type, CONFIGS["roberta"])
    keys = {**shape, "vocab_size": len(whole), "pad_token_id": whole.pad_token_id}
    keys |= {"bos_token_id": whole.cls_token_id, "eos_token_id": whole.sep_token_id}
    model = cast("PreTrainedModel", AutoModel.from_config(AutoConfig.for_model(model_type, **keys)))
    save_model(tmp_path / "m", model=model, tokenizer=whole, settings={})
    trim(
        str(tmp_path / "m"),
        corpora=[corpus(tmp_path, *SENTENCES[:4])],
        target=Target(coverage=1.0),
        output=tmp_path / "t",
    )
    plain = AutoTokenizer.from_pretrained(tmp_path / "t")
    alone = Tokenizer.from_file(str(tmp_path / "t" / "tokenizer.json"))
    assert type(plain).__name__ == name
    assert len(plain) < len(whole)
    for text in (*SENTENCES, HELD_OUT, "汉字 [MASK] <mask> 😀"):
        assert plain(text, text)["input_ids"] == alone.encode(text, text).ids
    for text in SENTENCES[:4]:
        tokens = plain.convert_ids_to_tokens(plain(text)["input_ids"])
        assert tokens == whole.convert_ids_to_tokens(whole(text)["input_ids"])
    assert load_source(str(tmp_path / "t")).model.config.pad_token_id == plain.pad_token_id


@pytest.mark.parametrize("task", ["token-classification", "question-answering"])
def test_a_fine_tuned_folder_keeps_its_head_and_settings(task: str, tmp_path: Path) -> None:
    tokenizer = train_tokenizer(SENTENCES, algorithm="wordpiece", vocab_size=200)
    model = tiny_model("bert", task, vocab_size=len(tokenizer), pad_id=tokenizer.pad_token_id)
    settings = {"task": task, "labels": list(LABELS)}
    save_model(tmp_path / "m", model=model, tokenizer=tokenizer, settings=settings)
    target = Target(coverage=1.0)
    lines = corpus(tmp_path, *SENTENCES[:4])
    trim(str(tmp_path / "m"), corpora=[lines], target=target, output=tmp_path / "t")
    labels = () if task == "question-answering" else LABELS
    trimmed = load_model(str(tmp_path / "t"), task, labels=labels)
    one, other = (
        tokenizer(SENTENCES[0], return_tensors="pt"),
        trimmed.tokenizer(SENTENCES[0], return_tensors="pt"),
    )
    pairs = zip(heads_of(model, one), heads_of(trimmed.model, other), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)
    assert json.loads((tmp_path / "t" / SETTINGS_FILE).read_text()) == settings


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_trimming_a_folder_again_writes_the_same(algorithm: str, tmp_path: Path) -> None:
    write_source(tmp_path / "m", algorithm, "bert")
    keys: Any = {"corpora": [corpus(tmp_path, *SENTENCES)], "target": Target(size=310)}
    if algorithm != "byte-level-bpe":
        keys["target"] = Target(size=100)
    trim(str(tmp_path / "m"), output=tmp_path / "t", **keys)
    trim(str(tmp_path / "t"), output=tmp_path / "again", **keys)
    for path in (tmp_path / "t").iterdir():
        if path.name != REPORT_FILE:
            assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_all_pieces_kept_is_the_model_itself(tmp_path: Path) -> None:
    tokenizer = write_source(tmp_path / "m", "wordpiece", "bert")
    before, after = trim_model(tmp_path / "m", keep=range(len(tokenizer)), output=tmp_path / "t")
    assert before == after
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        assert (tmp_path / "m" / name).read_bytes() == (tmp_path / "t" / name).read_bytes(), name


def test_every_hundredth_line_is_set_aside(tmp_path: Path) -> None:
    write_source(tmp_path / "m", "wordpiece", "bert")
    lines = ["El río Adaja"] * 99 + [HELD_OUT] + ["El río Adaja"] * 100
    report = trim(
        str(tmp_path / "m"),
        corpora=[corpus(tmp_path, *lines)],
        target=Target(coverage=1.0),
        output=tmp_path / "t",
    )
    (counted,), (held_out,) = report.counted, report.held_out
    assert (counted.n_lines, held_out.n_lines) == (198, 2)
    assert counted.coverage == 1.0 > held_out.coverage
    assert held_out.pieces_per_word_after > held_out.pieces_per_word_before
    assert held_out.lines_unchanged == 0.5
    written = TrimReport.model_validate_json((tmp_path / "t" / REPORT_FILE).read_text())
    assert written == report
    assert sum(kind.kept for kind in report.kinds) == report.after.vocabulary


def test_rows_without_a_piece_go_and_little_text_is_no_check(tmp_path: Path) -> None:
    tokenizer = write_source(tmp_path / "m", "wordpiece", "bert")
    model = load_source(str(tmp_path / "m")).model
    model.resize_token_embeddings(256, mean_resizing=False)
    model.save_pretrained(tmp_path / "m")
    report = trim(
        str(tmp_path / "m"),
        corpora=[corpus(tmp_path, *SENTENCES)],
        target=Target(size=10_000),
        output=tmp_path / "t",
    )
    assert (report.before.vocabulary, report.after.vocabulary) == (256, len(tokenizer))
    assert report.held_out == ()


def test_an_output_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    tokenizer = write_source(tmp_path / "m", "wordpiece", "bert")
    keep = range(len(tokenizer))
    with pytest.raises(InputError, match="the model itself"):
        trim_model(tmp_path / "m", keep=keep, output=tmp_path / "m", force=True)
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="there already"):
        trim_model(tmp_path / "m", keep=keep, output=tmp_path / "t")
    with pytest.raises(InputError, match="holds no model"):
        trim_model(tmp_path / "m", keep=keep, output=tmp_path / "t", force=True)
    trim_model(tmp_path / "m", keep=keep, output=tmp_path / "new")
    trim_model(tmp_path / "m", keep=keep, output=tmp_path / "new", force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "new", "t"]


def test_nothing_is_left_where_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = write_source(tmp_path / "m", "wordpiece", "bert")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("destilo.trimming.run.replace_folder", full)
    with pytest.raises(OSError, match="No space"):
        trim_model(tmp_path / "m", keep=range(len(tokenizer)), output=tmp_path / "t")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_models_that_cannot_be_trimmed_say_why(tmp_path: Path) -> None:
    write_source(tmp_path / "m", "wordpiece", "bert")
    path = tmp_path / "m" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"architectures": ["BertForQuestionAnswering"]}))
    with pytest.raises(ModelError, match="lack qa_outputs"):
        load_source(str(tmp_path / "m"))
    path.write_text(json.dumps(config | {"model_type": "gpt2"}))
    with pytest.raises(ModelError, match="Unknown architecture"):
        load_source(str(tmp_path / "m"))
    with pytest.raises(ModelError, match="nowhere"):
        load_source(str(tmp_path / "nowhere"))
