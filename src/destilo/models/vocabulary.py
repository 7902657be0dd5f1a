"""A tokenizer of the student's own: trained on its texts, its embeddings taken from the teacher's.

A new piece gets the teacher's embedding of the same piece where there is one, and otherwise
the mean of the embeddings of the teacher's pieces that spell it, so that a student with another
vocabulary need not start from noise.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from destilo.errors import DestiloError, ModelError, suggest
from destilo.models.pieces import settle_unigram, train_wordpiece

ALGORITHMS = ("byte-level-bpe", "wordpiece", "unigram")

_ROBERTA_LIKE = ("roberta", "xlm-roberta", "camembert")
_WITHOUT_SEGMENTS = (*_ROBERTA_LIKE, "distilbert", "modernbert", "deberta-v2")
# RoBERTa's position numbers start after the padding piece's, so its ids are fixed.
_ROBERTA_SPECIALS = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
_BERT_SPECIALS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}


def train_tokenizer(
    texts: Iterable[str],
    *,
    algorithm: str,
    vocab_size: int,
    model_type: str = "bert",
    max_length: int = 512,
) -> PreTrainedTokenizerBase:
    """Train a cased tokenizer on texts; the same texts always give the same tokenizer.

    Args:
        texts: Training texts.
        algorithm: ``byte-level-bpe``, ``wordpiece`` or ``unigram``.
        vocab_size: Pieces, special ones included; fewer where the texts have no more.
        model_type: The architecture it will feed, which decides special pieces and layout.
        max_length: Recorded as the tokenizer's ``model_max_length``.

    Raises:
        ModelError: If the algorithm is unknown or the vocabulary too small for the alphabet.
    """
    roberta = model_type in _ROBERTA_LIKE
    special = _ROBERTA_SPECIALS if roberta else _BERT_SPECIALS
    try:
        tokenizer = _trained(texts, algorithm, vocab_size, special)
    except DestiloError:  # of whoever reads the texts
        raise
    except Exception as error:  # tokenizers raises bare Exception
        raise ModelError(
            f"Training a {algorithm} tokenizer of {vocab_size} pieces failed: "
            f"{str(error).rstrip('.')}. Raise vocab_size."
        ) from error
    needed = tokenizer.get_vocab_size()
    if needed > vocab_size:
        raise ModelError(
            f"A {algorithm} tokenizer needs {needed} pieces for the special ones and the "
            f"alphabet of these texts alone, but vocab_size is {vocab_size}. Raise it."
        )
    tokenizer.post_processor = _layout(tokenizer, special, roberta=roberta)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"]
        if model_type in _WITHOUT_SEGMENTS
        else ["input_ids", "token_type_ids", "attention_mask"],
        **{f"{role}_token": piece for role, piece in special.items()},
    )


def _trained(
    texts: Iterable[str], algorithm: str, vocab_size: int, special: dict[str, str]
) -> Tokenizer:
    names = list(special.values())
    settings: dict[str, Any] = {
        "vocab_size": vocab_size,
        "special_tokens": names,
        "show_progress": False,
    }
    if algorithm == "byte-level-bpe":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(initial_alphabet=alphabet, **settings)
        tokenizer.train_from_iterator(texts, trainer)
    elif algorithm == "wordpiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token=special["unk"]))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        train_wordpiece(tokenizer, texts, vocab_size=vocab_size, special=names, unk=special["unk"])
    elif algorithm == "unigram":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        unigram = trainers.UnigramTrainer(unk_token=special["unk"], **settings)
        tokenizer.train_from_iterator(texts, unigram)
        settle_unigram(tokenizer, special=names)
    else:
        raise ModelError(suggest(algorithm, ALGORITHMS, kind="tokenizer algorithm"))
    return tokenizer


def _layout(tokenizer: Tokenizer, special: dict[str, str], *, roberta: bool) -> Any:
    cls, sep = special["cls"], special["sep"]
    between = f"{sep} {sep}" if roberta else sep
    segment = 0 if roberta else 1
    return processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=f"{cls}:0 $A:0 {' '.join(f'{piece}:0' for piece in between.split())} "
        f"$B:{segment} {sep}:{segment}",
        special_tokens=[(piece, tokenizer.token_to_id(piece)) for piece in (cls, sep)],
    )


def _spelling(piece: str, tokenizer: Tokenizer) -> tuple[str, bool | None]:
    """A piece's plain text and whether it begins a word; ``None`` for a part of a character."""
    if isinstance(tokenizer.model, models.WordPiece):
        prefix = tokenizer.model.continuing_subword_prefix
        return piece.removeprefix(prefix), not (piece.startswith(prefix) and piece != prefix)
    if isinstance(tokenizer.decoder, decoders.ByteLevel):
        text: str = tokenizer.decoder.decode([piece])
        if "\N{REPLACEMENT CHARACTER}" in text:
            return piece, None
        return text.removeprefix(" "), text.startswith(" ")
    return piece.removeprefix("▁"), piece.startswith("▁")


def transfer_embeddings(
    model: PreTrainedModel,
    *,
    old: PreTrainedTokenizerBase,
    new: PreTrainedTokenizerBase,
) -> int:
    """Replace a model's word embeddings in place by those of another vocabulary.

    Args:
        model: Its input embeddings belong to ``old``.
        old: The tokenizer the model was made with.
        new: The tokenizer it shall have.

    Returns:
        How many pieces were taken over as they are; the others are means of several.

    Reference:
        Gee et al. 2022, "Fast Vocabulary Transfer for Language Model Compression".
    """
    weight = _word_embeddings(model).weight.detach().clone()  # [old pieces, width]
    mine, theirs = new.backend_tokenizer, old.backend_tokenizer
    known = {_spelling(piece, theirs): index for piece, index in old.get_vocab().items()}
    roles = ("cls_token_id", "sep_token_id", "pad_token_id", "unk_token_id", "mask_token_id")
    special = {getattr(new, role): getattr(old, role) for role in roles}
    size = max(new.get_vocab().values()) + 1
    fresh = weight.mean(dim=0, keepdim=True).repeat(size, 1)
    same = 0
    for piece, index in new.get_vocab().items():
        text, starts = _spelling(piece, mine)
        source = special.get(index)
        if source is None:
            source = known.get((text, starts))
        if source is not None:
            fresh[index] = weight[source]
            same += 1
            continue
        spelt = "" if starts is None else f"{' ' if starts else ''}{text}"
        parts = theirs.encode(spelt, add_special_tokens=False).ids
        parts = [part for part in parts if part not in (old.unk_token_id, old.pad_token_id)]
        if parts:
            fresh[index] = weight[torch.tensor(parts)].mean(dim=0)
    model.resize_token_embeddings(size, mean_resizing=False)
    _set_padding(model, new.pad_token_id)
    with torch.no_grad():
        _word_embeddings(model).weight.copy_(fresh)
    return same


def _set_padding(model: PreTrainedModel, pad_id: int) -> None:
    """Tell a model its padding piece; RoBERTa counts positions from the number behind it."""
    model.config.pad_token_id = pad_id
    _word_embeddings(model).padding_idx = pad_id
    module: Any
    for module in model.modules():
        table = getattr(module, "position_embeddings", None)
        before = getattr(module, "padding_idx", None)
        if not isinstance(table, torch.nn.Embedding) or before in (None, pad_id):
            continue
        kept = table.weight.detach()[before + 1 :]
        positions = torch.nn.Embedding(pad_id + 1 + len(kept), kept.shape[1], padding_idx=pad_id)
        with torch.no_grad():
            positions.weight.zero_()
            positions.weight[pad_id + 1 :] = kept
        module.position_embeddings, module.padding_idx = positions, pad_id
        numbers = torch.arange(positions.num_embeddings)[None, :]
        module.register_buffer("position_ids", numbers, persistent=False)
        module.register_buffer("token_type_ids", torch.zeros_like(numbers), persistent=False)
        model.config.max_position_embeddings = positions.num_embeddings


def _word_embeddings(model: PreTrainedModel) -> torch.nn.Embedding:
    embeddings = model.get_input_embeddings()
    assert isinstance(embeddings, torch.nn.Embedding)
    return embeddings
