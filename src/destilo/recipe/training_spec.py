"""The training section of a recipe, and what a single training may have otherwise."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from destilo.recipe.fields import Count, NotNegative, Positive, Probability, Spec

TrackerName: TypeAlias = Literal["none", "tensorboard", "wandb", "mlflow"]
ScheduleName: TypeAlias = Literal["linear", "cosine", "constant"]


class TrainingSpec(Spec):
    """How a model is trained; the keys are those of ``transformers.TrainingArguments``.

    Attributes:
        max_steps: Optimiser steps; -1: as many as the epochs take.
        warmup_steps: Steps in which the learning rate rises; below 1, that share of all steps.
        group_by_length: Batch rows of like length.
        early_stopping_patience: Evaluations without improvement before stopping.
        eval_steps: Steps between evaluations; by default each epoch.
        threads: CPU threads; by default the machine's choice.
    """

    num_train_epochs: Positive = 3.0
    max_steps: Annotated[int, Field(ge=-1)] = -1
    learning_rate: Positive = 5e-5
    per_device_train_batch_size: Count = 32
    per_device_eval_batch_size: Count = 64
    gradient_accumulation_steps: Count = 1
    warmup_steps: NotNegative = 0.1
    lr_scheduler_type: ScheduleName = "linear"
    weight_decay: NotNegative = 0.01
    adam_beta1: Probability = 0.9
    adam_beta2: Probability = 0.999
    adam_epsilon: Positive = 1e-8
    max_grad_norm: Positive = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 13
    bf16: bool = False
    group_by_length: bool = True
    early_stopping_patience: Count | None = None
    eval_steps: Count | None = None
    save_steps: Count = 200
    logging_steps: Count = 10
    report_to: TrackerName = "none"
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None


class TrainingOverrides(Spec):
    """The keys of ``TrainingSpec`` that differ; what is not given comes from ``training``."""

    num_train_epochs: Positive | None = None
    max_steps: Annotated[int, Field(ge=-1)] | None = None
    learning_rate: Positive | None = None
    per_device_train_batch_size: Count | None = None
    per_device_eval_batch_size: Count | None = None
    gradient_accumulation_steps: Count | None = None
    warmup_steps: NotNegative | None = None
    lr_scheduler_type: ScheduleName | None = None
    weight_decay: NotNegative | None = None
    adam_beta1: Probability | None = None
    adam_beta2: Probability | None = None
    adam_epsilon: Positive | None = None
    max_grad_norm: Positive | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    bf16: bool | None = None
    group_by_length: bool | None = None
    early_stopping_patience: Count | None = None
    eval_steps: Count | None = None
    save_steps: Count | None = None
    logging_steps: Count | None = None
    report_to: TrackerName | None = None
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None

    def over(self, training: TrainingSpec) -> TrainingSpec:
        """Return ``training`` with what is given here in its place."""
        return training.model_copy(update=self.model_dump(exclude_none=True))
