"""Model folders: what loads, what is refused and how it is said, and whole or nothing on disk."""

import json
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from destilo.errors import ModelError
from destilo.models.folder import (
    AUTO_CLASSES,
    load_config,
    load_model,
    load_tokenizer,
    read_settings,
    save_model,
    text_tokenizer,
)
from destilo.models.student import fewer_layers
from destilo.models.vocabulary import train_tokenizer
from destilo.tasks import TextTokenizer
from tests.encoders import (
    ARCHITECTURE_NAMES,
    LABELS,
    TASKS,
    heads_of,
    labels_of,
    same_heads,
    some_inputs,
    tiny_model,
)
from tests.factories import SENTENCES

NER = "token-classification"


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_tokenizer(SENTENCES, algorithm="wordpiece", vocab_size=150)


@pytest.fixture(scope="module")
def ner(tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tagger on disk, with its labels O, B-LOC, B-PER."""
    folder = tmp_path_factory.mktemp("models") / "ner"
    save_model(
        folder, model=tiny_model(vocab_size=len(tokenizer)), tokenizer=tokenizer, settings={}
    )
    return folder


@pytest.fixture
def copy(ner: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ner, tmp_path / "copy"))


def labels_of_head(model: PreTrainedModel) -> list[str]:
    return [str(label) for label in (model.config.id2label or {}).values()]


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# -- labels --------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["text-classification", NER])
@pytest.mark.parametrize("model_type", ARCHITECTURE_NAMES)
def test_other_label_order_permutes_the_logits(
    model_type: str, task: str, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    model = tiny_model(model_type, task, vocab_size=len(tokenizer))
    save_model(tmp_path / "m", model=model, tokenizer=tokenizer, settings={})
    order = ("B-PER", "O", "B-LOC")
    loaded = load_model(str(tmp_path / "m"), task, labels=order).model
    (before,), (after,) = heads_of(model, some_inputs()), heads_of(loaded, some_inputs())
    assert torch.equal(after, before[..., [LABELS.index(label) for label in order]])
    assert labels_of_head(loaded) == list(order)
    assert loaded.config.label2id == {label: number for number, label in enumerate(order)}


def test_the_right_layer_is_permuted_where_others_have_as_many_outputs(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    """As many labels as the hidden size (16) and as the first layer of the head."""
    labels = tuple(f"T{number:02d}" for number in range(16))
    for model_type in ("roberta", "electra", "distilbert", "modernbert", "deberta-v2", "bert"):
        model = tiny_model(
            model_type, "text-classification", vocab_size=len(tokenizer), labels=labels
        )
        folder = tmp_path / model_type
        save_model(folder, model=model, tokenizer=tokenizer, settings={})
        loaded = load_model(str(folder), "text-classification", labels=labels[::-1]).model
        (before,), (after,) = heads_of(model, some_inputs()), heads_of(loaded, some_inputs())
        assert torch.equal(after, before.flip(-1))


def test_other_labels_are_refused_and_both_sides_listed(ner: Path) -> None:
    with pytest.raises(ModelError) as caught:
        load_model(str(ner), NER, labels=("O", "B-LOC", "B-ORG"))
    message = str(caught.value)
    assert "unknown to the model: B-ORG" in message
    assert "not in the data: B-PER" in message
    assert "finetune" in message


def test_more_labels_than_the_head_has_are_refused(ner: Path) -> None:
    with pytest.raises(ModelError, match="unknown to the model: B-ORG"):
        load_model(str(ner), NER, labels=(*LABELS, "B-ORG"))


def test_labels_without_names_are_refused_with_a_hint(copy: Path) -> None:
    change_config(copy, id2label={str(n): f"LABEL_{n}" for n in range(3)})
    with pytest.raises(ModelError, match=r"no names.*id2label"):
        load_model(str(copy), NER, labels=LABELS)


# -- heads ---------------------------------------------------------------------------------


def test_a_model_without_a_trained_head_is_no_teacher(ner: Path) -> None:
    with pytest.raises(ModelError, match=r"no trained head for question-answering.*finetune"):
        load_model(str(ner), "question-answering")


def test_an_encoder_with_the_right_label_names_is_still_no_teacher(
    copy: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    encoder: Any = tiny_model(vocab_size=len(tokenizer)).base_model
    encoder.save_pretrained(copy)
    change_config(copy, id2label=dict(enumerate(LABELS)))
    with pytest.raises(ModelError, match="no trained head"):
        load_model(str(copy), NER, labels=LABELS)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("labels", [("a", "b", "c"), ("a", "b")])
def test_a_new_head_is_new_whatever_the_encoder_did_before(
    ner: Path, task: str, labels: tuple[str, ...]
) -> None:
    wanted = () if task == "question-answering" else labels
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        runs.append(load_model(str(ner), task, labels=wanted, new_head=True).model)
    one, again, other = runs
    assert same_heads(one, again, some_inputs())
    assert not same_heads(one, other, some_inputs(), atol=1e-6)
    # The encoder is the one on disk.
    old = AutoModelForTokenClassification.from_pretrained(ner).base_model.state_dict()
    new = one.base_model.state_dict()
    assert all(torch.equal(value, new[name]) for name, value in old.items())
    if wanted:
        assert labels_of_head(one) == list(wanted)
        assert heads_of(one, some_inputs())[0].shape[-1] == len(wanted)


def test_classes_exclude_each_other_whatever_the_encoder_did_before(copy: Path) -> None:
    change_config(copy, problem_type="multi_label_classification")
    for new_head in (False, True):
        model = load_model(str(copy), NER, labels=LABELS, new_head=new_head).model
        assert model.config.problem_type is None


def test_a_head_for_exactly_these_labels_is_kept(ner: Path) -> None:
    order = LABELS[::-1]
    fresh = load_model(str(ner), NER, labels=order, new_head=True).model
    trained = load_model(str(ner), NER, labels=order).model
    assert same_heads(fresh, trained, some_inputs())


def test_the_first_layers_of_a_checkpoint(ner: Path) -> None:
    changes = fewer_layers(load_config(str(ner)), 2)
    short = load_model(str(ner), NER, labels=LABELS, config_changes=changes).model
    assert short.config.num_hidden_layers == 2
    hidden = AutoModelForTokenClassification.from_pretrained(ner)(
        **some_inputs(), output_hidden_states=True
    ).hidden_states
    after_two = short(**some_inputs(), output_hidden_states=True).hidden_states[-1]
    assert torch.allclose(hidden[2], after_two, atol=1e-6)


# -- damage --------------------------------------------------------------------------------


def _unlink(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: void((folder / name).write_bytes(content))


def void(_: object) -> None: ...


def _truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "no tokenizer": (_unlink("tokenizer.json"), "holds no tokenizer"),
    "tokenizer cut off": (_write("tokenizer.json", b'{"version'), r"tokenizer\.json is damaged"),
    "tokenizer settings cut off": (
        _write("tokenizer_config.json", b'{"a'),
        r"tokenizer_config\.json is damaged",
    ),
    "tokenizer of something else": (_write("tokenizer.json", b'{"a": 1}'), "cannot be loaded"),
    "no weights": (_unlink("model.safetensors"), "no file named model.safetensors"),
    "random bytes": (_write("model.safetensors", b"\x17" * 500), "damaged"),
    "weights cut off": (_truncate, "damaged.*fetch that model again"),
    "empty weights": (_write("model.safetensors", b""), "damaged"),
    "no configuration": (_unlink("config.json"), "model_type"),
    "configuration cut off": (_write("config.json", b"{"), "not a valid JSON"),
    "configuration is a list": (_write("config.json", b"[]"), "model_type"),
    "unknown architecture": (lambda f: change_config(f, model_type="bertt"), "bertt"),
    "a decoder": (lambda f: change_config(f, model_type="gpt2"), "Unknown architecture 'gpt2'"),
    "wrong type": (lambda f: change_config(f, hidden_size="big"), "hidden_size.*big"),
    "other width": (lambda f: change_config(f, hidden_size=32), "do not fit its config.json"),
    "more layers": (lambda f: change_config(f, num_hidden_layers=5), r"layer\.4.*14 more"),
    "fewer pieces": (lambda f: change_config(f, vocab_size=90), "do not fit its config.json"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("new_head", [False, True])
def test_a_damaged_folder_is_refused_in_one_message(
    copy: Path, damage: str, new_head: bool
) -> None:
    harm, message = DAMAGE[damage]
    for name in ("tokenizer_config.json",) if damage == "no tokenizer" else ():
        (copy / name).unlink()
    harm(copy)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(str(copy), NER, labels=LABELS, new_head=new_head)
    assert "\n" not in str(caught.value)
    assert str(copy) in str(caught.value) or damage == "a decoder"


@pytest.mark.parametrize("source", ["/nowhere/at/all", "someone/some-model", "no such model"])
@pytest.mark.parametrize("load", [load_config, load_tokenizer])
def test_what_is_neither_a_folder_nor_reachable_is_said_at_once(
    source: str, load: Callable[[str], Any]
) -> None:
    start = time.monotonic()
    with pytest.raises(ModelError, match=r"neither a folder here nor .*local folder"):
        load(source)
    assert time.monotonic() - start < 10


def test_a_tokenizer_with_more_pieces_than_the_model_is_refused(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    save_model(tmp_path / "m", model=tiny_model(vocab_size=60), tokenizer=tokenizer, settings={})
    with pytest.raises(ModelError, match="embeddings for 60 pieces only"):
        load_model(str(tmp_path / "m"), NER, labels=LABELS)


def test_more_embeddings_than_pieces_are_fine(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    model = tiny_model(vocab_size=len(tokenizer) + 8)
    save_model(tmp_path / "m", model=model, tokenizer=tokenizer, settings={})
    loaded = load_model(str(tmp_path / "m"), NER, labels=LABELS)
    assert same_heads(model, loaded.model, some_inputs())


# -- saving --------------------------------------------------------------------------------


def test_what_is_saved_is_what_loads(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    settings = {"task": NER, "labels": ["O", "B-ñ"]}
    model = tiny_model(vocab_size=len(tokenizer))
    save_model(tmp_path / "a" / "m", model=model, tokenizer=tokenizer, settings=settings)
    assert read_settings(tmp_path / "a" / "m") == settings
    loaded = load_model(str(tmp_path / "a" / "m"), NER, labels=LABELS)
    assert same_heads(model, loaded.model, some_inputs())
    assert loaded.text == text_tokenizer(tokenizer, model.config)
    assert loaded.text == TextTokenizer.from_folder(tmp_path / "a" / "m")


def test_a_save_that_fails_half_way_leaves_the_old_model(
    ner: Path, copy: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    other = tiny_model(vocab_size=len(tokenizer), seed=9)
    with pytest.raises(TypeError):  # the settings come last: weights and tokenizer are written
        save_model(copy, model=other, tokenizer=tokenizer, settings={"no": object()})
    assert sorted(path.name for path in copy.parent.iterdir()) == [copy.name]
    for path in ner.iterdir():
        assert (copy / path.name).read_bytes() == path.read_bytes()


def test_a_full_disk_is_an_os_error_and_leaves_the_old_model(
    ner: Path, copy: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    """The weights' own library says it with an exception of its own."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        with pytest.raises(OSError, match=r"cannot be written|File too large"):
            save_model(
                copy, model=tiny_model(vocab_size=len(tokenizer)), tokenizer=tokenizer, settings={}
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(path.name for path in copy.parent.iterdir()) == [copy.name]
    assert (copy / "model.safetensors").read_bytes() == (ner / "model.safetensors").read_bytes()


def test_a_first_save_that_fails_leaves_nothing(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    model = tiny_model(vocab_size=len(tokenizer))
    with pytest.raises(TypeError):
        save_model(tmp_path / "m", model=model, tokenizer=tokenizer, settings={"no": object()})
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_save_left_behind_is_swept_away(
    copy: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    for name in (".copy.partial", ".copy.old"):
        (copy.parent / name).mkdir()
        (copy.parent / name / "model.safetensors").write_bytes(b"half")
    model = tiny_model(vocab_size=len(tokenizer), seed=9)
    save_model(copy, model=model, tokenizer=tokenizer, settings={})
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]
    assert same_heads(model, load_model(str(copy), NER, labels=LABELS).model, some_inputs())


def test_settings_are_only_in_folders_that_destilo_wrote(copy: Path) -> None:
    (copy / "destilo.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        read_settings(copy)
    for content in ("{}", "[]", '{"task": "ner"}', '{"task": "text-classification", "labels": 3}'):
        (copy / "destilo.json").write_text(content)
        with pytest.raises(ModelError, match=r"destilo\.json is damaged: .*type the run's command"):
            read_settings(copy)
    (copy / "destilo.json").unlink()
    with pytest.raises(ModelError, match=r"holds no destilo\.json"):
        read_settings(copy)


# -- segments ------------------------------------------------------------------------------


@pytest.mark.parametrize("model_type", ARCHITECTURE_NAMES)
@pytest.mark.parametrize("task", TASKS)
def test_a_saved_tokenizer_gives_what_its_model_takes(
    model_type: str, task: str, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    """One tokenizer saved beside any model: plain transformers and destilo feed it alike."""
    model = tiny_model(model_type, task, vocab_size=len(tokenizer), pad_id=0)
    save_model(tmp_path / "m", model=model, tokenizer=tokenizer, settings={})
    texts = ("La niña plantó", "un olivo")
    segments = model_type in ("bert", "electra", "albert")
    loaded = load_model(str(tmp_path / "m"), task, labels=labels_of(task))
    assert loaded.text.uses_token_type_ids is segments
    plain = AutoTokenizer.from_pretrained(tmp_path / "m")
    inputs = plain(*texts, return_tensors="pt")
    assert ("token_type_ids" in inputs) is segments
    heads_of(AUTO_CLASSES[task].from_pretrained(tmp_path / "m"), inputs)
    joined = loaded.text.join(*loaded.text.pieces(texts))
    assert joined.input_ids.tolist() == inputs["input_ids"][0].tolist()
    if joined.token_type_ids is not None:
        assert joined.token_type_ids.tolist() == inputs["token_type_ids"][0].tolist()
