from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from destilo.errors import RecipeError
from destilo.tasks.windows import cut_windows, longest_first, room_for
from tests.factories import raw_tokenizer


@given(words=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=60), data=st.data())
def test_windows_cover_all_words_and_fit_in_each_tokenizer(
    words: list[tuple[int, int]], data: st.DataObject
) -> None:
    rooms = [data.draw(st.integers(1, 20)), data.draw(st.integers(1, 20))]
    overlap = data.draw(st.integers(0, 30))
    sizes = np.array(words, dtype=np.int64).reshape(-1, 2)
    ends = [np.concatenate([[0], np.cumsum(sizes[:, side])]) for side in (0, 1)]
    windows = list(cut_windows(ends, rooms=rooms, overlap=overlap))
    covered = {word for start, stop in windows for word in range(start, stop)}
    assert covered == set(range(len(words)))
    for start, stop in windows:
        fits = all(end[stop] - end[start] <= room for end, room in zip(ends, rooms, strict=True))
        assert fits or stop == start + 1
    for (start, stop), (following, end) in pairwise(windows):
        assert start < following <= stop < end
        longest = int(np.argmax([end[-1] for end in ends]))
        shared = ends[longest][stop] - ends[longest][following]
        assert shared <= min(overlap, rooms[longest] // 2)
    if not overlap:
        assert [stop for _, stop in windows[:-1]] == [start for start, _ in windows[1:]]


def test_an_overlap_is_as_long_as_words_allow() -> None:
    ends = [np.arange(0, 101)]
    assert list(cut_windows(ends, rooms=[40], overlap=10)) == [(0, 40), (30, 70), (60, 100)]
    assert list(cut_windows(ends, rooms=[40], overlap=99)) == [
        (0, 40),
        (20, 60),
        (40, 80),
        (60, 100),
    ]


@given(first=st.integers(0, 40), second=st.integers(0, 40), room=st.integers(1, 50))
def test_pairs_are_cut_as_the_tokenizers_library_cuts_them(
    first: int, second: int, room: int
) -> None:
    raw = Tokenizer.from_str(raw_tokenizer("wordpiece").to_str())
    raw.enable_truncation(room + 3, strategy="longest_first")
    encoded = raw.encode(" ".join(["a"] * first), " ".join(["a"] * second))
    kept = [encoded.sequence_ids.count(side) for side in (0, 1)]
    assert list(longest_first(first, second, room=room)) == kept


def test_no_room_is_refused() -> None:
    assert room_for(max_length=10, n_special=3, taken=6) == 1
    with pytest.raises(RecipeError, match=r"encoding\.max_length is 10"):
        room_for(max_length=10, n_special=3, taken=7)
