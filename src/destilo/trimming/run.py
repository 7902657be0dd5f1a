"""From a model and texts to a folder with the trimmed model: load, count, choose, check, write."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import transformers
from safetensors import SafetensorError
from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerBase

from destilo.errors import InputError, ModelError
from destilo.models.folder import (
    SETTINGS_FILE,
    describe,
    load_config,
    load_tokenizer,
    replace_folder,
)
from destilo.progress import Progress, Silent
from destilo.trimming.choosing import (
    Choice,
    Target,
    check_target,
    choose_pieces,
    with_needed,
)
from destilo.trimming.corpus import Corpus, read_lines, size_units
from destilo.trimming.counting import Reading, count_pieces, plain_tokenizer, read_again
from destilo.trimming.model import tables_of, trim_embeddings
from destilo.trimming.report import (
    REPORT_FILE,
    SizeFigures,
    TrimReport,
    corpus_figures,
    held_out_figures,
    kind_figures,
    target_text,
)
from destilo.trimming.tokenizer import trim_tokenizer
from destilo.trimming.vocabulary import Vocabulary, read_vocabulary

HELD_OUT_EVERY = 100

# What a tokenizer's class may write beside tokenizer.json: it would number the old pieces.
_OLD_PIECES = (
    *("vocab.txt", "vocab.json", "merges.txt", "added_tokens.json"),
    *("spiece.model", "spm.model", "sentencepiece.bpe.model", "tokenizer.model"),
)


@dataclass(frozen=True)
class Source:
    """A model as it is found, with whatever head it has.

    Attributes:
        name: The folder or hub id.
        model: In the precision of its weights.
        tokenizer: The transformers tokenizer.
        content: Its ``tokenizer.json``.
        settings: The content of its ``destilo.json``, if it has one.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    content: Mapping[str, Any]
    settings: str | None

    @property
    def vocabulary(self) -> Vocabulary:
        return read_vocabulary(self.content)


def trim_model(
    folder: Path | str, *, keep: Iterable[int], output: Path, force: bool = False
) -> tuple[SizeFigures, SizeFigures]:
    """Write a model with some of its pieces only.

    Args:
        folder: A folder in Hugging Face layout, or a hub id.
        keep: Ids to keep. What they need is kept as well: special pieces, bytes, and the
            parts that BPE joins them from.
        output: The new folder: model, configuration, tokenizer and, where the old one has it,
            ``destilo.json``. It is there whole or not at all.
        force: Replace an ``output`` that an earlier trimming wrote.

    Returns:
        Sizes before and after.

    Raises:
        InputError: If ``output`` may not be written, or the model cannot be trimmed.
    """
    check_output(output, source=str(folder), force=force)
    source = load_source(str(folder))
    kept = with_needed(source.vocabulary, keep)
    trimmed = trim_embeddings(source.model, keep=kept)
    sizes = model_size(source.model), model_size(trimmed)
    _write(source, trimmed, trim_tokenizer(source.content, keep=kept), output, {})
    return sizes


def trim(
    name: str,
    *,
    corpora: Sequence[Corpus],
    target: Target,
    output: Path,
    held_out: Sequence[Corpus] = (),
    force: bool = False,
    progress: Progress | None = None,
) -> TrimReport:
    """Keep the pieces of a model that texts use.

    Args:
        name: A folder in Hugging Face layout, or a hub id.
        corpora: What is counted; each is covered alike, whatever its length.
        target: How much is kept.
        output: The new folder, with the report as ``trim.json``.
        held_out: Texts to check on; without any, every 100th line of each corpus is set aside
            and not counted.
        force: Replace an ``output`` that an earlier trimming wrote.
        progress: Is told what happens.

    Returns:
        What was kept, how held-out text reads, sizes before and after.

    Raises:
        InputError: If a file, the model, the target or ``output`` cannot be used.
    """
    watcher = progress or Silent()
    check_output(output, source=name, force=force)
    source = load_source(name)
    vocabulary, before = source.vocabulary, plain_tokenizer(source.content)
    check_target(vocabulary, target)
    counts = []
    watcher.begin("counting pieces, MB read", size_units(corpora))
    for corpus in corpora:
        lines = _every(corpus, held_out=None if held_out else False, progress=watcher)
        counts.append(count_pieces(before, lines, size=vocabulary.size, name=corpus.name))
    watcher.end()
    choice = choose_pieces(vocabulary, counts, target=target)
    content = trim_tokenizer(source.content, keep=choice.kept)
    readings = _read(before, content, choice, vocabulary, corpora, held_out, watcher)
    trimmed = trim_embeddings(source.model, keep=choice.kept)
    report = TrimReport(
        model=name,
        algorithm=vocabulary.algorithm,
        target=target_text(target, choice),
        kinds=kind_figures(vocabulary, choice.kept),
        n_for_merges=choice.for_merges,
        counted=tuple(corpus_figures(one, choice.kept) for one in counts),
        held_out=tuple(held_out_figures(one) for one in readings if one.n_lines),
        before=model_size(source.model),
        after=model_size(trimmed),
    )
    _write(source, trimmed, content, output, {REPORT_FILE: report.model_dump_json(indent=2)})
    return report


def _read(
    before: Any,
    content: Mapping[str, Any],
    choice: Choice,
    vocabulary: Vocabulary,
    corpora: Sequence[Corpus],
    held_out: Sequence[Corpus],
    progress: Progress,
) -> list[Reading]:
    after = plain_tokenizer(content)
    readings = []
    progress.begin("reading held-out text, MB", size_units(held_out or corpora))
    for corpus in held_out or corpora:
        lines = _every(corpus, held_out=None if held_out else True, progress=progress)
        readings.append(
            read_again(
                before, after, lines, kept=choice.kept, unk_id=vocabulary.unk_id, name=corpus.name
            )
        )
    progress.end()
    for one in readings:
        if not one.n_lines:
            progress.note(
                f"{one.name} has too few lines to set any aside; check on other text with "
                "--held-out",
                level="warning",
            )
    return readings


def _every(corpus: Corpus, *, held_out: bool | None, progress: Progress) -> Iterator[str]:
    """The lines of a corpus: all of them, those set aside, or the others."""
    for number, line in zip(count(1), read_lines(corpus, progress=progress), strict=False):
        if held_out is None or (number % HELD_OUT_EVERY == 0) is held_out:
            yield line


def check_output(output: Path, *, source: str, force: bool) -> None:
    """Refuse an output folder that holds something.

    Raises:
        InputError: With what to do instead.
    """
    if not output.exists():
        return
    if output.resolve() == Path(source).resolve():
        raise InputError(f"{output} is the model itself; name another folder.")
    if not output.is_dir():
        raise InputError(f"{output} is a file; name a folder.")
    if not any(output.iterdir()):
        return
    if not force:
        raise InputError(f"{output} is there already; name another folder, or add --force.")
    if not (output / "config.json").exists():
        raise InputError(
            f"{output} holds no model, so --force does not replace it; name another folder."
        )


def load_source(name: str) -> Source:
    """Load a model with whatever head it has, and its tokenizer.

    Raises:
        ModelError: If it is missing, damaged, or of an unknown architecture.
    """
    config = load_config(name)
    tokenizer = load_tokenizer(name)
    content: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    content |= {"truncation": None, "padding": None}
    read_vocabulary(content)
    try:
        model, report = _class_of(config).from_pretrained(
            name, dtype="auto", output_loading_info=True
        )
    except Exception as error:  # what a damaged file breaks depends on where
        raise ModelError(f"The model in {name} cannot be loaded: {describe(error)}") from error
    missing = sorted({*map(str, report["missing_keys"]), *map(str, report["mismatched_keys"])})
    missing = [one for one in missing if ".pooler." not in one]
    if missing:
        raise ModelError(
            f"The weights in {name} lack {missing[0]}"
            f"{f' and {len(missing) - 1} more' if len(missing) > 1 else ''}, which config.json "
            "asks for. Correct its `architectures`, or fetch the model again."
        )
    path = Path(name) / SETTINGS_FILE
    settings = path.read_text(encoding="utf-8") if path.exists() else None
    return Source(name, model, tokenizer, content, settings)


def _class_of(config: Any) -> Any:
    """The class that the weights were saved from, among those that transformers itself has."""
    for name in config.architectures or ():
        found = getattr(transformers, name, None)
        if isinstance(found, type) and issubclass(found, PreTrainedModel):
            return found
    return AutoModel


def model_size(model: PreTrainedModel) -> SizeFigures:
    """Count a model's parameters; tied ones once."""
    words, output = tables_of(model)
    tables = [words]
    if output is not None and output.weight is not words:
        tables.append(output.weight)
    parameters = list(model.parameters())
    n_bytes = sum(one.numel() * one.element_size() for one in parameters)
    return SizeFigures(
        vocabulary=len(words),
        parameters=sum(one.numel() for one in parameters),
        embedding_parameters=sum(one.numel() for one in tables),
        size_mb=n_bytes / 1e6,
    )


def _write(
    source: Source,
    model: PreTrainedModel,
    content: Mapping[str, Any],
    output: Path,
    files: Mapping[str, str],
) -> None:
    """Write everything beside the place and move it there in one step."""
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        model.save_pretrained(partial)
        _write_tokenizer(source, content, partial)
        if source.settings is not None:
            files = {**files, SETTINGS_FILE: source.settings}
        for name, text in files.items():
            (partial / name).write_text(text.rstrip("\n") + "\n", encoding="utf-8")
        replace_folder(partial, output)
    except SafetensorError as error:  # a full disk, said in the library's own way
        raise OSError(f"{output} cannot be written: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_tokenizer(source: Source, content: Mapping[str, Any], folder: Path) -> None:
    """Save the tokenizer's settings as they are, with the new pieces in ``tokenizer.json``."""
    source.tokenizer.save_pretrained(folder)
    for name in _OLD_PIECES:
        (folder / name).unlink(missing_ok=True)
    text = json.dumps(dict(content), ensure_ascii=False, indent=2)
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    added = settings.get("added_tokens_decoder")
    if added:
        ids = {token["content"]: token["id"] for token in content["added_tokens"]}
        settings["added_tokens_decoder"] = {
            str(ids[token["content"]]): token for token in added.values()
        }
        text = json.dumps(settings, ensure_ascii=False, indent=2)
        path.write_text(text + "\n", encoding="utf-8")
