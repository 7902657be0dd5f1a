"""Tokenizers trained for a student, and embeddings carried over from another vocabulary."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, trainers
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from destilo.errors import DataError, ModelError
from destilo.models.folder import load_model, save_model, text_tokenizer
from destilo.models.vocabulary import ALGORITHMS, train_tokenizer, transfer_embeddings
from destilo.tasks import TextTokenizer
from tests.encoders import LABELS, heads_of, same_heads, tiny_model
from tests.factories import SENTENCES

SIZES = {"byte-level-bpe": 300, "wordpiece": 200, "unigram": 110}
ODD_WORDS = (
    *(
        "¡Ñandú!",
        "pingüino",
        "3.500.000",
        "e\u0301xito",
        "\u200b",
        "a\u200bb",
        "😀👩‍🚀",
        "a\u00a0b",
    ),
    *("(IVA", "##", "##ción", "▁x", "Ġ", "[CLS]", "<s>", "\ufffd", "\x01", "Ａ", "x" * 120, "汉字"),
)


def trained(algorithm: str, model_type: str = "bert") -> PreTrainedTokenizerFast:
    tokenizer = train_tokenizer(
        SENTENCES, algorithm=algorithm, vocab_size=SIZES[algorithm], model_type=model_type
    )
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    return tokenizer


# -- training ------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("model_type", ["bert", "roberta", "xlm-roberta", "modernbert"])
def test_a_trained_tokenizer_reads_back_the_same_everywhere(
    algorithm: str, model_type: str, tmp_path: Path
) -> None:
    """In memory, plain transformers and destilo give the same pieces, layout and segments."""
    tokenizer = trained(algorithm, model_type)
    kind = model_type.removeprefix("xlm-")
    model = tiny_model(kind, vocab_size=len(tokenizer), pad_id=tokenizer.pad_token_id)
    save_model(tmp_path / "m", model=model, tokenizer=tokenizer, settings={})
    own, plain = (
        TextTokenizer.from_folder(tmp_path / "m"),
        AutoTokenizer.from_pretrained(tmp_path / "m"),
    )
    assert own == text_tokenizer(tokenizer, model.config)
    texts = [*SENTENCES, " ".join(ODD_WORDS)]
    for text, pieces in zip(texts, own.pieces(texts), strict=True):
        alone, pair = plain(text), plain(text, text)
        assert own.join(pieces).input_ids.tolist() == alone["input_ids"]
        assert tokenizer(text)["input_ids"] == alone["input_ids"]
        joined = own.join(pieces, pieces)
        assert joined.input_ids.tolist() == pair["input_ids"]
        types = joined.token_type_ids
        assert (None if types is None else types.tolist()) == pair.get("token_type_ids")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("model_type", ["bert", "roberta"])
def test_words_split_as_transformers_splits_them(
    algorithm: str, model_type: str, tmp_path: Path
) -> None:
    tokenizer = trained(algorithm, model_type)
    tokenizer.save_pretrained(tmp_path)
    words = [word for sentence in SENTENCES for word in sentence.split()] + list(ODD_WORDS)
    encoded = AutoTokenizer.from_pretrained(tmp_path)(words, is_split_into_words=True)
    expected: list[list[int]] = [[] for _ in words]
    for piece, word in zip(encoded["input_ids"], encoded.word_ids(), strict=True):
        if word is not None:
            expected[word].append(piece)
    assert TextTokenizer.from_folder(tmp_path).words(words) == expected


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_special_pieces_stand_where_the_architecture_wants_them(algorithm: str) -> None:
    bert, roberta = trained(algorithm), trained(algorithm, "roberta")
    assert bert.pad_token_id == 0
    assert [roberta.cls_token_id, roberta.pad_token_id, roberta.sep_token_id] == [0, 1, 2]
    for tokenizer in (bert, roberta):
        special = ("cls_token", "sep_token", "pad_token", "unk_token", "mask_token")
        numbers = {getattr(tokenizer, f"{name}_id") for name in special}
        assert len(numbers) == len(special)
        assert tokenizer.decode(tokenizer("La niña")["input_ids"], skip_special_tokens=True)


@pytest.mark.parametrize("model_type", ["bert", "roberta"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_same_texts_give_the_same_tokenizer(algorithm: str, model_type: str) -> None:
    """A run that is resumed, or that several processes share, trains it again."""
    once, again = (trained(algorithm, model_type).backend_tokenizer.to_str() for _ in range(2))
    assert once == again


def test_wordpiece_finds_the_merges_of_the_library() -> None:
    """By another way; only equally frequent pairs may be merged in another order."""
    texts = [f"{word} " * (3 + count) for count, word in enumerate(" ".join(SENTENCES).split())]
    own = train_tokenizer(texts, algorithm="wordpiece", vocab_size=300)
    library = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    library.normalizer = own.backend_tokenizer.normalizer
    library.pre_tokenizer = own.backend_tokenizer.pre_tokenizer
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    library.train_from_iterator(texts, trainer)
    assert len(own) == library.get_vocab_size() == 300
    mine, theirs = (
        sum(len(encoding.ids) for encoding in backend.encode_batch(texts, add_special_tokens=False))
        for backend in (own.backend_tokenizer, library)
    )
    assert abs(mine - theirs) < 0.05 * theirs


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_text_decodes_to_itself(algorithm: str) -> None:
    tokenizer = trained(algorithm)
    text = "La niña plantó un olivo"
    decoded = tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True)
    assert str(decoded).removeprefix(" ") == text


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_few_texts_give_fewer_pieces_than_asked(algorithm: str) -> None:
    assert len(train_tokenizer(SENTENCES, algorithm=algorithm, vocab_size=9000)) < 1000


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_vocabulary_below_the_alphabet_is_refused(algorithm: str) -> None:
    with pytest.raises(ModelError, match=r"vocab_size|pieces failed.*Raise vocab_size"):
        train_tokenizer(SENTENCES, algorithm=algorithm, vocab_size=20)


def test_an_unknown_algorithm_gets_a_suggestion() -> None:
    with pytest.raises(ModelError, match=r"Did you mean 'wordpiece'"):
        train_tokenizer(SENTENCES, algorithm="word-piece", vocab_size=100)


def test_trouble_with_the_texts_is_said_as_it_is() -> None:
    def texts() -> Iterator[str]:
        yield SENTENCES[0]
        raise DataError("train.txt:7: broken.")

    with pytest.raises(DataError, match=r"train\.txt:7"):
        train_tokenizer(texts(), algorithm="wordpiece", vocab_size=200)


# -- embeddings ----------------------------------------------------------------------------


def rows(model: PreTrainedModel) -> Tensor:
    weight = model.get_input_embeddings().weight
    assert isinstance(weight, Tensor)
    return weight.detach().clone()


def fitting(tokenizer: PreTrainedTokenizerFast, model_type: str = "bert") -> PreTrainedModel:
    return tiny_model(model_type, vocab_size=len(tokenizer), pad_id=tokenizer.pad_token_id)


def renumbered(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The same WordPiece pieces under other numbers, padding included."""
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    pieces = sorted(content["model"]["vocab"], key=content["model"]["vocab"].__getitem__)
    numbers = {piece: number for number, piece in enumerate([*pieces[3:], *pieces[:3]])}
    content["model"]["vocab"] = numbers
    for added in content["added_tokens"]:
        added["id"] = numbers[added["content"]]
    for name, special in content["post_processor"]["special_tokens"].items():
        special["ids"] = [numbers[name]]
    backend = Tokenizer.from_str(json.dumps(content))
    return PreTrainedTokenizerFast(tokenizer_object=backend, **tokenizer.special_tokens_map)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("model_type", ["bert", "roberta", "albert", "deberta-v2"])
def test_the_same_vocabulary_changes_nothing(algorithm: str, model_type: str) -> None:
    tokenizer = trained(algorithm, model_type)
    model = fitting(tokenizer, model_type)
    before = rows(model)
    assert transfer_embeddings(model, old=tokenizer, new=trained(algorithm, model_type)) == len(
        tokenizer
    )
    assert torch.equal(rows(model), before)


@pytest.mark.parametrize(
    "model_type", ["bert", "roberta", "electra", "distilbert", "albert", "modernbert"]
)
def test_other_numbers_for_the_same_pieces_change_no_output(
    model_type: str, tmp_path: Path
) -> None:
    """Also for RoBERTa, whose positions start after the padding piece's number."""
    old = trained("wordpiece", model_type)
    new = renumbered(old)
    assert old.pad_token_id != new.pad_token_id
    model = fitting(old, model_type)
    texts = ["La niña de Ávila plantó", "un olivo"]

    def answers(tokenizer: PreTrainedTokenizerFast, model: PreTrainedModel) -> list[Tensor]:
        batch = tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
        mask = batch["attention_mask"].bool()
        return [head[mask] for head in heads_of(model, batch)]

    before = answers(old, model)
    assert transfer_embeddings(model, old=old, new=new) == len(old)
    for mine, theirs in zip(answers(new, model), before, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)
    save_model(tmp_path / "m", model=model, tokenizer=new, settings={})
    loaded = load_model(str(tmp_path / "m"), "token-classification", labels=LABELS)
    for mine, theirs in zip(answers(new, loaded.model), before, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)


@pytest.mark.parametrize("new_algorithm", ALGORITHMS)
@pytest.mark.parametrize("old_algorithm", ALGORITHMS)
def test_pieces_are_taken_over_or_are_means_of_those_that_spell_them(
    old_algorithm: str, new_algorithm: str
) -> None:
    old = train_tokenizer(SENTENCES, algorithm=old_algorithm, vocab_size=SIZES[old_algorithm])
    # Other texts and size, so that the vocabularies differ even for one algorithm.
    new = train_tokenizer(
        [*SENTENCES[3:], "La cigüeña voló."], algorithm=new_algorithm, vocab_size=290
    )
    assert isinstance(old, PreTrainedTokenizerFast)
    model = fitting(old)
    before = rows(model)
    same = transfer_embeddings(model, old=old, new=new)
    after = rows(model)
    assert after.shape == (len(new), before.shape[1])
    for role in ("cls", "sep", "pad", "unk", "mask"):
        mine, theirs = getattr(new, f"{role}_token_id"), getattr(old, f"{role}_token_id")
        assert torch.equal(after[mine], before[theirs])
    taken = (after[:, None] == before[None]).all(-1).any(-1)
    assert int(taken.sum()) >= same > 20
    # The others: between the extremes of what they were averaged from.
    assert (after <= before.max(0).values + 1e-6).all()
    assert (after >= before.min(0).values - 1e-6).all()
    assert model.config.vocab_size == len(new)
    assert model.config.pad_token_id == model.get_input_embeddings().padding_idx


def test_a_word_that_was_two_pieces_becomes_their_mean() -> None:
    old = trained("wordpiece")
    new = train_tokenizer(["zoológico " * 50], algorithm="wordpiece", vocab_size=60)
    parts = old("zoológico", add_special_tokens=False)["input_ids"]
    assert len(parts) > 1
    model = fitting(old)
    before = rows(model)
    transfer_embeddings(model, old=old, new=new)
    piece = new.get_vocab()["zoológico"]
    assert torch.allclose(rows(model)[piece], before[parts].mean(0))


def test_a_word_is_found_across_the_kinds_of_tokenizers() -> None:
    """A whole word is the same piece however it is written: ▁la, Ġla or la."""
    marks = {"byte-level-bpe": "Ġ", "wordpiece": "", "unigram": "▁"}
    tokenizers = {algorithm: trained(algorithm) for algorithm in ALGORITHMS}
    shared = [
        word
        for word in dict.fromkeys(" ".join(SENTENCES).split())
        if word.isascii()
        and all(marks[kind] + word in own.get_vocab() for kind, own in tokenizers.items())
    ]
    assert shared
    for one, old in tokenizers.items():
        for other, new in tokenizers.items():
            model = fitting(old)
            before = rows(model)
            transfer_embeddings(model, old=old, new=new)
            for word in shared:
                mine = new.get_vocab()[marks[other] + word]
                theirs = old.get_vocab()[marks[one] + word]
                assert torch.equal(rows(model)[mine], before[theirs])


def test_a_model_with_a_new_vocabulary_reads_back(tmp_path: Path) -> None:
    old, new = trained("wordpiece", "roberta"), trained("byte-level-bpe", "roberta")
    model = fitting(old, "roberta")
    transfer_embeddings(model, old=old, new=new)
    save_model(tmp_path / "m", model=model, tokenizer=new, settings={})
    loaded = load_model(str(tmp_path / "m"), "token-classification", labels=LABELS)
    batch = new(["La niña"], return_tensors="pt")
    assert same_heads(model, loaded.model, batch)
