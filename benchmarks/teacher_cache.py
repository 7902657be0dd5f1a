"""What a teacher's cache costs and saves: filling, reading, whole trainings, bytes.

1. Filling against the bare teacher: the same padded batches, sorted by length, in inference mode.
   The two take turns batch by batch; hashing, writing and opening count on the cache's side.
2. Reading a batch against the training step that it is for, likewise in turn.
3. Whole trainings of 5 epochs, with a live teacher and with a cache that is filled first. With s
   the time of a student's steps over one epoch and t that of its teacher, no cache can gain more
   than 5 (s + t) / (5 s + t), which is given beside it. The second pair has the costs of the
   paper's Table 8 (16.2 h without and 3.8 h with a cache are t = 22 s).
4. Bytes per example.

Weights are random, rows the embedded ones, or those of --data (laid out as quality.py says).

    python benchmarks/teacher_cache.py [--data DIR] [--rows 64] [--repeats 3] [--threads 1]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from bench.cached import Material, bert, embedded_material, macs_per_row, real_material
from bench.workload import heading
from quality import problems
from transformers import PreTrainedModel

from destilo.objective.base import Objective
from destilo.objective.logits import make_term
from destilo.progress import Silent
from destilo.recipe.schema import TrainingSpec
from destilo.tasks.base import Example
from destilo.teacher.alignment import AlignmentMode
from destilo.teacher.cache import TeacherCache, example_key
from destilo.teacher.filling import fill_cache
from destilo.teacher.source import CachedTeacher, LiveTeacher, Teacher
from destilo.training.loop import TrainingJob, train

BATCH, EPOCHS, PAPER_GAIN = 32, 5, 4.26


@dataclass(frozen=True)
class ModelPair:
    """A teacher and a student, each as layers and width."""

    teacher: tuple[int, int]
    student: tuple[int, int]

    def make(self, material: Material) -> tuple[PreTrainedModel, PreTrainedModel]:
        teacher = bert(material, layers=self.teacher[0], width=self.teacher[1], seed=0)
        student = bert(material, layers=self.student[0], width=self.student[1], seed=1)
        return teacher.eval(), student

    def __str__(self) -> str:
        (deep, wide), (few, narrow) = self.teacher, self.student
        return f"{deep} x {wide} into {few} x {narrow}"


EIGHTFOLD, AS_IN_THE_PAPER = ModelPair((12, 768), (6, 384)), ModelPair((12, 768), (2, 128))


def live(model: PreTrainedModel, material: Material) -> LiveTeacher:
    heads = tuple(material.task.heads)
    return LiveTeacher(model, heads, 0, AlignmentMode.WORD, material.pad_id)


def filled(
    folder: Path, material: Material, model: PreTrainedModel, progress: Silent | None = None
) -> TeacherCache:
    return fill_cache(
        folder,
        material.examples,
        teacher=live(model, material),
        kinds=material.task.heads,
        facts={},
        batch_size=BATCH,
        progress=progress,
    )


class BareBetween(Silent):
    """Runs the bare teacher on a batch whenever the filling has done one."""

    def __init__(self, model: PreTrainedModel, batches: Sequence[Mapping[str, torch.Tensor]]):
        self.model, self.batches, self.seconds = model, iter(batches), 0.0

    def advance(
        self,
        amount: int = 1,  # noqa: ARG002 (protocol)
        *,
        figures: Mapping[str, float] | None = None,  # noqa: ARG002 (protocol)
    ) -> None:
        batch = next(self.batches)
        start = time.perf_counter()
        with torch.inference_mode():
            self.model(**batch)
        self.seconds += time.perf_counter() - start


def fill_ratio(material: Material, model: PreTrainedModel) -> float:
    """The bare teacher's time for all distinct rows as a share of the filling's."""
    distinct = {one.encodings[0].input_ids.tobytes(): one for one in material.examples}
    rows = sorted(distinct.values(), key=lambda one: -len(one.encodings[0]))
    teacher = live(model, material)
    batches = [
        teacher.inputs(rows[start : start + BATCH], torch.device("cpu"))
        for start in range(0, len(rows), BATCH)
    ]
    with torch.inference_mode():
        model(**batches[0])
    bare = BareBetween(model, batches)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        filled(Path(folder), material, model, bare)
        whole = time.perf_counter() - start
    return bare.seconds / (whole - bare.seconds)


class ReadBetween(Silent):
    """Times every step of a training, and reading one more batch from the cache after it."""

    def __init__(self, cache: TeacherCache | None, examples: Sequence[Example]) -> None:
        self.cache, self.examples = cache, examples
        self.steps: list[float] = []
        self.reads: list[float] = []
        self.last = 0.0

    def begin(self, name: str, total: int, *, done: int = 0) -> None:  # noqa: ARG002 (protocol)
        self.last = time.perf_counter()

    def advance(
        self,
        amount: int = 1,  # noqa: ARG002 (protocol)
        *,
        figures: Mapping[str, float] | None = None,  # noqa: ARG002 (protocol)
    ) -> None:
        self.steps.append(time.perf_counter() - self.last)
        if self.cache is not None:
            teacher = CachedTeacher(self.cache, 0)  # a new one, that knows no keys yet
            at = BATCH * len(self.steps) % max(1, len(self.examples) - BATCH)
            batch = self.examples[at : at + BATCH]
            start = time.perf_counter()
            teacher.inputs(batch, torch.device("cpu"))
            teacher.encodings(batch)
            self.reads.append(time.perf_counter() - start)
        self.last = time.perf_counter()


def trained(
    material: Material,
    student: PreTrainedModel,
    teacher: Teacher,
    *,
    epochs: int,
    progress: Silent | None = None,
) -> float:
    """The seconds of a training."""
    threads = torch.get_num_threads()
    settings = TrainingSpec(
        num_train_epochs=epochs, per_device_train_batch_size=BATCH, threads=threads
    )
    terms = [make_term("labels", weight=0.5), make_term("kl", weight=0.5, temperature=2.0)]
    with tempfile.TemporaryDirectory() as folder:
        job = TrainingJob(
            name="student",
            model=student,
            examples=material.examples,
            kinds=material.task.heads,
            pad_id=material.pad_id,
            objective=Objective(terms, [1.0]),
            settings=settings,
            folder=Path(folder),
            identity="benchmark",
            teachers=[teacher],
        )
        start = time.perf_counter()
        train(job, progress)
        return time.perf_counter() - start


def read_shares(material: Material, pair: ModelPair) -> tuple[list[float], list[float]]:
    """Seconds of steps with a cache, and of reading a batch from it."""
    _, student = pair.make(material)
    full = len(material.examples) // BATCH * BATCH  # every step as large as what is read
    material = replace(material, examples=material.examples[:full])
    with tempfile.TemporaryDirectory() as folder:
        quick = bert(material, layers=1, width=64)
        cache = filled(Path(folder), material, quick.eval())
        clock = ReadBetween(cache, material.examples)
        trained(material, student, CachedTeacher(cache, 0), epochs=2, progress=clock)
    return clock.steps[1:], clock.reads[1:]


@dataclass
class Totals:
    """Whole trainings of one pair, live and cached in turn."""

    pair: ModelPair
    macs: float
    ratio: float
    live_seconds: list[float] = field(default_factory=list)
    cached_seconds: list[float] = field(default_factory=list)

    @property
    def gains(self) -> list[float]:
        return [a / b for a, b in zip(self.live_seconds, self.cached_seconds, strict=True)]

    @property
    def bound(self) -> float:
        return EPOCHS * (1 + self.ratio) / (EPOCHS + self.ratio)


def run_totals(material: Material, pair: ModelPair, *, repeats: int) -> Totals:
    """Train live and cached, turn about."""
    teacher, student = pair.make(material)
    macs = macs_per_row(teacher, material) / macs_per_row(student, material)
    totals = Totals(pair, macs, ratio=0.0)
    teacher_seconds, step_seconds = [], []
    for _ in range(repeats):
        _, student = pair.make(material)
        totals.live_seconds.append(
            trained(material, student, live(teacher, material), epochs=EPOCHS)
        )
        _, student = pair.make(material)
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            cache = filled(Path(folder), material, teacher)
            filling = time.perf_counter() - start
            training = trained(material, student, CachedTeacher(cache, 0), epochs=EPOCHS)
        totals.cached_seconds.append(filling + training)
        teacher_seconds.append(filling)
        step_seconds.append(training / EPOCHS)
    totals.ratio = statistics.median(teacher_seconds) / statistics.median(step_seconds)
    return totals


def middle(values: Sequence[float], form: str = ".3f") -> str:
    """The median with the quartiles."""
    if len(values) < 2:
        return f"{values[0]:{form}}"
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{median:{form}} ({low:{form}} to {high:{form}})"


def gather(data: Path | None, rows: int) -> list[Material]:
    if data is None:
        return embedded_material(rows)
    return [
        real_material(
            name,
            {
                "task": problem.task,
                "data": problem.data,
                "encoding": {"max_length": problem.max_length},
                "student": {"from": "config", "config": {"model_type": "bert"}, "tokenizer": "x"},
            },
            count=rows,
        )
        for name, problem in problems(data).items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="a folder of data sets; see quality.py")
    parser.add_argument("--rows", type=int, default=64, help="rows of each task")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    material = gather(options.data, options.rows)
    tags = next(one for one in material if one.task.name == "token-classification")
    questions = next(one for one in material if one.task.name == "question-answering")
    lengths = "; ".join(f"{one.name} {one.mean_pieces:.0f}" for one in material)
    what = [
        f"BERT with random weights (layers x width), batch {BATCH}, {options.repeats} repeats",
        f"{options.rows} rows of a task; pieces per row on average: {lengths}",
        "medians with quartiles",
    ]
    print(heading("Teacher cache", threads=options.threads, settings=what))

    print("## Filling, against the bare teacher\n")
    print("| teacher | task | bare / filling | wanted |\n| --- | --- | ---: | ---: |")
    for layers, width in (EIGHTFOLD.teacher, EIGHTFOLD.student):
        for one in (tags, questions):
            teacher = bert(one, layers=layers, width=width).eval()
            ratios = [fill_ratio(one, teacher) for _ in range(options.repeats)]
            print(f"| {layers} x {width} | {one.name} | {middle(ratios)} | 0.9 |", flush=True)

    print("\n## Reading a batch, against its training step\n")
    print("| student | task | step, ms | reading, ms | share | wanted |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for pair in (EIGHTFOLD, AS_IN_THE_PAPER):
        for one in (tags, questions):
            steps, reads = read_shares(one, pair)
            share = 100 * statistics.median(reads) / statistics.median(steps)
            cells = f"{middle([1000 * s for s in steps], '.1f')} | "
            cells += middle([1000 * s for s in reads], ".2f")
            few, narrow = pair.student
            print(f"| {few} x {narrow} | {one.name} | {cells} | {share:.2f}% | 1% |", flush=True)

    print(f"\n## {EPOCHS} epochs, live and cached ({tags.name})\n")
    print("| teacher into student | MACs | t / s | live, s | cached, s | gain | at most |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for pair in (EIGHTFOLD, AS_IN_THE_PAPER):
        totals = run_totals(tags, pair, repeats=options.repeats)
        print(
            f"| {pair} | {totals.macs:.1f}x | {totals.ratio:.1f} "
            f"| {middle(totals.live_seconds, '.1f')} | {middle(totals.cached_seconds, '.1f')} "
            f"| {middle(totals.gains, '.2f')}x | {totals.bound:.2f}x |",
            flush=True,
        )
    print(f"\nPaper, Table 8: {PAPER_GAIN}x, at t / s = 22 at most 4.26x.")

    print("\n## Bytes per example\n")
    print("| task | labels | units | fp16 | fp32 |\n| --- | ---: | ---: | ---: | ---: |")
    for one in material:
        print(bytes_row(one), flush=True)


def bytes_row(material: Material) -> str:
    """What an example takes on disk, all overheads of its shard included."""
    model = bert(material, layers=1, width=64).eval()
    sizes, units = [], 0.0
    for precision in ("fp16", "fp32"):
        with tempfile.TemporaryDirectory() as folder:
            cache = fill_cache(
                Path(folder),
                material.examples,
                teacher=live(model, material),
                kinds=material.task.heads,
                facts={},
                precision=precision,
                batch_size=BATCH,
            )
            size = sum(path.stat().st_size for path in Path(folder).glob("*.safetensors"))
            sizes.append(f"{size / len(cache):.0f}")
            keys = [example_key(one.encodings[0]) for one in material.examples]
            units = sum(len(cache.row(key).units) for key in keys) / len(keys)
    labels = len(material.task.labels) or "-"
    return f"| {material.name} | {labels} | {units:.1f} | {' | '.join(sizes)} |"


if __name__ == "__main__":
    main()
