"""What the loop does to a real tiny model: gradients, schedule, stopping, best weights."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForTokenClassification, PreTrainedModel

from destilo.errors import InputError, TrainingError
from destilo.objective.base import Objective
from destilo.objective.logits import make_term
from destilo.recipe.schema import TrainingSpec
from destilo.rows import TaggingRow
from destilo.tasks import make_task
from destilo.tasks.base import Example
from destilo.teacher.alignment import AlignmentMode
from destilo.teacher.source import LiveTeacher
from destilo.training.loop import (
    TrainingJob,
    TrainingResult,
    _Loop,
    train,
)
from destilo.training.optimisation import learning_rate_factor, make_optimizer, planned_steps
from tests.factories import SENTENCES, text_tokenizer

torch.set_num_threads(1)
LABELS = ("A", "B", "O")
TASK = make_task("token-classification", labels=LABELS, scheme="raw", max_length=64)
TOKENIZER = text_tokenizer("wordpiece")


def rows(n: int, *, labelled: bool = True) -> list[TaggingRow]:
    """Ragged sentences; a word's tag follows from its length."""
    result = []
    for number in range(n):
        words = tuple(SENTENCES[number % len(SENTENCES)].split())[: 2 + (5 * number) % 9]
        tags = tuple(LABELS[len(word) % 3] for word in words) if labelled else None
        result.append(TaggingRow(str(number), words, tags))
    return result


def examples(n: int, *, labelled: bool = True) -> list[Example]:
    return TASK.encode(rows(n, labelled=labelled), [TOKENIZER])


def tiny_model(
    seed: int = 0, *, layers: int = 2, dropout: float = 0.0
) -> BertForTokenClassification:
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=TOKENIZER.vocab_size,
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        initializer_range=0.2,
        id2label=dict(enumerate(LABELS)),
        label2id={label: number for number, label in enumerate(LABELS)},
    )
    return BertForTokenClassification(config)


def spec(**changes: Any) -> TrainingSpec:
    keys: dict[str, Any] = {
        "learning_rate": 5e-3,
        "per_device_train_batch_size": 6,
        "num_train_epochs": 2.0,
        "logging_steps": 1,
        "warmup_steps": 0.0,
        "threads": 1,
    }
    return TrainingSpec(**(keys | changes))


def job(folder: Path, **changes: Any) -> TrainingJob:
    keys: dict[str, Any] = {
        "name": "student",
        "model": tiny_model(),
        "examples": examples(18),
        "kinds": TASK.heads,
        "pad_id": TOKENIZER.pad_id,
        "objective": Objective([make_term("labels")]),
        "settings": spec(),
        "folder": folder,
        "identity": "x",
    }
    return TrainingJob(**(keys | changes))


def live(model: PreTrainedModel) -> LiveTeacher:
    return LiveTeacher(
        model=model,
        heads=("label",),
        encoding=0,
        alignment=AlignmentMode.IDENTITY,
        pad_id=TOKENIZER.pad_id,
    )


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def losses(folder: Path) -> list[float]:
    return [record["loss"] for record in records(folder) if "loss" in record]


def weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def differ(one: Mapping[str, torch.Tensor], two: Mapping[str, torch.Tensor]) -> float:
    return max(float((one[name] - two[name]).abs().max()) for name in one)


# -- one step ----------------------------------------------------------------------------


def gradient(folder: Path, micro_batches: int, **changes: Any) -> dict[str, torch.Tensor]:
    """The gradient of the first step, on one global batch of ragged rows."""
    grads: dict[str, torch.Tensor] = {}
    size = 24 // micro_batches
    settings = spec(
        per_device_train_batch_size=size,
        gradient_accumulation_steps=micro_batches,
        max_steps=1,
        max_grad_norm=1e9,
        group_by_length=False,
    )
    one = job(folder, settings=settings, **changes)
    loop = _Loop(one, _quiet())
    update = loop._update

    def keep() -> float:
        for name, value in one.model.named_parameters():
            assert value.grad is not None
            grads[name] = value.grad.clone()
        return update()

    loop._update = keep  # type: ignore[method-assign]  # to look between backward and update
    loop.run()
    return grads


def _quiet() -> Any:
    from destilo.progress import Silent

    return Silent()


@pytest.mark.parametrize("micro_batches", [2, 4, 24])
def test_micro_batches_add_up_to_the_gradient_of_one_big_batch(
    micro_batches: int, tmp_path: Path
) -> None:
    # 14 labelled and 9 unlabelled ragged rows: two terms with different counts, and at 24
    # micro-batches one that is empty
    changes: dict[str, Any] = {
        "examples": examples(14) + examples(9, labelled=False),
        "objective": Objective([make_term("labels", weight=0.3), make_term("kl", weight=0.7)], [1]),
        "teachers": [live(tiny_model(7))],
    }
    big = gradient(tmp_path / "big", 1, model=tiny_model(), **changes)
    small = gradient(tmp_path / "small", micro_batches, model=tiny_model(), **changes)
    largest = max(float(value.abs().max()) for value in big.values())
    assert differ(big, small) < 1e-6 * max(1.0, largest)
    assert losses(tmp_path / "small") == pytest.approx(losses(tmp_path / "big"), rel=1e-5)


def test_what_does_not_decay_is_one_dimensional() -> None:
    model = tiny_model()
    optimizer = make_optimizer([model], spec(weight_decay=0.1))
    decays = {
        id(w): group["weight_decay"] for group in optimizer.param_groups for w in group["params"]
    }
    for name, value in model.named_parameters():
        plain = "bias" in name or "LayerNorm" in name
        assert decays[id(value)] == (0.0 if plain else 0.1), name


# -- schedule ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [
        # 10 steps; warm-up over ceil(0.2 x 10) = 2 of them, then down to 0 at step 10
        ("linear", 0.2, [0.5, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]),
        ("linear", 0, [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        ("linear", 5, [0.2, 0.4, 0.6, 0.8, 1, 1, 0.8, 0.6, 0.4, 0.2]),
        ("constant", 4, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1]),
        # half a turn: cos(0), cos(pi/4), cos(pi/2), cos(3pi/4) over the last four
        ("cosine", 6, [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1, 0.85355339, 0.5, 0.14644661]),
    ],
)
def test_the_learning_rate_follows_its_schedule(
    schedule: str, warmup: float, expected: list[float]
) -> None:
    values = [
        learning_rate_factor(step, total=10, warmup_steps=warmup, schedule=schedule)
        for step in range(10)
    ]
    assert values == pytest.approx(expected)


def test_the_schedule_is_what_the_optimiser_gets(tmp_path: Path) -> None:
    train(job(tmp_path, settings=spec(warmup_steps=2, learning_rate=1e-3, max_steps=4)))
    rates = [record["learning_rate"] for record in records(tmp_path) if "loss" in record]
    assert rates == pytest.approx([5e-4, 1e-3, 1e-3, 5e-4])


@pytest.mark.parametrize(
    ("n", "changes", "expected"),
    [
        (18, {}, 6),  # 3 batches of 6, twice
        (19, {}, 8),
        (18, {"num_train_epochs": 0.5}, 2),  # half of 3, rounded up
        (18, {"max_steps": 5}, 5),
        (18, {"gradient_accumulation_steps": 2}, 4),
        (1, {"num_train_epochs": 0.1}, 1),
    ],
)
def test_steps_are_planned_from_epochs_or_given(
    n: int, changes: dict[str, Any], expected: int
) -> None:
    assert planned_steps(n, spec(**changes)) == expected


def test_the_log_has_the_steps_asked_for_and_the_first_and_last(tmp_path: Path) -> None:
    result = train(job(tmp_path, settings=spec(max_steps=8, logging_steps=3)))
    assert [record["step"] for record in records(tmp_path)] == [1, 3, 6, 8]
    assert result == TrainingResult(8, 8, 8, {})


# -- choosing and stopping ---------------------------------------------------------------


@dataclass
class Scripted:
    """Validation values given beforehand; keeps the weights that it was shown."""

    values: Iterator[float]
    metric: str = "f1"

    def __post_init__(self) -> None:
        self.seen: list[dict[str, torch.Tensor]] = []

    def __call__(self, model: PreTrainedModel) -> Mapping[str, float]:
        self.seen.append(weights(model))
        return {self.metric: next(self.values)}


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [
        ("f1", [0.1, 0.5, 0.3, 0.5, 0.2, 0.4], 2),  # equal is not better
        ("validation_loss", [0.9, 0.5, 0.6, 0.4, 0.7, 0.8], 4),
        ("f1", [math.nan, 0.1, 0.2, math.nan, 0.1, 0.1], 3),
    ],
)
def test_the_best_steps_weights_are_kept(
    metric: str, values: list[float], best: int, tmp_path: Path
) -> None:
    validate = Scripted(iter(values), metric)
    one = job(tmp_path, settings=spec(eval_steps=1), validate=validate, select_by=metric)
    result = train(one)
    assert result.best_step == best
    assert result.steps == 6
    assert differ(weights(one.model), validate.seen[best - 1]) == 0
    assert differ(weights(one.model), validate.seen[-1]) > 0
    kept = [record["step"] for record in records(tmp_path) if record.get("best")]
    assert kept[-1] == best


def test_patience_counts_evaluations_without_improvement(tmp_path: Path) -> None:
    validate = Scripted(iter([0.1, 0.2, 0.1, 0.3, 0.2, 0.3, 0.4, 0.5]))
    settings = spec(eval_steps=2, max_steps=16, early_stopping_patience=2)
    result = train(job(tmp_path, settings=settings, validate=validate, select_by="f1"))
    # best at the fourth evaluation (step 8), not better at 10 and 12
    assert (result.best_step, result.steps, result.planned_steps) == (8, 12, 16)
    assert result.best_metrics == {"f1": 0.3}


def test_without_eval_steps_each_epoch_and_the_end_are_validated(tmp_path: Path) -> None:
    validate = Scripted(iter([0.1, 0.2, 0.3]))
    train(job(tmp_path, settings=spec(max_steps=8), validate=validate, select_by="f1"))
    assert [one["step"] for one in records(tmp_path) if "validation" in one] == [3, 6, 8]


# -- going wrong -------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_with_step_and_term(tmp_path: Path) -> None:
    broken = tiny_model(3)
    with torch.no_grad():
        broken.classifier.weight.fill_(float("nan"))
    objective = Objective([make_term("labels"), make_term("kl")], [1])
    one = job(tmp_path, objective=objective, teachers=[live(broken)])
    with pytest.raises(TrainingError, match=r"'kl' became nan at step 1") as caught:
        train(one)
    assert caught.value.exit_code == 1


def test_a_gradient_that_is_not_finite_stops_before_the_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = job(tmp_path)
    before = weights(one.model)
    head = one.model.get_parameter("classifier.weight")
    hook = head.register_hook(lambda grad: grad * float("inf"))  # type: ignore[no-untyped-call]  # torch's own
    with pytest.raises(TrainingError, match=r"step 1 .*labels.*learning_rate"):
        train(one)
    hook.remove()
    assert differ(weights(one.model), before) == 0


def test_a_tracker_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"report_to.*'mlflow'.*pip install mlflow"):
        train(job(tmp_path, settings=spec(report_to="mlflow")))


def test_tensorboard_gets_events_where_the_log_is(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    validate = Scripted(iter([0.1, 0.2]))
    settings = spec(report_to="tensorboard")
    train(job(tmp_path, settings=settings, validate=validate, select_by="f1"))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = next(tmp_path.rglob("events.out.tfevents.*"))
    read = EventAccumulator(str(events))
    read.Reload()
    scalars = read.Tags()["scalars"]
    assert {"train/loss", "train/labels", "validation/f1"} <= set(scalars)
    assert [event.step for event in read.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]


# -- learning ----------------------------------------------------------------------------


def test_a_batch_can_be_learnt_by_heart(tmp_path: Path) -> None:
    settings = spec(max_steps=60, per_device_train_batch_size=18)
    train(job(tmp_path, settings=settings))
    assert losses(tmp_path)[0] > 0.9
    assert losses(tmp_path)[-1] < 0.05


def test_unlabelled_rows_and_a_teacher_alone_move_the_student_to_it(tmp_path: Path) -> None:
    objective = Objective([make_term("kl", temperature=2.0)], [1])
    settings = spec(max_steps=60, per_device_train_batch_size=18, bf16=False)
    teacher = tiny_model(5)
    before = weights(teacher)
    one = job(
        tmp_path,
        model=tiny_model(6, layers=1),
        examples=examples(18, labelled=False),
        objective=objective,
        teachers=[live(teacher)],
        settings=settings,
    )
    train(one)
    assert losses(tmp_path)[-1] < 0.05 * losses(tmp_path)[0]
    assert differ(before, weights(teacher)) == 0


def test_bfloat16_learns_too_and_leaves_a_plain_model(tmp_path: Path) -> None:
    one = job(tmp_path, settings=spec(bf16=True, max_steps=30, per_device_train_batch_size=18))
    train(one)
    assert losses(tmp_path)[-1] < 0.5 * losses(tmp_path)[0]
    assert {value.dtype for value in one.model.parameters()} == {torch.float32}
    output = one.model(input_ids=torch.ones(1, 4, dtype=torch.long)).logits
    assert output.dtype == torch.float32


@pytest.mark.parametrize("restart", [1, 5])
def test_an_exception_at_any_step_and_again_equals_uninterrupted(
    restart: int, tmp_path: Path
) -> None:
    settings = spec(save_steps=2, eval_steps=3, num_train_epochs=3.0)

    def make(name: str, **changes: Any) -> TrainingJob:
        keys: dict[str, Any] = {
            "model": tiny_model(dropout=0.3),
            "settings": settings,
            "validate": lambda model: {"f1": model.classifier.bias[0].item()},
            "select_by": "f1",
        }
        return job(tmp_path / name, **(keys | changes))

    whole = make("whole")
    train(whole)
    cut = make("cut")
    loop = _Loop(cut, _quiet())
    step = loop._step

    def interrupted(batch: Any) -> None:
        if loop.state.step == restart:
            raise KeyboardInterrupt
        step(batch)

    loop._step = interrupted  # type: ignore[method-assign]  # stands for Ctrl-C
    with pytest.raises(KeyboardInterrupt):
        loop.run()
    again = make("cut")
    result = train(again)
    assert result.steps == 9
    assert differ(weights(whole.model), weights(again.model)) == 0
    assert (tmp_path / "cut/log.jsonl").read_text() == (tmp_path / "whole/log.jsonl").read_text()
    # and a training that is finished is not done again
    assert train(replace(again, model=tiny_model())).best_step == result.best_step
