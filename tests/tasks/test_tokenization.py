import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers, processors

from destilo.errors import ModelError
from destilo.tasks import TextTokenizer
from tests.factories import KINDS, SENTENCES, Kind, raw_tokenizer, text_tokenizer

every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
def test_one_text_and_pairs_are_laid_out_as_by_the_post_processor(kind: Kind) -> None:
    raw, tokenizer = raw_tokenizer(kind), text_tokenizer(kind)
    first, second = tokenizer.pieces(SENTENCES[:2])
    one, two = tokenizer.join(first), tokenizer.join(first, second)
    assert one.input_ids.tolist() == raw.encode(SENTENCES[0]).ids
    expected = raw.encode(SENTENCES[0], SENTENCES[1])
    assert two.input_ids.tolist() == expected.ids
    assert two.input_ids[two.first : two.first + len(first)].tolist() == first.tolist()
    assert two.input_ids[two.second : two.second + len(second)].tolist() == second.tolist()
    if kind == "byte-level-bpe":
        assert two.token_type_ids is None
        assert tokenizer.pair_layout == "roberta"
    else:
        assert two.token_type_ids is not None
        assert two.token_type_ids.tolist() == expected.type_ids
        assert tokenizer.pair_layout == "bert"


def test_layouts_of_all_post_processors() -> None:
    raw = Tokenizer.from_str(raw_tokenizer("wordpiece").to_str())
    raw.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    bert = TextTokenizer.from_tokenizer(raw, uses_token_type_ids=True)
    assert bert.pair.parts == ((2,), (3,), (3,))
    assert (bert.cls_id, bert.sep_id, bert.pad_id) == (2, 3, 3)
    assert bert.pair.text_types == (0, 1)
    raw.post_processor = processors.RobertaProcessing(("[SEP]", 3), ("[CLS]", 2))
    assert TextTokenizer.from_tokenizer(raw).pair.parts == ((2,), (3, 3), (3,))


def test_without_a_post_processor_cls_and_sep_make_the_layout() -> None:
    raw = Tokenizer.from_str(raw_tokenizer("byte-level-bpe").to_str())
    raw.post_processor = processors.ByteLevel()
    bert = TextTokenizer.from_tokenizer(raw, cls="<s>", sep="</s>")
    roberta = TextTokenizer.from_tokenizer(raw, cls="<s>", sep="</s>", pair_layout="roberta")
    assert bert.pair.parts == ((0,), (2,), (2,))
    assert roberta.pair.parts == ((0,), (2, 2), (2,))
    with pytest.raises(ModelError, match="cls_token"):
        TextTokenizer.from_tokenizer(raw)
    with pytest.raises(ModelError, match="not in the tokenizer's vocabulary"):
        TextTokenizer.from_tokenizer(raw, cls="[CLS]", sep="</s>")


@every_kind
def test_truncation_and_padding_of_the_file_are_switched_off(kind: Kind) -> None:
    raw = Tokenizer.from_str(raw_tokenizer(kind).to_str())
    raw.enable_truncation(4)
    raw.enable_padding(length=4)
    tokenizer = TextTokenizer.from_tokenizer(raw)
    assert len(tokenizer.pieces([SENTENCES[0]])[0]) > 4
    assert raw.truncation is not None
    raw.no_truncation()
    raw.no_padding()
    assert TextTokenizer.from_tokenizer(raw).digest == tokenizer.digest


def test_digest_tells_tokenizers_and_flags_apart() -> None:
    digests = {text_tokenizer(kind).digest for kind in KINDS}
    raw = raw_tokenizer("wordpiece")
    plain = TextTokenizer.from_tokenizer(raw)
    segments = TextTokenizer.from_tokenizer(raw, uses_token_type_ids=True)
    digests |= {plain.digest, segments.digest}
    assert len(digests) == len(KINDS) + 2
    assert plain == TextTokenizer.from_tokenizer(raw)
    assert hash(plain) == hash(TextTokenizer.from_tokenizer(raw))
    assert plain != segments


def test_byte_level_words_read_as_in_mid_sentence() -> None:
    for prefix in (True, False):
        raw = Tokenizer.from_str(raw_tokenizer("byte-level-bpe").to_str())
        raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
        tokenizer = TextTokenizer.from_tokenizer(raw)
        assert tokenizer.adds_prefix_space is not prefix
        sentence = " ".join(["y", *SENTENCES[0].split()])
        alone = [piece for word in tokenizer.words(sentence.split()[1:]) for piece in word]
        first = raw.encode("y", add_special_tokens=False).ids
        whole = raw.encode(sentence, add_special_tokens=False).ids
        assert whole == first + alone


@every_kind
def test_words_without_content_have_no_piece(kind: Kind) -> None:
    tokenizer = text_tokenizer(kind)
    words = tokenizer.words(["", " ", "\t\n", "casa", "casa"])
    assert words[:3] == [[], [], []]
    assert words[3]
    assert words[4] == words[3]


def test_a_zero_width_word_has_no_wordpiece() -> None:
    assert text_tokenizer("wordpiece").words(["\u200b", "\x07", "río"])[:2] == [[], []]


@every_kind
def test_lone_surrogates_are_read_as_the_replacement_character(kind: Kind) -> None:
    tokenizer = text_tokenizer(kind)
    broken, mended = "el \ud800 río \udfff", "el \ufffd río \ufffd"
    assert tokenizer.words([broken]) == tokenizer.words([mended])
    for (ids, offsets), (other, spans) in zip(
        tokenizer.text([broken]), tokenizer.text([mended]), strict=True
    ):
        assert np.array_equal(ids, other)
        assert np.array_equal(offsets, spans)


@every_kind
@settings(max_examples=40, deadline=None)
@given(texts=st.lists(st.text(max_size=60), max_size=4))
def test_offsets_are_code_points_of_the_original_text(kind: Kind, texts: list[str]) -> None:
    tokenizer = text_tokenizer(kind)
    pieces = tokenizer.pieces(texts)
    for text, (ids, offsets), own in zip(texts, tokenizer.text(texts), pieces, strict=True):
        assert np.array_equal(ids, own)
        assert offsets.shape == (len(ids), 2)
        assert ((offsets >= 0) & (offsets <= len(text))).all()
        assert (offsets[:, 0] <= offsets[:, 1]).all()


def _folder(path: Path, kind: Kind, **files: object) -> Path:
    raw_tokenizer(kind).save(str(path / "tokenizer.json"))
    for name, content in files.items():
        (path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("config", "settings", "expected"),
    [
        ({"type_vocab_size": 2}, {}, True),
        ({"type_vocab_size": 1}, {}, False),
        ({"model_type": "distilbert"}, {"model_input_names": ["token_type_ids"]}, False),
        (None, {"model_input_names": ["input_ids", "token_type_ids"]}, True),
        (None, {}, False),
    ],
)
def test_segments_follow_the_folder(
    tmp_path: Path, config: object, settings: dict[str, object], expected: bool
) -> None:
    files: dict[str, object] = {"tokenizer_config": {"pad_token": "[PAD]", **settings}}
    if config is not None:
        files["config"] = config
    folder = _folder(tmp_path, "wordpiece", **files)
    assert TextTokenizer.from_folder(folder).uses_token_type_ids is expected
    assert TextTokenizer.from_folder(folder, uses_token_type_ids=True).uses_token_type_ids


def test_special_tokens_are_found_in_each_file(tmp_path: Path) -> None:
    folder = _folder(
        tmp_path,
        "byte-level-bpe",
        tokenizer_config={"pad_token": {"content": "<pad>", "lstrip": False}},
        special_tokens_map={"bos_token": "<s>", "eos_token": "</s>", "mask_token": "<mask>"},
    )
    tokenizer = TextTokenizer.from_folder(folder)
    ids = (tokenizer.cls_id, tokenizer.pad_id, tokenizer.sep_id, tokenizer.mask_id)
    assert ids == (0, 1, 2, 4)
    assert tokenizer.unk_id is None


def test_a_folder_without_a_tokenizer_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="save_pretrained"):
        TextTokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be read"):
        TextTokenizer.from_folder(tmp_path)
    _folder(tmp_path, "wordpiece")
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match=r"config\.json is not valid JSON"):
        TextTokenizer.from_folder(tmp_path)
