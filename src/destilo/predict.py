"""Answers from a model folder: text in, predictions out, as evaluation makes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from destilo.data.readers import split_words
from destilo.errors import InputError, ModelError
from destilo.evaluation import predict_heads
from destilo.models.folder import load_model, read_settings
from destilo.rows import QuestionRow, Row, TaggingRow, TextRow
from destilo.tasks import Task, task_from_settings
from destilo.tasks.base import Prediction
from destilo.tasks.text_classification import TextClassification

_KEYS = {
    "question-answering": ("question", "context"),
    "token-classification": ("tokens", "text"),
    "text-classification": ("text", "text_pair"),
}
_NEEDS = {
    "question-answering": "question, context",
    "token-classification": "tokens or text",
    "text-classification": "text, text_pair (for pairs)",
}


class Predictor:
    """A model ready to answer.

    Args:
        folder: A model folder that destilo wrote.

    Example:
        ``Predictor.load("runs/qa")(question="¿Dónde nació?", context="Nació en Jaca.")``
    """

    def __init__(self, folder: Path) -> None:
        settings = read_settings(folder)
        self.task: Task = task_from_settings(settings)
        loaded = load_model(str(folder), self.task.name, labels=self.task.labels)
        self.folder, self.model, self.tokenizer = folder, loaded.model.eval(), loaded.text

    @classmethod
    def load(cls, path: str | Path) -> Predictor:
        """Load a model folder, or the student of a run.

        Raises:
            ModelError: If there is no model that destilo wrote.
        """
        return cls(model_folder(Path(path)))

    def __call__(self, **inputs: Any) -> Prediction:
        """Predict one input; the keys are the task's (``question`` and ``context``, ...)."""
        prediction = self.predict([self.row(inputs)])[0]
        return prediction | {"id": inputs.get("id", prediction["id"])}

    @property
    def keys(self) -> tuple[str, ...]:
        """What the task reads of an input."""
        return _KEYS[self.task.name]

    @property
    def needs(self) -> str:
        """The same as a sentence, for messages."""
        if isinstance(self.task, TextClassification) and self.task.pair:
            return "a model of pairs needs text, text_pair"
        return f"{self.task.name} needs {_NEEDS[self.task.name]}"

    def row(self, inputs: Mapping[str, Any], *, number: int = 0) -> Row:
        """Check one input and make a row of it.

        Raises:
            InputError: If a key is missing or of the wrong type.
        """
        identity = str(inputs.get("id", number))
        if self.task.name == "question-answering":
            return QuestionRow(
                identity, self._text(inputs, "question"), self._text(inputs, "context")
            )
        if self.task.name == "token-classification":
            if "tokens" in inputs:
                tokens = inputs["tokens"]
                if not isinstance(tokens, list | tuple) or not all(
                    isinstance(token, str) and token for token in tokens
                ):
                    raise InputError("'tokens' must be a list of words, none of them empty.")
            else:
                tokens = split_words(self._text(inputs, "text"))
            if not tokens:
                raise InputError("There is no word to tag.")
            return TaggingRow(identity, tuple(tokens))
        text = self._text(inputs, "text")
        reads_pairs = isinstance(self.task, TextClassification) and self.task.pair
        if not reads_pairs and inputs.get("text_pair") is None:
            return TextRow(identity, text)
        return TextRow(identity, text, self._text(inputs, "text_pair"))

    def predict(self, rows: Sequence[Row], *, batch_size: int = 32) -> list[Prediction]:
        """Predict rows in their order; each result is JSON-ready."""
        examples = self.task.encode(rows, [self.tokenizer])
        heads, _ = predict_heads(
            self.model,
            [example.encodings[0] for example in examples],
            kinds=self.task.heads,
            pad_id=self.tokenizer.pad_id,
            batch_size=batch_size,
        )
        return self.task.decode(rows, examples, heads)

    def stream(self, rows: Iterable[Row], *, batch_size: int = 32) -> Iterator[Prediction]:
        """Predict any number of rows, a few batches at a time."""
        iterator = iter(rows)
        while chunk := list(islice(iterator, 8 * batch_size)):
            yield from self.predict(chunk, batch_size=batch_size)

    def _text(self, inputs: Mapping[str, Any], key: str) -> str:
        if key not in inputs:
            raise InputError(f"'{key}' is missing; {self.needs}.")
        value = inputs[key]
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"'{key}' must be a text that is not empty.")
        return value


def model_folder(path: Path) -> Path:
    """A model folder, given itself or the run that made it.

    Raises:
        ModelError: If there is none.
    """
    if (path / "config.json").exists():
        return path
    if (path / "student" / "config.json").exists():
        return path / "student"
    if (path / "manifest.json").exists():
        raise ModelError(f"The run {path} has no student yet. Finish it with: destilo run.")
    raise ModelError(
        f"{path} is neither a model folder (config.json) nor a run (manifest.json). "
        "Give what `destilo run ... -o RUN` wrote."
    )
