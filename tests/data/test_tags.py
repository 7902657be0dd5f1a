import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import BILOU, IOB1, IOB2, IOBES, Entities

from destilo.data.tags import TaggedSentence, convert_scheme, detect_scheme, harmonise
from destilo.data.tally import Tally
from destilo.errors import DataError
from destilo.rows import TaggingRow

Chunks = list[tuple[int, str]]  # length and type; type "" is outside

CHUNKS = st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["", "PER", "LOC"])), max_size=8)


def write(chunks: Chunks, scheme: str) -> list[str]:
    """Write chunks in a scheme, by its definition."""
    tags: list[str] = []
    before = ""
    for length, kind in chunks:
        if not kind:
            tags += ["O"] * length
        elif scheme in ("iob1", "iob2"):
            first = "B" if scheme == "iob2" or before == kind else "I"
            tags += [f"{first}-{kind}"] + [f"I-{kind}"] * (length - 1)
        else:
            single, last = "SE" if scheme == "iobes" else "UL"
            if length == 1:
                tags.append(f"{single}-{kind}")
            else:
                tags += [f"B-{kind}"] + [f"I-{kind}"] * (length - 2) + [f"{last}-{kind}"]
        before = kind
    return tags


@given(CHUNKS)
@pytest.mark.parametrize("scheme", ["iob1", "iob2", "iobes", "bilou"])
def test_every_scheme_gives_the_same_iob2(scheme: str, chunks: Chunks) -> None:
    named = "iobes" if scheme == "bilou" else scheme
    assert list(convert_scheme(write(chunks, scheme), scheme=named)) == write(chunks, "iob2")


@given(CHUNKS)
@pytest.mark.parametrize(("scheme", "peer"), [("iob1", IOB1), ("iobes", IOBES), ("bilou", BILOU)])
def test_chunks_are_those_of_seqeval(scheme: str, peer: type, chunks: Chunks) -> None:
    tags = write(chunks, scheme)
    ours = convert_scheme(tags, scheme="iob1" if scheme == "iob1" else "iobes")
    assert spans(tags, peer) == spans(list(ours), IOB2)


def spans(tags: list[str], scheme: type) -> list[tuple[int, int, str]]:
    if not tags:
        return []
    return [(e.start, e.end, e.tag) for e in Entities([tags], scheme).entities[0]]


@given(st.lists(st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]), min_size=1))
def test_broken_sequences_are_read_as_conlleval_reads_them(tags: list[str]) -> None:
    ours = list(convert_scheme(tags, scheme="iob2"))
    assert get_entities(ours) == get_entities(tags)  # seqeval's lenient mode is conlleval's
    assert all(
        tag[0] != "I" or before[2:] == tag[2:]
        for before, tag in zip(["O", *ours], ours, strict=False)
    )


@given(st.lists(CHUNKS, min_size=1, max_size=4))
@pytest.mark.parametrize("scheme", ["iob1", "iobes", "iob2"])
def test_converted_tags_stay_as_they_are(scheme: str, sentences: list[Chunks]) -> None:
    once = [convert_scheme(write(chunks, scheme), scheme=scheme) for chunks in sentences]
    assert detect_scheme(once) in ("iob2", "raw")
    assert [convert_scheme(tags, scheme="iob2") for tags in once] == once


@pytest.mark.parametrize(
    ("sentences", "scheme"),
    [
        (["B-PER I-PER O", "O B-LOC"], "iob2"),
        (["I-PER I-PER O", "I-LOC B-LOC"], "iob1"),
        (["I-PER O I-LOC"], "iob1"),
        (["B-PER E-PER O"], "iobes"),
        (["U-PER O B-LOC L-LOC"], "iobes"),
        (["NOUN VERB O"], "raw"),
        (["NOUN B-X VERB ADJ"], "raw"),
        (["O O"], "raw"),
        (["B-PER O B-LOC O I-MISC"], "iob2"),
        (["B-PER Z-PER O"], "iob2"),
    ],
)
def test_detection(sentences: list[str], scheme: str) -> None:
    assert detect_scheme([sentence.split() for sentence in sentences]) == scheme


def sentence(tags: str, *, first_line: int) -> TaggedSentence:
    held = tuple(tags.split())
    lines = tuple(range(first_line, first_line + len(held)))
    row = TaggingRow("1", tuple("abcdefgh"[: len(held)]), held, f"a.txt:{first_line}")
    return TaggedSentence(row, lines)


def test_one_sentence_decides_how_all_are_read() -> None:
    both = [sentence("I-PER B-PER", first_line=1), sentence("O I-LOC I-LOC", first_line=4)]
    rows, scheme = harmonise(both, scheme="auto", tally=(tally := Tally()))
    assert scheme == "iob1"
    assert [row.tags for row in rows] == [("B-PER", "B-PER"), ("O", "B-LOC", "I-LOC")]
    assert tally.notes() == ("Tags were read as IOB1 and are kept as IOB2.",)


@pytest.mark.parametrize(
    "tags",
    [
        "b-org o i-per",
        "ORG-B O PER-I",
        "B_ORG O I_PER",
        "b_org i_org b_per",
        "PER.B PER.I",
        "B I O",
    ],
)
def test_an_unusual_spelling_of_chunks_is_said(tags: str) -> None:
    held = [sentence(tags, first_line=1)]
    rows, scheme = harmonise(held, scheme="auto", tally=(tally := Tally()))
    assert (rows[0].tags, scheme) == (tuple(tags.split()), "raw")
    (note,) = tally.notes()
    assert "look like chunk tags" in note
    assert tags.split()[0] in note
    harmonise(held, scheme="raw", tally=(tally := Tally()))
    assert tally.notes() == ()


@pytest.mark.parametrize(
    "tags",
    [
        "NOUN VERB ADJ",
        "NOUN B-X VERB ADJ",
        "N-S V-S A-S O",
        "O O",
        "B C D O",
        "VERB_B NOUN ADP DET",
        "ADJ-B NOUN-F O VERB-F",
        "B-PER I-PER O",
    ],
)
def test_parts_of_speech_and_plain_chunks_need_no_word(tags: str) -> None:
    harmonise([sentence(tags, first_line=1)], scheme="auto", tally=(tally := Tally()))
    assert tally.notes() == ()


def test_repairs_are_counted_with_their_lines() -> None:
    held = [sentence("B-PER O I-LOC B-LOC", first_line=7)]
    rows, _ = harmonise(held, scheme="auto", tally=(tally := Tally()))
    assert rows[0].tags == ("B-PER", "O", "B-LOC", "B-LOC")
    assert "1 (a.txt:9)" in tally.notes()[0]


@pytest.mark.parametrize("bad", ["Z-PER", "B-", "PER", "E-PER"])
def test_impossible_tags_are_refused_with_their_line(bad: str) -> None:
    held = [sentence(f"B-PER I-PER O {bad}", first_line=7)]
    with pytest.raises(DataError, match=rf"a\.txt:10: tag '{bad}' is not possible in IOB2"):
        harmonise(held, scheme="iob2", tally=Tally())


def test_raw_changes_nothing() -> None:
    held = [sentence("I-PER Z-LOC", first_line=1)]
    assert harmonise(held, scheme="raw", tally=Tally()) == ((held[0].row,), "raw")


def test_unknown_schemes_are_refused() -> None:
    with pytest.raises(DataError, match="Unknown tag scheme 'iob3'"):
        convert_scheme(["O"], scheme="iob3")
