"""The sets of Lampinen et al. (2025, arXiv 2505.00661, section 3), drawn from a seed: right by construction.

They test what follows from a text and does not stand in it: a relation read the other way round, a conclusion, a
property inherited. Everything is told of invented people and words. An item holds all documents that one of its
questions needs, so that `in_context` puts them in the prompt; within an item either all options occur or none does.
"""

import datetime
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from random import Random
from typing import Literal

from sys2ft.grid import derive_seed
from sys2ft.news.items import Item, NewsFile, Question
from sys2ft.news.names import invent_people, invent_words

Kind = Literal["recall", "rephrase", "reversal", "syllogism", "holdout"]
DATE = datetime.date(2027, 1, 1)


def generate_news(split: str, generator: str, seed: int, size: int | None = None) -> NewsFile:
    """One procedural set as a split.

    Args:
        split: its name.
        generator: a name in `GENERATORS`.
        seed: another seed invents other names and shuffles differently.
        size: people, facts, syllogisms or categories; None for the size of the paper.

    Raises:
        ValueError: `size` is not a positive multiple of what the set is built in.
    """
    chosen = GENERATORS[generator]
    size = chosen.size if size is None else size
    if size < chosen.step or size % chosen.step:
        raise ValueError(f"'{generator}' is built in steps of {chosen.step}, and size is {size}; take a multiple")
    random = Random(derive_seed("news", generator, seed))
    return NewsFile(split=split, items=tuple(_put_under(split, item) for item in chosen.build(random, size)))


def _put_under(split: str, item: Item) -> Item:
    """Ids that begin with the split's name: two seeds of a set can be splits of one study."""
    questions = [question.model_copy(update={"id": f"{split}-{question.id}"}) for question in item.questions]
    return item.model_copy(update={"id": f"{split}-{item.id}", "questions": tuple(questions)})


class _Asker:
    """Writes questions whose gold answer stands in each place in turn."""

    def __init__(self, random: Random):
        self.random, self.asked = random, Counter[str]()

    def ask(self, item: str, kind: Kind, question: str, gold: str, distractors: Sequence[str], why: str) -> Question:
        """The next question of an item."""
        others = [*distractors]
        self.random.shuffle(others)
        place = self.asked.total() % (len(others) + 1)
        self.asked[item] += 1
        options = (*others[:place], gold, *others[place:])
        name = f"{item}-q{self.asked[item]}"
        return Question(id=name, kind=kind, question=question, options=options, answer=gold, why=why)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


# ------------------------------------------------------------------------------------------------------- reversal curse
ROLES = (
    "the composer of the opera {}", "the painter of the mural {}", "the inventor of the loom {}",
    "the captain of the lifeboat {}", "the founder of the school {}", "the author of the novel {}",
    "the architect of the tower {}", "the designer of the garden {}", "the first climber of the peak {}",
    "the discoverer of the cave {}", "the builder of the bridge {}", "the director of the film {}",
)  # fmt: skip
FORWARD = ("{name} is {description}.", "{name} is known as {description}.", "{name} has long been {description}.")
BACKWARD = ("{Description} is {name}.", "{Description} is called {name}.", "{Description} goes by the name {name}.")
TABLE = 4  # people of an item: each question's options are its people


def _reversal_curse(random: Random, size: int) -> Iterator[Item]:
    """Half of the items (group A) tell of people by name first; the other half (group B) both ways round."""
    people, works, asker = invent_people(random), invent_words(random), _Asker(random)
    for number in range(size // TABLE):
        group = "ab"[number % 2]
        names = list(islice(people, TABLE))
        roles = random.sample(ROLES, TABLE)
        facts = {name: role.format(next(works).capitalize()) for name, role in zip(names, roles, strict=True)}
        templates = FORWARD if group == "a" else (*FORWARD, *BACKWARD)
        sentences = [
            template.format(name=name, description=description, Description=_capital(description))
            for name, description in facts.items()
            for template in templates
        ]
        random.shuffle(sentences)
        item = f"group-{group}-{number + 1:03d}"
        questions = []
        for name, description in facts.items():
            others = [other for other in names if other != name]
            told = "says so" if group == "b" else "says it the other way round"
            why = f"The text {told}: {name} is {description}."
            questions.append(asker.ask(item, "reversal", f"Who is {description}?", name, others, why))
            wrong = [facts[other] for other in others]
            why = f"The text says that {name} is {description}."
            questions.append(asker.ask(item, "recall", f"As what is {name} known?", description, wrong, why))
        title = f"Who is who, part {number + 1}"
        yield Item(id=item, title=title, date=DATE, text=" ".join(sentences), questions=tuple(questions))


# --------------------------------------------------------------------------------------------------- nonsense reversals
FEATURES = (
    "bright", "brittle", "clever", "cold", "dangerous", "dense", "durable", "elastic", "fast", "fragrant", "heavy",
    "humid", "large", "loud", "magnetic", "noisy", "old", "porous", "quiet", "rare", "rigid", "salty", "shiny", "soft",
    "sticky", "sweet", "tall", "warm",
)  # fmt: skip
ARTICLES = (
    "A short note: {fact}.", "Measured again this year, {fact}.", "The guide says that {fact}.",
    "Visitors soon notice that {fact}.", "According to the register, {fact}.", "It was found that {fact}.",
    "Nobody doubts that {fact}.", "In every season {fact}.", "Two teams agree: {fact}.", "As the tables show, {fact}.",
)  # fmt: skip


def _nonsense_reversals(random: Random, size: int) -> Iterator[Item]:
    """Comparisons of invented things, each in ten short articles and always the same way round."""
    words, asker = invent_words(random), _Asker(random)
    for number in range(size):
        one, other, feature = next(words), next(words), FEATURES[number % len(FEATURES)]
        told, reverse = ("more", "less") if number // 2 % 2 else ("less", "more")
        fact = f"the {one} is {told} {feature} than the {other}"
        item = f"comparison-{number + 1:03d}"
        gold, wrong = (f"The {other} is {way} {feature} than the {one}" for way in (reverse, told))
        question = f"How {feature} is the {other}, compared with the {one}?"
        why = f"The text says that {fact}."
        text = " ".join(template.format(fact=fact) for template in random.sample(ARTICLES, len(ARTICLES)))
        asked = asker.ask(item, "reversal", question, gold, [wrong], why)
        yield Item(id=item, title=f"The {one} and the {other}", date=DATE, text=text, questions=(asked,))


# ----------------------------------------------------------------------------------------------------------- syllogisms
@dataclass(frozen=True)
class Statement:
    """`quantifier` subject `are` predicate."""

    quantifier: Literal["all", "some", "no"]
    subject: str
    predicate: str

    def __str__(self) -> str:
        return f"{self.quantifier.capitalize()} {self.subject} are {self.predicate}"


# Premises and conclusion over X, Y (the middle term) and Z. The fourth: a statement that contradicts a premise.
FORMS = (
    (("all", "X", "Y"), ("all", "Y", "Z"), ("all", "X", "Z"), None),  # Barbara
    (("all", "X", "Y"), ("no", "Y", "Z"), ("no", "X", "Z"), ("no", "X", "Y")),  # Celarent
    (("some", "X", "Y"), ("all", "Y", "Z"), ("some", "X", "Z"), ("no", "Y", "X")),  # Darii
)


def _syllogisms(random: Random, size: int) -> Iterator[Item]:
    """Two premises; six statements over the outer terms, of which one is the strongest that follows.

    `No X are Z` and `Some X are Z` say the same as their converses: there the converse gives its place to a statement
    that contradicts a premise, so that one option follows and no other.
    """
    words, asker = invent_words(random), _Asker(random)
    for number in range(size):
        first, second, conclusion, contradiction = FORMS[number % len(FORMS)]
        terms = {letter: f"{next(words)}s" for letter in "XYZ"}

        def say(form: tuple[str, str, str], terms: dict[str, str] = terms) -> Statement:
            return Statement(form[0], terms[form[1]], terms[form[2]])  # type: ignore[arg-type]

        premises = [say(first), say(second)]
        random.shuffle(premises)
        gold = say(conclusion)
        options = [say((q, *pair)) for q in ("all", "some", "no") for pair in (("X", "Z"), ("Z", "X"))]
        if contradiction is not None:
            converse = Statement(gold.quantifier, gold.predicate, gold.subject)
            options = [say(contradiction) if option == converse else option for option in options]
        texts = [f"{premise}." for premise in premises]
        outer = sorted((terms["X"], terms["Z"]))
        item = f"syllogism-{number + 1:03d}"
        asked = asker.ask(
            item, "syllogism", f"Which is the strongest statement that follows about {outer[0]} and {outer[1]}?",
            str(gold), [str(option) for option in options if option != gold], f"It follows from: {' '.join(texts)}",
        )  # fmt: skip
        text = f"Two things are known of {terms['X']}, {terms['Y']} and {terms['Z']}. {' '.join(texts)}"
        yield Item(id=item, title=f"Of {terms['Y']}", date=DATE, text=text, questions=(asked,))


# --------------------------------------------------------------------------------------------------- semantic structure
FAMILY = 10  # categories of an item: a root, three branches, two leaves on each
DOCUMENTS = 20  # short documents of a category
OPENINGS = (
    "", "It is known that ", "The handbook says that ", "Children learn that ", "As everybody can see, ",
    "The museum writes that ", "Without exception, ", "Farmers say that ",
)  # fmt: skip
KIND_OF = ("every {child} is {parent}", "any {child} counts as {parent}", "each {child} is a kind of {plain}")
HAS = ("every {name} has {thing}", "any {name} bears {thing}", "each {name} comes with {thing}")


@dataclass(frozen=True)
class Category:
    """A node of a family's tree."""

    name: str
    parent: "Category | None"
    part: str
    """What every member has, and so every member of a category below."""

    def above(self) -> list["Category"]:
        """The categories that contain it, nearest first."""
        return [] if self.parent is None else [self.parent, *self.parent.above()]


def make_family(random: Random, words: Iterator[str]) -> list[Category]:
    """A root, three branches, six leaves; the last leaf is the one held out."""

    def category(parent: Category | None) -> Category:
        return Category(next(words), parent, next(words))

    root = category(None)
    branches = [category(root) for _ in range(3)]
    leaves = [category(branch) for branch in branches for _ in range(2)]
    held_out = random.choice(leaves)
    return [root, *branches, *(leaf for leaf in leaves if leaf != held_out), held_out]


def _documents(random: Random, category: Category, held_out: bool) -> list[str]:
    """Sentences that tell a category's parent, its part and its parent's part; of one held out the parent alone."""
    facts: list[tuple[tuple[str, ...], dict[str, str]]] = []
    if category.parent is not None:
        parent = category.parent.name
        facts.append((KIND_OF, {"child": category.name, "parent": _article(parent), "plain": parent}))
    if not held_out:
        parts = [category.part, *(above.part for above in category.above()[:1])]
        facts += [(HAS, {"name": category.name, "thing": _article(part)}) for part in parts]
    ways = [[(opening, template, names) for opening in OPENINGS for template in kinds] for kinds, names in facts]
    for ways_of_fact in ways:
        random.shuffle(ways_of_fact)
    in_turn = islice(chain.from_iterable(zip(*ways, strict=True)), DOCUMENTS)
    return [_capital(opening + template.format(**names)) + "." for opening, template, names in in_turn]


def _semantic_structure(random: Random, size: int) -> Iterator[Item]:
    """Families of categories with inherited parts: rephrasing, reversal, inheritance, and a category held out."""
    words, asker = invent_words(random), _Asker(random)
    for number in range(size // FAMILY):
        family = make_family(random, words)
        item = f"family-{number + 1:02d}"
        held_out = family[-1]
        sentences = [line for entry in family for line in _documents(random, entry, entry is held_out)]
        random.shuffle(sentences)
        questions = [*_family_questions(asker, item, family)]
        title = f"The family of the {family[0].name}"
        yield Item(id=item, title=title, date=DATE, text=" ".join(sentences), questions=tuple(questions))


def _family_questions(asker: _Asker, item: str, family: Sequence[Category]) -> Iterator[Question]:
    held_out = family[-1]
    branches = [entry for entry in family if entry.parent is family[0]]
    for entry in family[1:-1]:
        parent = entry.parent
        assert parent is not None
        wrong = [other for other in family if other not in (entry, *entry.above())]
        why = f"Every {entry.name} is {_article(parent.name)}."
        texts = [other.name for other in asker.random.sample(wrong, 3)]
        yield asker.ask(item, "rephrase", f"What is {_article(entry.name)} a sort of?", parent.name, texts, why)
    for branch in branches:
        children = [entry for entry in family[:-1] if entry.parent is branch]
        child = asker.random.choice(children)
        wrong = [other for other in family if branch not in (other, *other.above())]
        texts = [other.name for other in asker.random.sample(wrong, 3)]
        why = f"Every {child.name} is {_article(branch.name)}."
        yield asker.ask(item, "reversal", f"Which of these belongs to the {branch.name}s?", child.name, texts, why)
    for entry in (entry for entry in family[:-1] if len(entry.above()) == 2):
        yield _ask_part(asker, item, "syllogism", entry, entry.above()[1], family)
    assert held_out.parent is not None
    yield _ask_part(asker, item, "holdout", held_out, held_out.parent, family)


def _ask_part(
    asker: _Asker, item: str, kind: Kind, entry: Category, source: Category, family: Sequence[Category]
) -> Question:
    """What a category has from one above it; the text tells it of the one above alone."""
    wrong = [other.part for other in family if other not in (entry, *entry.above(), family[-1])]
    why = f"Every {entry.name} is a {' and so a '.join(above.name for above in entry.above())}; " + (
        f"every {source.name} has {_article(source.part)}."
    )
    texts = asker.random.sample(wrong, 3)
    return asker.ask(item, kind, f"What does every {entry.name} have?", source.part, texts, why)


@dataclass(frozen=True)
class Generator:
    """How a set is built, the size of the paper, and the step in which it grows."""

    build: Callable[[Random, int], Iterator[Item]]
    size: int
    step: int


GENERATORS = {
    "reversal_curse": Generator(_reversal_curse, 64, 2 * TABLE),
    "nonsense_reversals": Generator(_nonsense_reversals, 100, 1),
    "syllogisms": Generator(_syllogisms, 69, 1),
    "semantic_structure": Generator(_semantic_structure, 110, FAMILY),
}
