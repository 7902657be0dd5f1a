"""Tiny data, models and recipes of every task: real parts, small enough to train in seconds."""

import json
import random
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

TASKS = ("ner", "pos", "classes", "pairs", "questions")

_PEOPLE = ("Inés", "Tomás", "Begoña", "Íñigo", "Ramón", "Úrsula")
_TOWNS = ("Jaca", "Écija", "Mérida", "Ávila", "Cuéllar", "Ronda")
_VERBS = ("vive en", "nació en", "volvió a", "salió de")
_GOOD = ("magnífica", "preciosa", "estupenda")
_BAD = ("horrible", "pésima", "aburrida")
_THINGS = ("La película", "La comida", "La obra", "La novela")

CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}


def _sentence(rng: random.Random) -> tuple[str, str, str]:
    return rng.choice(_PEOPLE), rng.choice(_VERBS), rng.choice(_TOWNS)


def tagged(rng: random.Random, *, pos: bool = False) -> list[tuple[str, str]]:
    """A sentence of ragged length with its tags."""
    person, verb, town = _sentence(rng)
    words = [(person, "PROPN" if pos else "B-PER")]
    words += [
        (word, ("VERB", "ADP")[number] if pos else "O") for number, word in enumerate(verb.split())
    ]
    words.append((town, "PROPN" if pos else "B-LOC"))
    for _ in range(rng.randrange(4)):
        words.append(("y", "CCONJ" if pos else "O"))
        words.append((rng.choice(_TOWNS), "PROPN" if pos else "B-LOC"))
    return [*words, (".", "PUNCT" if pos else "O")]


def write_conll(path: Path, n: int, *, seed: int, pos: bool = False) -> None:
    rng = random.Random(seed)
    text = "".join(
        "".join(f"{word} {tag}\n" for word, tag in tagged(rng, pos=pos)) + "\n" for _ in range(n)
    )
    path.write_text(text, encoding="utf-8")


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")


def class_rows(n: int, *, seed: int) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    rows = []
    for number in range(n):
        good = rng.random() < 0.5
        word = rng.choice(_GOOD if good else _BAD)
        more = f" en {rng.choice(_TOWNS)}" * rng.randrange(3)
        text = f"{rng.choice(_THINGS)} es {word}{more} ({number})."
        rows.append({"text": text, "label": "buena" if good else "mala"})
    return rows


def pair_rows(n: int, *, seed: int) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    rows = []
    for number in range(n):
        person, verb, town = _sentence(rng)
        same = rng.random() < 0.5
        other = person if same else rng.choice([one for one in _PEOPLE if one != person])
        first = f"{person} {verb} {town} ({number})."
        rows.append(
            {"text": first, "text_pair": f"{other} {verb} {town}.", "label": "sí" if same else "no"}
        )
    return rows


def squad(n: int, *, seed: int, unanswerable: bool = False) -> dict[str, Any]:
    """Questions on contexts of two sentences; every third one has no answer if asked for."""
    rng = random.Random(seed)
    paragraphs = []
    for number in range(n):
        one, two = rng.sample(_PEOPLE, 2)
        town, other = rng.sample(_TOWNS, 2)
        context = (
            f"{one} vive en {town} desde {1900 + seed % 50}. {two} vive en {other} ({number})."
        )
        missing = unanswerable and number % 3 == 0
        asked = next(name for name in _PEOPLE if name not in (one, two)) if missing else two
        answers = [] if missing else [{"text": other, "answer_start": context.rindex(other)}]
        question: dict[str, Any] = {
            "id": f"{seed}-{number}",
            "question": f"¿Dónde vive {asked}?",
            "answers": answers,
        }
        if unanswerable:
            question["is_impossible"] = missing
        paragraphs.append({"context": context, "qas": [question]})
    return {"version": "tiny", "data": [{"title": "x", "paragraphs": paragraphs}]}


def _write_split(path: Path, kind: str, n: int, *, seed: int, unanswerable: bool) -> dict[str, Any]:
    if kind in ("ner", "pos"):
        write_conll(path, n, seed=seed, pos=kind == "pos")
        scheme = "raw" if kind == "pos" else "auto"
        columns = {"tokens": 0, "tags": 1}
        return {"format": "conll", "path": str(path), "columns": columns, "scheme": scheme}
    if kind == "questions":
        content = squad(n, seed=seed, unanswerable=unanswerable)
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        return {"format": "squad", "path": str(path)}
    rows = class_rows(n, seed=seed) if kind == "classes" else pair_rows(n, seed=seed)
    write_lines(path, rows)
    return {"format": "jsonl", "path": str(path)}


def recipe(
    folder: Path, kind: str = "ner", *, n: int = 40, unanswerable: bool = False, **changes: Any
) -> dict[str, Any]:
    """A whole recipe, as a mapping, with its data files written to a folder.

    Args:
        folder: Where the files go.
        kind: One of ``TASKS``.
        n: Training rows.
        unanswerable: Questions without an answer, too.
        changes: Keys as ``section__key`` (two underscores) and their values.
    """
    folder.mkdir(parents=True, exist_ok=True)
    suffix = {"ner": "txt", "pos": "txt", "questions": "json"}.get(kind, "jsonl")
    sources = {
        split: _write_split(
            folder / f"{split}.{suffix}", kind, rows, seed=seed, unanswerable=unanswerable
        )
        for split, rows, seed in (("train", n, 1), ("validation", 12, 2), ("test", 12, 3))
    }
    task = {"ner": "token-classification", "pos": "token-classification"}.get(
        kind, "question-answering" if kind == "questions" else "text-classification"
    )
    value: dict[str, Any] = {
        "task": task,
        "data": {**sources, "leak_check": "off"},
        "encoding": {"max_length": 64, "doc_stride": 8, "max_question_length": 24},
        "teacher": {
            "config": deepcopy(CONFIG),
            "tokenizer": {"algorithm": "wordpiece", "vocab_size": 200},
            "finetune": {"num_train_epochs": 1},
        },
        "student": {"from": "layers", "layers": 1},
        "objective": [
            {"term": "labels", "weight": 0.5},
            {"term": "kl", "weight": 0.5, "temperature": 2.0},
        ],
        "training": {
            "num_train_epochs": 2,
            "learning_rate": 5e-3,
            "per_device_train_batch_size": 8,
            "logging_steps": 1,
            "threads": 1,
        },
        "evaluation": {"bootstrap_samples": 50, "baseline": False},
        "profile": {"sequence_length": 16, "samples": 5, "warmup": 1},
    }
    if task != "question-answering":
        value["encoding"] = {"max_length": 64}
    for path, change in changes.items():
        *sections, key = path.split("__")
        place = value
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = change
    return value


def write_recipe(folder: Path, kind: str = "ner", **keys: Any) -> Path:
    """The same recipe as a file (JSON is YAML)."""
    path = folder / "recipe.yaml"
    value = recipe(folder / "data", kind, **keys)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
    return path
