"""A recipe: the frozen, typed and complete description of one experiment.

The models below are the only configuration there is. They are strict: an unknown key or a value of
another type is an error, except that a whole number may stand for a fraction. What is impossible
only in combination with other keys or with files is for ``destilo.recipe.check``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    model_validator,
)

from destilo.recipe.data_spec import DataSpec, Source, ValidationSplit
from destilo.recipe.fields import (
    Count,
    NotNegative,
    Probability,
    Spec,
    Text,
    as_tuple,
    shape,
)
from destilo.recipe.objective_spec import StageSpec, TermName, TermSpec
from destilo.recipe.places import Places, dotted
from destilo.recipe.training_spec import TrainingOverrides, TrainingSpec
from destilo.records import TimingProtocol

__all__ = [
    "DataSpec",
    "EncodingSpec",
    "EvaluationSpec",
    "ProfileSpec",
    "Recipe",
    "Source",
    "StageSpec",
    "StudentSpec",
    "TaskName",
    "TeacherSpec",
    "TermName",
    "TermSpec",
    "TokenizerSpec",
    "TrainingOverrides",
    "TrainingSpec",
    "ValidationSplit",
]

TaskName: TypeAlias = Literal["text-classification", "token-classification", "question-answering"]


class EncodingSpec(Spec):
    """How rows become windows of pieces.

    Attributes:
        max_length: Pieces in a window; by default 384 for question answering, else 128.
        doc_stride: Pieces that neighbouring windows of a context share.
        max_question_length: Pieces kept of a question.
    """

    max_length: Annotated[int, Field(ge=4)] | None = None
    doc_stride: Annotated[int, Field(ge=0)] = 128
    max_question_length: Count = 64


class TokenizerSpec(Spec):
    """A tokenizer to train on the recipe's own training texts."""

    algorithm: Literal["byte-level-bpe", "wordpiece", "unigram"]
    vocab_size: Annotated[int, Field(ge=64)]


TokenizerChoice: TypeAlias = Annotated[
    Annotated[Text, Tag("<value>")] | Annotated[TokenizerSpec, Tag("<section>")],
    Discriminator(shape),
]
ModelConfig: TypeAlias = Annotated[
    Annotated[Text, Tag("<value>")] | Annotated[dict[str, Any], Tag("<section>")],
    Discriminator(shape),
]


class TeacherSpec(Spec):
    """A teacher: a fine-tuned model, an encoder to fine-tune first, or one made from nothing.

    Attributes:
        model: A folder or a hub model. Exactly one of ``model`` and ``config`` is given.
        config: A model configuration with ``model_type``; needs ``tokenizer`` and ``finetune``.
        finetune: Train it on the labelled rows first, with these differences from ``training``.
        encoder: The pretrained encoder that ``model`` was fine-tuned from. The baseline starts from
            its layers; without it, from those of the fine-tuned teacher, which know the task.
        weight: Its share where there are several teachers.
        cache: ``logits``: run it once over every example and read its outputs from disk from then
            on, in this run and every other one with the same teacher. By unit: in question
            answering words, where a live teacher of the same tokenizer is followed by piece.
        cache_precision: Of the stored logits; ``fp16`` is off by 2^-11 of a logit at most.
    """

    model: Text | None = None
    revision: Text | None = None
    config: dict[str, Any] | None = None
    tokenizer: TokenizerChoice | None = None
    finetune: TrainingOverrides | None = None
    encoder: Text | None = None
    weight: NotNegative = 1.0
    cache: Literal["off", "logits"] = "off"
    cache_precision: Literal["fp16", "fp32"] = "fp16"

    @property
    def origin(self) -> str | None:
        """The pretrained encoder that the teacher was, or will be, fine-tuned from, if known."""
        return self.encoder if self.finetune is None else self.model

    @model_validator(mode="after")
    def _one_origin(self) -> TeacherSpec:
        if (self.model is None) == (self.config is None):
            raise ValueError("give exactly one of `model` (a folder or hub model) and `config`")
        if self.config is not None and (self.finetune is None or self.tokenizer is None):
            raise ValueError(
                "a teacher made from `config` knows nothing yet: give it `tokenizer` and `finetune`"
            )
        if self.encoder is not None and (self.model is None or self.finetune is not None):
            raise ValueError(
                "`encoder` says what a fine-tuned `model` came from; with `finetune` or `config` "
                "the run knows that itself: remove it"
            )
        return self


def _default_tokenizer(given: dict[str, Any]) -> str:
    return "own" if given.get("from_") == "checkpoint" else "teacher"


class StudentSpec(Spec):
    """How the small model is made.

    Attributes:
        from_: ``from`` in a recipe: the teacher's ``layers``, a ``checkpoint``, or a ``config``.
        layers: How many, or which of the teacher's layers, counted from 1. Of a checkpoint: keep
            the first ones (for ALBERT: that many turns of its shared layer). Of a configuration:
            in place of its own number.
        layer_map: Which ones a number picks: ``uniform``, ``last``, ``first`` or ``every:K``.
        of: Take layers from the fine-tuned teacher, or from the encoder it was fine-tuned from.
        tokenizer: ``teacher``, ``own`` (the checkpoint's), a folder or hub name, or one to train.
        dropout: Set every dropout probability.
        init: What a student from a ``config`` begins with: ``random`` weights; ``svd``: the
            teacher's embeddings reduced to its width, and layers of the teacher where the shapes
            agree; ``slice``: the first rows and columns of the teacher's tensors.
    """

    from_: Literal["layers", "checkpoint", "config"] = Field(alias="from")
    layers: (
        Annotated[
            Annotated[Count, Tag("<value>")]
            | Annotated[
                tuple[Count, ...], BeforeValidator(as_tuple), Field(min_length=1), Tag("<list>")
            ],
            Discriminator(shape),
        ]
        | None
    ) = None
    layer_map: str = "uniform"
    of: Literal["teacher", "encoder"] = "teacher"
    model: Text | None = None
    revision: Text | None = None
    config: ModelConfig | None = None
    tokenizer: TokenizerChoice = Field(default_factory=_default_tokenizer)
    dropout: Probability | None = None
    init: Literal["random", "svd", "slice"] = "random"


class EvaluationSpec(Spec):
    """What is measured, and by which metric checkpoints are chosen.

    Attributes:
        select_by: A metric of the task, or ``validation_loss``; by default the task's main metric.
        splits: By default validation and every test.
        teacher: Measure the teachers too, before and after. Many students of one need it once.
        baseline: Also train the same student without distillation.
        baseline_from: Where it starts: ``encoder``, without anything the teacher has learnt (the
            layers of the encoder that the recipe fine-tunes, or random weights where the teacher
            is made from a configuration); ``student``, from the student's own initial weights,
            which isolates the loss. They differ only for a student made of the layers of a
            teacher that the recipe itself trains.
        n_best: Spans of a window that question answering looks at.
        max_answer_length: In words.
        no_answer: Whether "no answer" is allowed; ``auto``: where the data have such questions.
    """

    select_by: Text | None = None
    splits: Annotated[tuple[str, ...], BeforeValidator(as_tuple), Field(min_length=1)] | None = None
    teacher: bool = True
    baseline: bool = True
    baseline_from: Literal["encoder", "student"] = "encoder"
    bootstrap_samples: Annotated[int, Field(ge=0)] = 1000
    n_best: Count = 5
    max_answer_length: Count = 30
    no_answer: Literal["auto", "always", "never"] = "auto"


class ProfileSpec(Spec):
    """The input shape and conditions under which size and speed are measured.

    Attributes:
        protocol: ``speedy-gonzales`` also reports inferences per second as that paper takes them,
            and then ``sequence_length`` is 512 and ``samples`` 100 unless they are written.
    """

    protocol: TimingProtocol = "destilo"
    batch_size: Count = 1
    sequence_length: Annotated[int, Field(ge=4)] = 128
    threads: Count = 1
    device: Literal["cpu", "cuda"] = "cpu"
    samples: Count = 50
    warmup: Annotated[int, Field(ge=0)] = 10

    @model_validator(mode="before")
    @classmethod
    def _shape_of_protocol(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and value.get("protocol") == "speedy-gonzales":
            return {"sequence_length": 512, "samples": 100} | dict(value)
        return value


class Recipe(Spec):
    """The frozen, complete description of one experiment.

    Attributes:
        language: Two or three letters (ISO 639); decides how answers are normalised.
        teacher: One, several with weights, or none for plain fine-tuning.
        stages: Several trainings of the student in turn, each with an objective and differences
            from ``training``; in place of ``objective``.
        alignment: Pair student and teacher by position (``identity``) or by ``word``; ``auto``
            chooses by their tokenizers.
    """

    name: Text | None = None
    description: Text | None = None
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}$")] = "es"
    task: TaskName
    data: DataSpec
    encoding: EncodingSpec = EncodingSpec()
    teacher: (
        Annotated[
            Annotated[TeacherSpec, Tag("<section>")]
            | Annotated[TeacherSpec, Tag("<value>")]
            | Annotated[
                tuple[TeacherSpec, ...],
                BeforeValidator(as_tuple),
                Field(min_length=1),
                Tag("<list>"),
            ],
            Discriminator(shape),
        ]
        | None
    ) = None
    student: StudentSpec
    objective: Annotated[tuple[TermSpec, ...], BeforeValidator(as_tuple), Field(min_length=1)] = (
        TermSpec(term="labels"),
    )
    stages: (
        Annotated[tuple[StageSpec, ...], BeforeValidator(as_tuple), Field(min_length=1)] | None
    ) = None
    alignment: Literal["auto", "identity", "word"] = "auto"
    training: TrainingSpec = TrainingSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    profile: ProfileSpec = ProfileSpec()

    _places: Places = PrivateAttr(default_factory=Places)

    @model_validator(mode="after")
    def _one_objective(self) -> Recipe:
        if self.stages is not None and self.objective != (TermSpec(term="labels"),):
            raise ValueError("`stages` have an objective each: remove `objective`")
        return self

    @property
    def teachers(self) -> tuple[TeacherSpec, ...]:
        """All teachers, in order."""
        if self.teacher is None:
            return ()
        return (self.teacher,) if isinstance(self.teacher, TeacherSpec) else self.teacher

    @property
    def distils(self) -> bool:
        """Whether any term of the objective needs a teacher."""
        return any(term.distils and term.weight > 0 for term in self.terms)

    @property
    def lessons(self) -> tuple[StageSpec, ...]:
        """The student's trainings in turn: its stages, or one with the recipe's objective."""
        return self.stages or (StageSpec(objective=self.objective),)

    @property
    def terms(self) -> tuple[TermSpec, ...]:
        """The terms of every stage."""
        return tuple(term for lesson in self.lessons for term in lesson.objective)

    @property
    def max_length(self) -> int:
        """The pieces in a window, the task's default filled in."""
        by_task = 384 if self.task == "question-answering" else 128
        return self.encoding.max_length or by_task

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides the outcome, in hexadecimal.

        The same for any order of keys, for defaults written out or left out, and for any ``name``
        and ``description``.
        """
        content = self.model_dump(mode="json", by_alias=True, exclude={"name", "description"})
        content["teacher"] = [
            teacher.model_dump(mode="json", by_alias=True) for teacher in self.teachers
        ]
        canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()

    def place_of(self, *key: str | int) -> str:
        """Say where a key was written: ``file:line`` where known, else the key itself."""
        place = self._places.find(key)
        return place.text if place and place.text else dotted(key)
