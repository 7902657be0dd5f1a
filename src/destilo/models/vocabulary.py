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

from destilo.errors import ModelError, suggest

ALGORITHMS = ("byte-level-bpe", "wordpiece", "unigram")

_ROBERTA_LIKE = ("roberta", "xlm-roberta", "camembert")
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
    """Train a cased tokenizer on texts.

    Args:
        texts: Training texts.
        algorithm: ``byte-level-bpe``, ``wordpiece`` or ``unigram``.
        vocab_size: Pieces, special ones included; fewer where the texts have no more.
        model_type: The architecture it will feed, which decides special pieces and layout.
        max_length: Recorded as the tokenizer's ``model_max_length``.

    Raises:
        ModelError: If the algorithm is unknown or the vocabulary too small for it.
    """
    roberta = model_type in _ROBERTA_LIKE
    special = _ROBERTA_SPECIALS if roberta else _BERT_SPECIALS
    tokenizer, trainer = _untrained(algorithm, vocab_size, special)
    try:
        tokenizer.train_from_iterator(texts, trainer)
    except Exception as error:  # tokenizers raises bare Exception
        raise ModelError(f"Training a {algorithm} tokenizer failed: {error}.") from error
    tokenizer.post_processor = _layout(tokenizer, special, roberta=roberta)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"]
        if roberta
        else ["input_ids", "token_type_ids", "attention_mask"],
        **{f"{role}_token": piece for role, piece in special.items()},
    )


def _untrained(algorithm: str, vocab_size: int, special: dict[str, str]) -> tuple[Tokenizer, Any]:
    settings: dict[str, Any] = {
        "vocab_size": vocab_size,
        "special_tokens": list(special.values()),
        "show_progress": False,
    }
    if algorithm == "byte-level-bpe":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        return tokenizer, trainers.BpeTrainer(initial_alphabet=alphabet, **settings)
    if algorithm == "wordpiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token=special["unk"]))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        return tokenizer, trainers.WordPieceTrainer(continuing_subword_prefix="##", **settings)
    if algorithm == "unigram":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        return tokenizer, trainers.UnigramTrainer(unk_token=special["unk"], **settings)
    raise ModelError(suggest(algorithm, ALGORITHMS, kind="tokenizer algorithm"))


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


def _spelling(piece: str, tokenizer: PreTrainedTokenizerBase) -> tuple[str, bool]:
    """A piece's plain text and whether it begins a word."""
    if piece.startswith("##"):
        return piece[2:], False
    if piece.startswith("▁"):
        return piece[1:], True
    kind = type(tokenizer.backend_tokenizer.model).__name__
    if kind == "BPE":
        text: str = tokenizer.backend_tokenizer.decoder.decode([piece])
        return text.lstrip(" "), text.startswith(" ")
    return piece, kind == "WordPiece"


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
    known = {_spelling(piece, old): index for piece, index in old.get_vocab().items()}
    roles = ("cls_token_id", "sep_token_id", "pad_token_id", "unk_token_id", "mask_token_id")
    special = {getattr(new, role): getattr(old, role) for role in roles}
    size = max(new.get_vocab().values()) + 1
    fresh = weight.mean(dim=0, keepdim=True).repeat(size, 1)
    same = 0
    for piece, index in new.get_vocab().items():
        spelling = _spelling(piece, new)
        source = special.get(index, known.get(spelling))
        if source is not None:
            fresh[index] = weight[source]
            same += 1
            continue
        parts = old.backend_tokenizer.encode(spelling[0], add_special_tokens=False).ids
        parts = [part for part in parts if part != old.unk_token_id]
        if parts:
            fresh[index] = weight[torch.tensor(parts)].mean(dim=0)
    model.resize_token_embeddings(size, mean_resizing=False)
    model.config.pad_token_id = new.pad_token_id
    embeddings = _word_embeddings(model)
    embeddings.padding_idx = new.pad_token_id
    with torch.no_grad():
        embeddings.weight.copy_(fresh)
    return same


def _word_embeddings(model: PreTrainedModel) -> torch.nn.Embedding:
    embeddings = model.get_input_embeddings()
    assert isinstance(embeddings, torch.nn.Embedding)
    return embeddings
