"""Data sets by name: where they are on the hub, how their files lie in a folder, what they say.

Each split is a source as a recipe writes it. Hub data sets that were scripts, which are not run
any more, are read from their Parquet conversion.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from destilo.errors import InputError, suggest

Splits: TypeAlias = dict[str, Any]
"""Role in a recipe's ``data`` (``train``, ``validation``, ``test``) to source."""

SEE_PAGE = "see its page"
_PARQUET = "refs/convert/parquet"


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """A data set that recipes can name.

    Attributes:
        task: As in a recipe.
        metric: The score that stands for it: the task's main one.
        paper_metric: The one that the published tables have, where it is another.
        hub: Its splits on the hub; empty where it cannot be had there.
        local: Its splits as files, paths relative to a folder of its own that has the data
            set's name; empty where no layout is known.
        licence: As its publishers state it.
        train_rows: About how many rows there are to train on, for estimates; 0 where not known.
        papers: Whose experiments use it.
        notes: What to know before using it.
    """

    name: str
    title: str
    task: str
    language: str
    metric: str
    hub: Splits = field(default_factory=dict, hash=False)
    local: Splits = field(default_factory=dict, hash=False)
    paper_metric: str = ""
    licence: str = SEE_PAGE
    train_rows: int = 0
    papers: tuple[str, ...] = ()
    notes: str = ""

    @property
    def hub_name(self) -> str:
        """The name on the hub, or an empty text."""
        return str(self.hub["train"]["name"]) if self.hub else ""


_SPANISH = ("speedy-gonzales",)
_TAGALOG = ("dbert",)


def _hub(
    name: str,
    config: str | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    revision: str | None = None,
    test: str | None = "test",
) -> Splits:
    """The usual three splits of a hub data set."""

    def source(split: str) -> dict[str, Any]:
        optional = {"config": config, "revision": revision}
        return {
            "format": "hub",
            "name": name,
            "split": split,
            **{key: value for key, value in optional.items() if value is not None},
            **({"columns": dict(columns)} if columns else {}),
        }

    splits = {"train": source("train"), "validation": source("validation")}
    return splits if test is None else {**splits, "test": source(test)}


def _files(kind: Mapping[str, Any], **paths: str) -> Splits:
    """Splits that differ in their file only."""
    return {role: {**deepcopy(dict(kind)), "path": path} for role, path in paths.items()}


_PAIR_LINES = {"format": "jsonl", "columns": {"text": "sentence1", "text_pair": "sentence2"}}
_LINES = {"format": "jsonl"}
_ENTITIES = {"format": "conll", "columns": {"tokens": 0, "tags": -1}}
_SPEECH = {"format": "conll", "columns": {"tokens": 0, "tags": 1}, "scheme": "raw"}
_TREEBANK = {"format": "conllu", "scheme": "raw"}


def _raw(splits: Splits) -> Splits:
    return {role: {**source, "scheme": "raw"} for role, source in splits.items()}


def _translated_squad() -> Splits:
    """Train on translated SQuAD, test on professional translations of 240 of its paragraphs."""
    splits = _hub("ccasimiro/squad_es", "v1.1.0", revision=_PARQUET, test=None)
    splits["test"] = {
        "format": "hub",
        "name": "google/xquad",
        "config": "xquad.es",
        "split": "validation",
    }
    return splits


def _mlqa() -> Splits:
    splits = _hub("facebook/mlqa", "mlqa-translate-train.es", revision=_PARQUET)
    splits["test"]["config"] = "mlqa.es.es"
    return splits


_PAPER_SETS = (
    DatasetEntry(
        name="mldoc-es",
        title="MLDoc (Spanish)",
        task="text-classification",
        language="es",
        metric="accuracy",
        local=_files(
            {"format": "tsv", "columns": {"label": 0, "text": 1}},
            train="spanish.train.1000",
            validation="spanish.dev",
            test="spanish.test",
        ),
        licence="Reuters (RCV1 and RCV2), on request",
        train_rows=1_000,
        papers=_SPANISH,
        notes="Not for download: the news are asked of NIST, and the MLDoc scripts cut the splits.",
    ),
    DatasetEntry(
        name="pawsx-es",
        title="PAWS-X (Spanish)",
        task="text-classification",
        language="es",
        metric="accuracy",
        hub=_hub(
            "google-research-datasets/paws-x",
            "es",
            columns={"text": "sentence1", "text_pair": "sentence2"},
        ),
        local=_files(_PAIR_LINES, train="train.jsonl", validation="dev.jsonl", test="test.jsonl"),
        licence="free use, with credit to Google",
        train_rows=49_401,
        papers=_SPANISH,
        notes="Paraphrases; the training pairs are translated by machine.",
    ),
    DatasetEntry(
        name="xnli-es",
        title="XNLI (Spanish)",
        task="text-classification",
        language="es",
        metric="accuracy",
        hub=_hub("facebook/xnli", "es", columns={"text": "premise", "text_pair": "hypothesis"}),
        local=_files(_PAIR_LINES, train="train.jsonl", validation="dev.jsonl", test="test.jsonl"),
        licence="CC-BY-NC-4.0",
        train_rows=392_702,
        papers=_SPANISH,
        notes="Entailment; the training pairs are MultiNLI translated by machine.",
    ),
    DatasetEntry(
        name="ud-es-ancora",
        title="POS (UD Spanish AnCora)",
        task="token-classification",
        language="es",
        metric="accuracy",
        paper_metric="paper_f1",
        hub=_raw(
            _hub(
                "universal_dependencies",
                "es_ancora",
                columns={"tokens": "tokens", "tags": "upos"},
                revision=_PARQUET,
            )
        ),
        local=_files(
            _TREEBANK,
            train="es_ancora-ud-train.conllu",
            validation="es_ancora-ud-dev.conllu",
            test="es_ancora-ud-test.conllu",
        ),
        train_rows=14_300,
        papers=_SPANISH,
        notes="The paper's F1 reads these tags as if they marked spans.",
    ),
    DatasetEntry(
        name="conll2002-es",
        title="NER (CoNLL-2002 Spanish)",
        task="token-classification",
        language="es",
        metric="f1",
        hub=_hub(
            "eriktks/conll2002",
            "es",
            columns={"tokens": "tokens", "tags": "ner_tags"},
            revision=_PARQUET,
        ),
        local=_files(_ENTITIES, train="train.txt", validation="dev.txt", test="test.txt"),
        licence="research only",
        train_rows=8_323,
        papers=_SPANISH,
        notes="News of the agency EFE, May 2000.",
    ),
    DatasetEntry(
        name="mlqa-es",
        title="MLQA (Spanish)",
        task="question-answering",
        language="es",
        metric="f1",
        paper_metric="squad_f1",
        hub=_mlqa(),
        licence="CC-BY-SA-3.0",
        train_rows=81_800,
        papers=_SPANISH,
        notes="Trained on SQuAD translated by machine; written questions test.",
    ),
    DatasetEntry(
        name="sqac",
        title="SQAC",
        task="question-answering",
        language="es",
        metric="f1",
        paper_metric="squad_f1",
        hub=_hub("PlanTL-GOB-ES/SQAC", revision=_PARQUET),
        local=_files(
            {"format": "squad"}, train="train.json", validation="dev.json", test="test.json"
        ),
        licence="CC-BY-SA-4.0",
        train_rows=15_036,
        papers=_SPANISH,
        notes="Written in Spanish, not translated.",
    ),
    DatasetEntry(
        name="tar-xquad",
        title="TAR / XQuAD (Spanish)",
        task="question-answering",
        language="es",
        metric="f1",
        paper_metric="squad_f1",
        hub=_translated_squad(),
        train_rows=87_600,
        papers=_SPANISH,
        notes="XQuAD's paragraphs stand, translated by machine, in the validation split.",
    ),
    DatasetEntry(
        name="tlunified-ner",
        title="TLUnified-NER",
        task="token-classification",
        language="tl",
        metric="f1",
        hub=_hub(
            "ljvmiranda921/tlunified-ner",
            columns={"tokens": "tokens", "tags": "ner_tags"},
            revision=_PARQUET,
        ),
        local=_files(_ENTITIES, train="train.txt", validation="dev.txt", test="test.txt"),
        papers=_TAGALOG,
        notes="Tagalog news: persons, organisations, places.",
    ),
    DatasetEntry(
        name="hatespeech-filipino",
        title="Hatespeech Filipino",
        task="text-classification",
        language="tl",
        metric="accuracy",
        hub=_hub("hate_speech_filipino", revision=_PARQUET),
        local=_files(_LINES, train="train.jsonl", validation="dev.jsonl", test="test.jsonl"),
        train_rows=10_000,
        papers=_TAGALOG,
        notes="Tweets of the 2016 elections, offensive ones among them; some tests are in train.",
    ),
    DatasetEntry(
        name="newsph-nli",
        title="NewsPH NLI",
        task="text-classification",
        language="tl",
        metric="accuracy",
        hub=_hub(
            "newsph_nli",
            columns={"text": "premise", "text_pair": "hypothesis"},
            revision=_PARQUET,
        ),
        papers=_TAGALOG,
        notes="Whether one sentence of a news report follows another; made automatically.",
    ),
)

_OTHER_SETS = (
    DatasetEntry(
        name="ud-tl-newscrawl",
        title="POS (UD Tagalog NewsCrawl)",
        task="token-classification",
        language="tl",
        metric="accuracy",
        local=_files(
            _SPEECH,
            train="train_from_dev.pos.txt",
            validation="dev_from_dev.pos.txt",
            test="test.pos.txt",
        ),
        licence="CC-BY-SA-4.0",
        notes="The files are two columns, word and UPOS, cut from the treebank's dev and test.",
    ),
    DatasetEntry(
        name="panx-tl",
        title="PAN-X (Tagalog)",
        task="token-classification",
        language="tl",
        metric="f1",
        local=_files(_ENTITIES, train="train_dedup.txt", validation="dev_dedup.txt"),
        notes="Titles of articles with automatic tags, each kept once; no labelled test.",
    ),
    DatasetEntry(
        name="pos-es-ud",
        title="POS (UD Spanish, small)",
        task="token-classification",
        language="es",
        metric="accuracy",
        paper_metric="paper_f1",
        local=_files(_SPEECH, train="train.txt", validation="dev.txt", test="test.txt"),
        licence="CC-BY-4.0, CC-BY-SA-4.0 and 3.0",
        notes="Dev sets of UD treebanks to train on; the test is that of AnCora.",
    ),
    DatasetEntry(
        name="qa-es",
        title="Spanish questions (mix)",
        task="question-answering",
        language="es",
        metric="f1",
        local=_files(
            {"format": "squad"},
            train="train.json",
            validation="dev_mlqa.json",
            test="../xquad-es/xquad.es.json",
        ),
        licence="share-alike, of its parts",
        notes="Translated questions to train on, MLQA to choose by, XQuAD (`xquad-es`) to test.",
    ),
    DatasetEntry(
        name="xquad-es",
        title="XQuAD (Spanish)",
        task="question-answering",
        language="es",
        metric="f1",
        paper_metric="squad_f1",
        local=_files({"format": "squad"}, test="xquad.es.json"),
        licence="CC-BY-SA-4.0",
        notes="A test only.",
    ),
    DatasetEntry(
        name="esxnli",
        title="esXNLI",
        task="text-classification",
        language="es",
        metric="accuracy",
        local={
            **_files(_PAIR_LINES, train="all.jsonl", test="../xnli-es/test.jsonl"),
            "validation": {**deepcopy(_PAIR_LINES), "path": "../xnli-es/dev.jsonl"},
        },
        notes="Entailment pairs by Spanish writers to train on; `xnli-es` to validate and test.",
    ),
    DatasetEntry(
        name="parmex2022",
        title="PAR-MEX 2022",
        task="text-classification",
        language="es",
        metric="macro_f1",
        local=_files(_PAIR_LINES, train="train.jsonl", validation="dev.jsonl", test="test.jsonl"),
        notes="Mexican paraphrases; one pair in five or six is one.",
    ),
    DatasetEntry(
        name="muchocine",
        title="MuchoCine",
        task="text-classification",
        language="es",
        metric="accuracy",
        local=_files(_LINES, train="train.jsonl", validation="dev.jsonl", test="test.jsonl"),
        licence="CC-BY-2.1-ES",
        notes="Film reviews of some 480 words, in three classes.",
    ),
    DatasetEntry(
        name="tass2019",
        title="InterTASS 2019",
        task="text-classification",
        language="es",
        metric="macro_f1",
        local={
            **_files(_LINES, train="train.jsonl", test="dev.jsonl"),
            "validation": {"fraction": 0.1},
        },
        licence="TASS user licence",
        notes="Short texts of five countries; its dev set tests, a tenth of train is set aside.",
    ),
)

DATASETS: dict[str, DatasetEntry] = {entry.name: entry for entry in (*_PAPER_SETS, *_OTHER_SETS)}


def dataset_entry(name: str) -> DatasetEntry:
    """Return the data set of this name; its splits are copies.

    Raises:
        InputError: If there is none, with what was probably meant.
    """
    entry = DATASETS.get(name)
    if entry is None:
        raise InputError(suggest(name, DATASETS, kind="data set of the catalogue"))
    return deepcopy(entry)


def list_datasets() -> list[DatasetEntry]:
    """List the data sets, those of the papers first."""
    return [deepcopy(entry) for entry in DATASETS.values()]
