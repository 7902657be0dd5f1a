"""An encyclopaedia of invented towns, people and firms in Spanish, with questions.

It serves to try everything without a download: the data are small, free of any licence, and
made so that the answer has to be found by matching question and text. Every article states
facts about its subject and about a second subject of the same sort, in random order; a question
is asked only where at least two values in the text could answer it by their kind (two years, two
people, two places), so that neither the kind of the answer nor its place gives it away.

All of it follows from ``(seed, split, article number)``: a smaller set is the beginning of a
bigger one, and no split shares the name of any town, person, firm, river, region, prize or book
with another (see ``synthetic_names``).
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from destilo.data.synthetic_facts import TOPICS
from destilo.data.synthetic_names import SPLIT_SHARES, Gender, Kind, Name, draw_name
from destilo.data.synthetic_topics import Sentence, Topic, Value, render
from destilo.data.synthetic_values import FIRST_YEARS, FORMS, Draw
from destilo.errors import DataError, suggest
from destilo.rows import Answer, QuestionRow

SIZES: dict[str, int] = {"train": 3000, "validation": 500, "test": 1000, "unlabelled": 3000}
"""Questions per split unless asked otherwise."""


@dataclass(frozen=True, slots=True)
class Difficulty:
    """What makes the set easy or hard.

    Attributes:
        facts: Facts about the article's subject. More facts make longer texts.
        other_facts: Facts about the second subject.
        shared_relations: How many of those the subject has too (both founders, say). Only
            these make a model compare names; the others are told apart by their verb.
        paraphrases: How many wordings of a sentence or question are in use, plain ones first.
            With one wording, question and sentence share their verb.
        nouns: How often a subject goes by its common noun: "la villa" in the text once it has
            been named, "la villa de Bordilera" in a question; else by its name alone. The two
            subjects of an article have different nouns, and words that occur everywhere are
            matched long before names that were never seen.
        ellipsis: Chance to leave the subject out right after a sentence about it.
        questions: Questions asked of each article. Several questions on one text
            teach a model to read the question.
    """

    facts: int = 4
    other_facts: int = 3
    shared_relations: int = 0
    paraphrases: int = 1
    nouns: float = 1.0
    ellipsis: float = 0.2
    questions: int = 3


DIFFICULTY = Difficulty()


DEFAULT_SEED = 7


def synthetic_rows(
    split: str,
    *,
    seed: int = DEFAULT_SEED,
    size: int | None = None,
    unanswerable: float = 0.0,
    difficulty: Difficulty = DIFFICULTY,
) -> tuple[QuestionRow, ...]:
    """Make the first ``size`` questions of a split.

    Args:
        split: ``train``, ``validation``, ``test`` or ``unlabelled`` (``answers`` is ``None``).
        seed: Another seed gives other articles; names stay within their split.
        size: Number of questions; ``SIZES[split]`` by default.
        unanswerable: Share of questions whose answer the text does not give.
        difficulty: What makes the set easy or hard.

    Raises:
        DataError: If the split is unknown, or a number makes no sense.
    """
    if split not in SPLIT_SHARES:
        raise DataError(suggest(split, SPLIT_SHARES, kind="split of the synthetic set"))
    size = SIZES[split] if size is None else size
    if size < 0 or not 0.0 <= unanswerable <= 1.0:
        raise DataError(
            f"The synthetic set cannot have size {size} with a share of {unanswerable} "
            "unanswerable questions; give a size of at least 0 and a share from 0 to 1."
        )
    rows: list[QuestionRow] = []
    for number in range(-(-size // difficulty.questions)):
        rng = random.Random(f"{seed}/{split}/{number}")
        article = _write_article(split, rng, difficulty)
        asked = _ask(article, rng, difficulty, unanswerable=unanswerable)
        for place, (question, answers) in enumerate(asked):
            rows.append(
                QuestionRow(
                    id=f"{split}-{number}-{place}",
                    question=question,
                    context=article.context,
                    answers=None if split == "unlabelled" else answers,
                    where=f"synthetic {split}, article {number}",
                )
            )
    return tuple(rows[:size])


def write_squad(rows: Sequence[QuestionRow], path: Path) -> None:
    """Write rows as a SQuAD 2.0 file, one paragraph per context, in the given order.

    Unlabelled rows are written without ``answers``.
    """
    paragraphs = []
    for context, group in groupby(rows, key=lambda row: row.context):
        paragraphs.append({"context": context, "qas": [_squad_question(row) for row in group]})
    document = {"version": "v2.0", "data": [{"title": "destilo", "paragraphs": paragraphs}]}
    path.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _squad_question(row: QuestionRow) -> dict[str, object]:
    entry: dict[str, object] = {"id": row.id, "question": row.question}
    if row.answers is not None:
        entry["answers"] = [{"text": a.text, "answer_start": a.start} for a in row.answers]
        entry["is_impossible"] = not row.answers
    return entry


@dataclass(frozen=True, slots=True)
class _Subject:
    topic: Topic
    name: Value
    noun: Value
    full: Value
    facts: Mapping[str, Value]

    def slots(self, *, bare: bool = False, known: bool = False) -> dict[str, Value]:
        """What fills the slots of a template.

        Args:
            bare: ``{S}`` is the name alone.
            known: The subject has been named before, so that its noun alone will do.
        """
        the = self.noun if known else self.full
        return {**self.facts, "S": self.name if bare else the, "the": the}


@dataclass(frozen=True, slots=True)
class _Fact:
    """A relation of a subject as it stands in the text."""

    subject: _Subject
    relation: str
    start: int

    @property
    def kind(self) -> Kind:
        return self.subject.topic.relations[self.relation].kind

    @property
    def answer(self) -> Answer:
        return Answer(self.subject.facts[self.relation].text, self.start)


@dataclass(frozen=True, slots=True)
class _Article:
    context: str
    facts: tuple[_Fact, ...]

    def askable(self) -> list[_Fact]:
        """The facts whose kind of value occurs at least twice."""
        kinds = Counter(fact.kind for fact in self.facts)
        return [fact for fact in self.facts if kinds[fact.kind] > 1]


def _write_article(split: str, rng: random.Random, difficulty: Difficulty) -> _Article:
    while True:
        topic = rng.choice(TOPICS)
        chosen, others = _choose_relations(topic, rng, difficulty)
        taken: set[str] = set()
        subject = _invent(topic, chosen, split, rng, taken)
        other = _invent(topic, others, split, rng, taken)
        article = _tell((subject, other), rng, difficulty)
        if len(article.askable()) >= difficulty.questions:
            return article


def _choose_relations(
    topic: Topic, rng: random.Random, difficulty: Difficulty
) -> tuple[list[str], list[str]]:
    """Choose what is told of the subject and of the second one."""
    names = list(topic.relations)
    for pair in topic.exclusive:
        dropped = rng.choice(sorted(pair))
        names.remove(dropped)
    rng.shuffle(names)
    chosen, rest = names[: difficulty.facts], names[difficulty.facts :]
    shared = chosen[: difficulty.shared_relations]
    return chosen, shared + rest[: difficulty.other_facts - len(shared)]


def _invent(
    topic: Topic, relations: Sequence[str], split: str, rng: random.Random, taken: set[str]
) -> _Subject:
    """Make up a subject; ``taken`` gathers what the article has used already."""
    name = draw_name(topic.subject, split, rng, taken=taken)
    taken.add(name.key)
    noun, gender = rng.choice(_nouns_for(name, topic, taken))
    taken.add(noun)
    form = FORMS[gender]
    the = f"{('el', 'la')[form]} {noun}"
    draw = Draw(topic, gender, rng.randint(*FIRST_YEARS[topic.subject]), split, rng)
    facts: dict[str, Value] = {}
    for relation in relations:
        key, facts[relation] = draw.value(relation, topic.relations[relation].kind, taken)
        taken.add(key)
    full = Value(f"{the}{topic.link}{name.text}", form)
    return _Subject(topic, Value(name.text, form), Value(the, form), full, facts)


def _nouns_for(name: Name, topic: Topic, taken: set[str]) -> list[tuple[str, Gender]]:
    """The common nouns that fit a name; a person's trade has the person's gender."""
    free = [noun for noun in topic.nouns if noun[0] not in taken]
    if topic.subject is Kind.PERSON:
        return [noun for noun in free if noun[1] == name.gender]
    return free


def _tell(
    subjects: tuple[_Subject, _Subject], rng: random.Random, difficulty: Difficulty
) -> _Article:
    """Put the facts of two subjects into sentences, the first of them about the first."""
    told = [(s, sentence) for s in subjects for sentence in _choose(s, rng, difficulty)]
    first = told.pop(rng.choice([i for i, (s, _) in enumerate(told) if s is subjects[0]]))
    rng.shuffle(told)
    text = ""
    facts: list[_Fact] = []
    before: _Said | None = None
    named: list[_Subject] = []
    for subject, sentence in [first, *told]:
        now = _say(subject, sentence, before, rng, difficulty)
        known = subject in named
        bare = known and rng.random() >= difficulty.nouns
        words, starts = render(now.template, subject.slots(bare=bare, known=known))
        named.append(subject)
        if now.lead == _AND:
            text = text[:-1] + now.lead
        else:
            text += (" " if text else "") + now.lead
            if not now.lead:
                words = words[0].upper() + words[1:]
        facts += [_Fact(subject, relation, len(text) + at) for relation, at in starts.items()]
        text += words + "."
        before = now
    return _Article(text, tuple(facts))


_AND = " y "
_TURN = "Por su parte, "
_TURN_SHARE = 0.15
"""How often a sentence that turns to the other subject says so."""


@dataclass(frozen=True, slots=True)
class _Said:
    """A sentence as it was put.

    Attributes:
        template: Its full or short form.
        lead: What links it to the sentence before.
        predicate: Whether its subject comes first or is left out before the verb.
        focus: Whether the next one may leave the subject out and still be clear.
        turned: Whether it, or the sentence that it goes on with, begins with ``_TURN``.
    """

    subject: _Subject
    template: str
    lead: str
    predicate: bool
    focus: bool
    turned: bool


def _say(
    subject: _Subject,
    sentence: Sentence,
    before: _Said | None,
    rng: random.Random,
    difficulty: Difficulty,
) -> _Said:
    """Decide on the form of a sentence from the one before it."""
    follows = before is not None and before.subject is subject
    kinds = {subject.topic.relations[relation].kind for relation in sentence.relations}
    rival = subject.topic.subject in kinds
    template, lead = sentence.full, ""
    if (
        before
        and follows
        and before.focus
        and sentence.short
        and rng.random() < difficulty.ellipsis
    ):
        template = sentence.short
        simple = before.lead != _AND and before.predicate and "," not in before.template
        if simple and sentence.opens_with_subject and rng.random() < 0.5:
            lead = _AND
    elif (
        before
        and not follows
        and not before.turned
        and sentence.opens_with_subject
        and rng.random() < _TURN_SHARE
    ):
        lead = _TURN
    predicate = sentence.opens_with_subject
    focus = not rival and (predicate or template != sentence.full)
    turned = lead == _TURN or (lead == _AND and before is not None and before.turned)
    return _Said(subject, template, lead, predicate, focus, turned)


def _choose(subject: _Subject, rng: random.Random, difficulty: Difficulty) -> list[Sentence]:
    """Choose sentences that state every fact of a subject exactly once."""
    left = set(subject.facts)
    sentences: list[Sentence] = []
    for relation in subject.facts:
        if relation in left:
            fitting = [s for s in subject.topic.sentences if relation in s.relations <= left]
            plain = [s for s in fitting if len(s.relations) == 1][: difficulty.paraphrases]
            joint = [s for s in fitting if len(s.relations) > 1]
            sentence = rng.choice(plain + joint)
            left -= sentence.relations
            sentences.append(sentence)
    return sentences


def _ask(
    article: _Article, rng: random.Random, difficulty: Difficulty, *, unanswerable: float
) -> list[tuple[str, tuple[Answer, ...]]]:
    """Ask about facts that have a rival, or about what the text leaves open."""
    asked: list[tuple[str, tuple[Answer, ...]]] = []
    open_questions = _open_questions(article, rng, difficulty)
    for fact in rng.sample(article.askable(), difficulty.questions):
        relation = fact.subject.topic.relations[fact.relation]
        wording = rng.choice(relation.questions[: difficulty.paraphrases])
        bare = rng.random() >= difficulty.nouns
        question, _ = render(wording, fact.subject.slots(bare=bare))
        answers: tuple[Answer, ...] = (fact.answer,)
        if rng.random() < unanswerable:
            question, answers = open_questions.pop(), ()
        asked.append((question, answers))
    return asked


def _open_questions(article: _Article, rng: random.Random, difficulty: Difficulty) -> list[str]:
    """Questions on either subject that the text does not answer; those it seems to come last."""
    subjects = list({id(fact.subject): fact.subject for fact in article.facts}.values())
    stated = {fact.relation for fact in article.facts}
    questions: list[tuple[bool, float, str]] = []
    for subject in subjects:
        known = set(subject.facts).union(
            *(pair for pair in subject.topic.exclusive if pair & set(subject.facts))
        )
        for name, relation in subject.topic.relations.items():
            for wording in relation.questions[: difficulty.paraphrases]:
                if name not in known and f"{{{name}:" not in wording:
                    question, _ = render(wording, subject.slots())
                    questions.append((name in stated, rng.random(), question))
                    break
    return [question for *_, question in sorted(questions)]
