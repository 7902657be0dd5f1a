r"""Tokens per second and peak memory of packing raw text and reading it back, at two sizes.

Each line is a process of its own, so that its peak memory is its own: one that only loads the
tokenizer, one that packs, one that reads an epoch in shuffled order and masks every block. The
larger corpus should take longer and no more memory.

    OMP_NUM_THREADS=1 python benchmarks/packing.py [--megabytes 20 200]
    OMP_NUM_THREADS=1 python benchmarks/packing.py --corpus FILE... [--times 1 10] \
        [--tokenizer FOLDER]
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from destilo.data.blocks import Blocks
from destilo.data.corpus import CorpusSource, Division, read_documents
from destilo.data.order import BlockPlan
from destilo.data.packing import PackSettings, pack
from destilo.tasks.masking import MaskPieces, MaskSettings, mask_block
from destilo.tasks.tokenization import TextTokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SYLLABLES = [c + v for c in "bcdfglmnprstv" for v in ("a", "e", "i", "o", "an", "es", "ia")]
WORDS, DOCUMENT_WORDS, VOCABULARY = 50_000, 300, 30_000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--megabytes", nargs="+", type=int, default=[20, 200])
    parser.add_argument(
        "--corpus", nargs="+", type=Path, help="text files in place of made-up ones"
    )
    parser.add_argument("--times", nargs="+", type=int, default=[1, 10], help="of the corpus")
    parser.add_argument("--tokenizer", type=Path, help="a model folder; else one is trained")
    parser.add_argument("--max-length", type=int, default=512)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpora = given(options) if options.corpus else generated(options.megabytes, folder)
        tokenizer = options.tokenizer or trained(next(iter(corpora.values())), folder / "tokenizer")
        print_heading(options)
        for label, source in corpora.items():
            print_rows(label, source, tokenizer, folder / "stores", options.max_length)


def given(options: argparse.Namespace) -> dict[str, CorpusSource]:
    paths = tuple(options.corpus)
    size = sum(path.stat().st_size for path in paths) / 1e6
    return {
        f"{times} x {size:.1f} MB": CorpusSource("train", "text", paths * times)
        for times in options.times
    }


def generated(sizes: list[int], folder: Path) -> dict[str, CorpusSource]:
    sources = {}
    for size in sizes:
        path = folder / f"{size}.txt"
        write_text(path, size * 1_000_000)
        sources[f"{size} MB"] = CorpusSource("train", "text", (path,))
    return sources


def write_text(path: Path, size: int) -> None:
    """Documents of made-up words, as often as words are (Zipf), with full stops."""
    random = np.random.default_rng(13)
    counts = random.integers(1, 5, WORDS)
    words = np.array(["".join(random.choice(SYLLABLES, count)) for count in counts])
    weights = 1 / np.arange(1, WORDS + 1)
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < size:
            chosen = words[random.choice(WORDS, 100 * DOCUMENT_WORDS, p=weights / weights.sum())]
            for document in np.split(chosen, 100):
                sentences = (" ".join(part) for part in np.array_split(document, 20))
                file.write(".\n".join(sentences) + f". {random.integers(10**9)}\n\n")


def trained(source: CorpusSource, folder: Path) -> Path:
    """A WordPiece vocabulary of the first documents."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL, show_progress=False
    )
    texts = (one.text for one in islice(read_documents(source), 2000))
    tokenizer.train_from_iterator(texts, trainer)
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    names = ("pad", "unk", "cls", "sep", "mask")
    settings = ", ".join(f'"{n}_token": "{s}"' for n, s in zip(names, SPECIAL, strict=True))
    (folder / "tokenizer_config.json").write_text(f"{{{settings}}}")
    return folder


def print_heading(options: argparse.Namespace) -> None:
    from bench.workload import heading  # with torch, which is not to count as the packers' memory

    text = "WordPiece trained on it" if options.tokenizer is None else str(options.tokenizer.name)
    settings = [f"blocks of {options.max_length} pieces, 1% held out; tokenizer: {text}"]
    print(heading("Packing raw text", threads=1, settings=settings))
    print("| text | stage | documents | pieces | CPU s | wall s | pieces/CPU s | peak MB |")
    print("|---|---|--:|--:|--:|--:|--:|--:|")


def print_rows(
    label: str, source: CorpusSource, tokenizer: Path, root: Path, max_length: int
) -> None:
    for stage in (load, read, write, epoch):
        done = alone(stage, source, tokenizer, root, max_length)
        rate = f"{done['pieces'] / done['cpu']:,.0f}" if done["pieces"] else ""
        print(
            f"| {label} | {stage.__doc__} | {done['documents']:,} | {done['pieces']:,} | "
            f"{done['cpu']:.1f} | {done['wall']:.1f} | {rate} | {done['peak']:.0f} |",
            flush=True,
        )


def alone(stage: Callable[..., dict[str, int]], *arguments: Any) -> dict[str, Any]:
    """Run a stage in a process of its own."""
    context = multiprocessing.get_context("spawn")
    mine, other = context.Pipe()
    process = context.Process(target=report, args=(other, stage, *arguments))
    process.start()
    done: dict[str, Any] = mine.recv()
    process.join()
    return done


def report(pipe: Any, stage: Callable[..., dict[str, int]], *arguments: Any) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    found = stage(*arguments)
    times = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    pipe.send({"documents": 0, "pieces": 0, **found, **times, "peak": peak_megabytes()})


def peak_megabytes() -> float:
    """Of this program alone: ``ru_maxrss`` would begin with what the parent had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def load(source: CorpusSource, tokenizer: Path, root: Path, max_length: int) -> dict[str, int]:
    """load the tokenizer"""  # noqa: D403, D415 (a cell of the table)
    del source, root, max_length
    TextTokenizer.from_folder(tokenizer)
    return {}


def read(source: CorpusSource, tokenizer: Path, root: Path, max_length: int) -> dict[str, int]:
    """read documents"""  # noqa: D403, D415 (a cell of the table)
    del tokenizer, root, max_length
    return {"documents": sum(one.slice == 0 for one in read_documents(source))}


def write(source: CorpusSource, tokenizer: Path, root: Path, max_length: int) -> dict[str, int]:
    """pack"""  # noqa: D403, D415 (a cell of the table)
    store = packed(source, tokenizer, root, max_length)
    facts = store.facts.values()
    return {
        "documents": sum(one.documents for one in facts),
        "pieces": sum(one.pieces for one in facts),
    }


def epoch(source: CorpusSource, tokenizer: Path, root: Path, max_length: int) -> dict[str, int]:
    """read and mask an epoch"""  # noqa: D403, D415 (a cell of the table)
    blocks = packed(source, tokenizer, root, max_length).train
    pieces = MaskPieces.of(TextTokenizer.from_folder(tokenizer))
    settings = MaskSettings(whole_words=True)
    return {"pieces": sum(masked_lengths(blocks, pieces, settings))}


def masked_lengths(blocks: Blocks, pieces: MaskPieces, settings: MaskSettings) -> Iterator[int]:
    plan = BlockPlan(len(blocks), blocks.lengths, batch_size=32, seed=13)
    for batch in plan.epoch(0):
        for index in batch.tolist():
            block = blocks[index]
            masked = mask_block(
                block.input_ids,
                block.begins_word,
                pieces=pieces,
                settings=settings,
                example=index,
                epoch=0,
            )
            yield len(masked.input_ids)


def packed(source: CorpusSource, tokenizer: Path, root: Path, max_length: int) -> Any:
    settings = PackSettings(max_length=max_length, division=Division(held_out=0.01))
    return pack(source, TextTokenizer.from_folder(tokenizer), root=root, settings=settings)


if __name__ == "__main__":
    main()
