"""Small real parts that tests share: tokenizers of the three kinds, trained on our own text."""

from functools import cache
from typing import Literal

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from destilo.tasks import TextTokenizer
from destilo.tasks.base import Example, HeadArrays, Task

Kind = Literal["wordpiece", "unigram", "byte-level-bpe"]
KINDS: tuple[Kind, ...] = ("wordpiece", "unigram", "byte-level-bpe")

SENTENCES = (
    "La niña de Ávila plantó un olivo junto al río Adaja en 1987.",
    "¿Quién construyó el puente nuevo? Lo levantó la firma Herrera y Lozano.",
    "El pingüino del zoológico de Mérida se llama Benito y come sardinas.",
    "Según el alcalde, las obras costarán 3.500.000 euros (IVA incluido).",
    "Corrió, saltó y se cayó: así terminó la carrera de los camareros.",
    "«No volveré», dijo Inés Quiroga antes de salir hacia Valparaíso.",
    "La panadería abre a las siete; la farmacia, a las nueve y media.",
    "Su tía vive en Cuéllar y su hermano, en una aldea de la sierra.",
)
BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


@cache
def raw_tokenizer(kind: Kind) -> Tokenizer:
    """A trained tokenizer with its family's usual normaliser and post-processor."""
    trainer: trainers.Trainer
    if kind == "wordpiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(
            vocab_size=250, special_tokens=list(BERT), show_progress=False
        )
    elif kind == "unigram":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.NFKC(), normalizers.Replace("\u200b", "")]
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=150, special_tokens=list(BERT), unk_token="[UNK]", show_progress=False
        )
    else:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=list(ROBERTA),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    if kind == "byte-level-bpe":
        tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    else:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
        )
    return tokenizer


@cache
def text_tokenizer(kind: Kind) -> TextTokenizer:
    """The tokenizer as tasks use it."""
    if kind == "byte-level-bpe":
        return TextTokenizer.from_tokenizer(
            raw_tokenizer(kind), cls="<s>", sep="</s>", pad="<pad>", unk="<unk>", mask="<mask>"
        )
    return TextTokenizer.from_tokenizer(
        raw_tokenizer(kind),
        cls="[CLS]",
        sep="[SEP]",
        pad="[PAD]",
        unk="[UNK]",
        mask="[MASK]",
        uses_token_type_ids=True,
    )


def gold_heads(task: Task, examples: list[Example], *, logit: float = 20.0) -> list[HeadArrays]:
    """What a model that knows the gold labels would say, in each example's first encoding."""
    heads: list[HeadArrays] = []
    for example in examples:
        encoding = example.encodings[0]
        arrays = {}
        for name, label in encoding.labels.items():
            width = len(task.labels) or len(encoding)
            shape = (*label.shape, width)
            head = np.zeros(shape, dtype=np.float32)
            where = np.flatnonzero(label.reshape(-1) >= 0)
            head.reshape(-1, width)[where, label.reshape(-1)[where]] = logit
            arrays[name] = head
        heads.append(arrays)
    return heads
