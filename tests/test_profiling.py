"""Profiles: counts against formulas worked by hand, measurements for sanity only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import transformers

from destilo.errors import InputError
from destilo.profiling import (
    Macs,
    build_inputs,
    count_embedding_parameters,
    count_macs,
    count_module_macs,
    count_parameters,
    describe_machine,
    max_sequence_length,
    profile_model,
    profile_models,
)

hf: Any = transformers  # its configurations' keyword arguments are not typed

VOCABULARY, HIDDEN, LAYERS, HEADS, FFN, EMBEDDING, LABELS = 60, 32, 3, 4, 48, 16, 5
LENGTH = 10
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": FFN,
    "num_labels": LABELS,
}
CONFIGS = {
    "bert": hf.BertConfig(**SHAPE, max_position_embeddings=40),
    "albert": hf.AlbertConfig(**SHAPE, embedding_size=EMBEDDING, max_position_embeddings=40),
    "distilbert": hf.DistilBertConfig(
        vocab_size=VOCABULARY,
        dim=HIDDEN,
        n_layers=LAYERS,
        n_heads=HEADS,
        hidden_dim=FFN,
        num_labels=LABELS,
        max_position_embeddings=40,
    ),
    "roberta": hf.RobertaConfig(**SHAPE, max_position_embeddings=42, type_vocab_size=1),
    "electra": hf.ElectraConfig(**SHAPE, embedding_size=EMBEDDING, max_position_embeddings=40),
    "modernbert": hf.ModernBertConfig(
        **SHAPE,
        max_position_embeddings=40,
        pad_token_id=0,
        bos_token_id=1,
        cls_token_id=1,
        eos_token_id=2,
        sep_token_id=2,
        local_attention=4,
    ),
}
ARCHITECTURES = sorted(CONFIGS)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def classifier(name: str) -> Any:
    return hf.AutoModelForSequenceClassification.from_config(CONFIGS[name])


def expected_macs(name: str, n: int) -> Macs:
    """Work the products of a sequence classifier out by hand for one row of ``n`` positions.

    A layer multiplies every position with the query, key, value and output matrices (4 h^2) and
    with the two of the feed-forward network (2 h f; ModernBERT's is gated: 3 h f). QK^T and AV
    are n^2 h each, summed over the heads. ALBERT shares its layer but runs it every turn.
    The head looks at one position: a dense layer (h^2) and the classes (h c).
    """
    feed_forward = (3 if name == "modernbert" else 2) * HIDDEN * FFN
    layers = LAYERS * n * (4 * HIDDEN**2 + feed_forward)
    projection = n * EMBEDDING * HIDDEN if name in ("albert", "electra") else 0
    head = HIDDEN**2 + HIDDEN * LABELS
    attention = LAYERS * 2 * n**2 * HIDDEN
    return Macs(total=layers + projection + head + attention, attention=attention)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("length", [LENGTH, 33])
def test_macs_equal_the_formula(name: str, length: int) -> None:
    assert count_macs(classifier(name), length) == expected_macs(name, length)


@pytest.mark.parametrize(
    ("auto", "columns"),
    [
        (hf.AutoModelForTokenClassification, LABELS),
        (hf.AutoModelForQuestionAnswering, 2),  # start and end
    ],
)
def test_macs_of_heads_at_every_position(auto: Any, columns: int) -> None:
    config = hf.BertConfig.from_dict({**CONFIGS["bert"].to_dict(), "num_labels": columns})
    body = expected_macs("bert", LENGTH).total - HIDDEN**2 - HIDDEN * LABELS
    assert count_macs(auto.from_config(config), LENGTH).total == body + LENGTH * HIDDEN * columns


def test_macs_do_not_depend_on_the_attention_implementation() -> None:
    config = CONFIGS["bert"]
    eager = hf.AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
    sdpa = hf.AutoModelForSequenceClassification.from_config(config, attn_implementation="sdpa")
    assert count_macs(eager, LENGTH) == count_macs(sdpa, LENGTH)
    assert sdpa.config._attn_implementation == "sdpa"  # counting left the model alone


def test_macs_where_the_architecture_looks_at_values() -> None:
    config = hf.DebertaV2Config(
        **SHAPE, relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=8
    )
    model = hf.AutoModelForSequenceClassification.from_config(config)
    macs = count_macs(model, LENGTH)
    # Two more products than QK^T and AV: content to position and back, over 2 * 8 buckets.
    assert macs.attention == LAYERS * 2 * LENGTH * HIDDEN * (LENGTH + 16)


def albert(turns: int, *, hidden: int = 768, heads: int = 12) -> Any:
    return hf.AlbertConfig(
        vocab_size=31_000,
        embedding_size=128,
        hidden_size=hidden,
        num_hidden_layers=turns,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
        num_labels=3,
    )


@pytest.mark.parametrize(
    ("config", "published"),
    [
        (hf.BertConfig(vocab_size=31_002, num_labels=3), 43_526_457_600),
        (hf.DistilBertConfig(vocab_size=31_002, num_labels=3), 21_764_311_296),
        (albert(2), 7_305_234_688),
        (albert(4), 14_559_283_456),
        (albert(6), 21_813_332_224),
        (albert(12), 43_575_478_528),
        (albert(4, hidden=312), 2_418_245_608),
    ],
    ids=["bert-base", "distilbert", "base-2", "base-4", "base-6", "base", "tiny"],
)
def test_macs_of_modules_reproduce_published_figures(config: Any, published: int) -> None:
    """Of three classes at 512 positions, to the digit; the true count has no norms, but QK^T."""
    with torch.device("meta"):
        model = hf.AutoModelForSequenceClassification.from_config(config)
    assert count_module_macs(model, 512) == published
    macs = count_macs(model, 512)
    turns = config.num_hidden_layers
    width = getattr(config, "embedding_size", None) or config.hidden_size
    normalised = 512 * (width + 2 * turns * config.hidden_size)
    assert macs.total - macs.attention + 4 * normalised == published


def test_shared_weights_count_once() -> None:
    tied = hf.AutoModelForMaskedLM.from_config(CONFIGS["bert"])
    assert tied.cls.predictions.decoder.weight is tied.bert.embeddings.word_embeddings.weight
    distinct = {id(parameter): parameter.numel() for parameter in tied.parameters()}
    assert count_parameters(tied) == sum(distinct.values())
    # Words, 40 positions, 2 segments; the tied output layer is no further table.
    assert count_embedding_parameters(tied) == (VOCABULARY + 40 + 2) * HIDDEN
    more_turns = hf.AlbertConfig.from_dict({**CONFIGS["albert"].to_dict(), "num_hidden_layers": 9})
    assert count_parameters(hf.AutoModel.from_config(more_turns)) == count_parameters(
        hf.AutoModel.from_config(CONFIGS["albert"])
    )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_inputs_follow_the_configuration(name: str) -> None:
    model = classifier(name)
    inputs = build_inputs(model, 4, 40)
    assert ("token_type_ids" in inputs) == (name in ("bert", "albert", "electra"))
    assert all(value.shape == (4, 40) for value in inputs.values())
    assert inputs["attention_mask"].all()
    assert inputs["input_ids"].min() >= 0
    assert inputs["input_ids"].max() < VOCABULARY
    pad = model.config.pad_token_id
    assert pad is None or not (inputs["input_ids"] == pad).any()
    assert torch.equal(inputs["input_ids"], build_inputs(model, 4, 40)["input_ids"])
    assert model(**inputs).logits.shape == (4, LABELS)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_positions_end_where_the_model_ends(name: str) -> None:
    model = classifier(name)
    assert max_sequence_length(model) == 40  # RoBERTa: 42 of which two are reserved
    with pytest.raises(InputError, match=r"sequence_length is 41.*only 40.*to 40 or less"):
        profile_model(model, name="student", batch_size=1, sequence_length=41, threads=1)


def test_a_profile_is_sane() -> None:
    model = classifier("bert")
    result = profile_model(
        model, name="student", batch_size=2, sequence_length=LENGTH, threads=1, samples=5, warmup=1
    )
    assert result.model == "student"
    assert (result.n_samples, result.n_warmup, result.threads) == (5, 1, 1)
    assert 0 < result.latency_p50_ms <= result.latency_p95_ms
    assert result.latency_mean_ms > 0
    assert result.throughput_per_s == pytest.approx(2000 / result.latency_p50_ms)
    assert result.macs == expected_macs("bert", LENGTH).total  # one row, whatever the batch
    assert result.size_mb == pytest.approx(result.parameters * 4 / 1e6)
    assert result.peak_memory_mb > result.size_mb
    assert result.macs_of_modules == count_module_macs(model, LENGTH)
    assert (result.protocol, result.n_kept) == ("destilo", None)
    assert type(result).model_validate_json(result.model_dump_json()) == result


def test_profiling_leaves_models_and_threads_as_they_were() -> None:
    model = classifier("albert").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.set_num_threads(2)
    profile_model(model, name="x", batch_size=1, sequence_length=4, threads=1, samples=1, warmup=0)
    assert torch.get_num_threads() == 2
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_models_take_turns() -> None:
    models = {"teacher": classifier("bert"), "student": classifier("albert")}
    order: list[str] = []
    for name, model in models.items():
        model.register_forward_pre_hook(lambda *_, name=name: order.append(name))
    results = profile_models(
        models,
        batch_size=1,
        sequence_length=LENGTH,
        threads=1,
        samples=3,
        warmup=1,
        sizes_mb={"teacher": 7.5},
    )
    assert order == ["teacher", "student"] * 4
    assert [result.model for result in results] == ["teacher", "student"]
    assert results[0].size_mb == 7.5
    assert results[1].size_mb == pytest.approx(results[1].parameters * 4 / 1e6)


def test_the_papers_protocol_stands_beside_our_percentiles() -> None:
    result = profile_models(
        {"student": classifier("bert")},
        batch_size=1,
        sequence_length=LENGTH,
        threads=1,
        samples=9,
        warmup=0,
        protocol="speedy-gonzales",
    )[0]
    assert result.n_samples == 9  # p50 and p95 are of all of them
    assert result.n_kept is not None
    assert result.paper_inferences_per_s is not None
    assert 5 <= result.n_kept <= 9
    assert result.paper_inferences_per_s > 0


def test_numbers_below_one_are_refused() -> None:
    with pytest.raises(InputError, match=r"profile\.samples is 0"):
        profile_model(
            classifier("bert"), name="x", batch_size=1, sequence_length=4, threads=1, samples=0
        )


def test_the_machine_is_described() -> None:
    machine = describe_machine(device="cpu", threads=3)
    assert machine.threads == 3
    assert machine.device == "cpu"
    assert machine.cpu_count >= 1
    assert machine.processor
    assert machine.platform
    assert machine.torch == torch.__version__


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_profile_is_sane() -> None:
    model = classifier("bert")
    result = profile_model(
        model, name="x", batch_size=2, sequence_length=8, threads=1, samples=3, device="cuda"
    )
    assert result.peak_memory_mb >= result.size_mb
    assert next(model.parameters()).device.type == "cpu"
    assert "cuda (" in result.machine.device
