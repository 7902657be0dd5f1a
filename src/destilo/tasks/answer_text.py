"""When two answers are the same: normalisation by language, and SQuAD's English rule."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

ARTICLES = {
    "es": ("el", "la", "los", "las", "un", "una", "unos", "unas"),
    "en": ("a", "an", "the"),
    "pt": ("o", "a", "os", "as", "um", "uma", "uns", "umas"),
    "fr": ("le", "la", "les", "un", "une", "des"),
    "it": ("il", "lo", "la", "i", "gli", "le", "un", "uno", "una"),
    "de": (
        *("der", "die", "das", "den", "dem", "des"),
        *("ein", "eine", "einen", "einem", "einer", "eines"),
    ),
    "ca": ("el", "la", "els", "les", "lo", "los", "un", "una", "uns", "unes", "en", "na"),
    "tl": ("ang", "si", "sina", "mga"),
}
"""Words that do not count, by ISO 639-1 code; other languages lose punctuation only.

Spanish is MLQA's list: the neuter ``lo`` is as often a pronoun, and the contractions ``al`` and
``del`` hold a preposition, so all three stay.
"""

_ELIDED = {"fr": ("l", "un"), "it": ("l", "un"), "ca": ("l", "n")}
"""Articles that lose a vowel before an apostrophe."""

_ENGLISH_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalize(text: str, language: str) -> str:
    """Reduce an answer to what makes it right, by the rules of its language.

    NFC, lower case, no punctuation (Unicode's P categories, so ¿ ¡ « » “ ” too, and ASCII's), no
    format characters (zero-width space), no articles, single spaces. An answer of which nothing
    would be left, such as «Las», keeps its articles, or even its punctuation.

    Reference:
        Lewis et al., MLQA (2020), section 5.1.
    """
    folded = unicodedata.normalize("NFC", text).lower()
    whole = "".join(" " if char.isspace() else char for char in folded)
    elided = _ELIDED.get(language)
    bare = re.sub(rf"\b({'|'.join(elided)})['’](?=\w)", "", whole) if elided else whole
    words = _strip_punctuation(bare).split()
    articles = ARTICLES.get(language, ())
    kept = [word for word in words if word not in articles]
    return " ".join(kept or words or whole.split())


def normalize_squad(text: str) -> str:
    """SQuAD's own rule for English: lower case, no ASCII punctuation, no a, an and the.

    Reference:
        Rajpurkar et al. (2016), the official ``evaluate-v2.0.py``.
    """
    bare = "".join(char for char in text.lower() if char not in string.punctuation)
    return " ".join(_ENGLISH_ARTICLES.sub(" ", bare).split())


def best_match(
    gold: Sequence[str], predicted: str, *, normalize: Callable[[str], str]
) -> tuple[float, float]:
    """F1 over words and exact match, each the best over several gold answers.

    Without a gold answer (none at all, or none of which normalising leaves anything) both are
    1 for a prediction that is empty after normalising too, and 0 otherwise.

    Returns:
        F1 and exact match, from 0 to 1.
    """
    guess = normalize(predicted)
    answers = [answer for answer in map(normalize, gold) if answer] or [""]
    return max(_f1(answer, guess) for answer in answers), float(guess in answers)


def _f1(gold: str, predicted: str) -> float:
    true, guess = gold.split(), predicted.split()
    if not true or not guess:
        return float(true == guess)
    shared = (Counter(true) & Counter(guess)).total()
    return 2 * shared / (len(true) + len(guess))


def _strip_punctuation(text: str) -> str:
    return "".join(char for char in text if not _drops(char))


@lru_cache(maxsize=4096)
def _drops(char: str) -> bool:
    return (
        char in string.punctuation
        or unicodedata.category(char)[0] == "P"
        or (unicodedata.category(char) == "Cf")
    )
