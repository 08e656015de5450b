"""Procedural splits are right by construction: the gold answer follows from the item, and no other option does."""

import itertools
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sys2ft.news.items import Item, Question
from sys2ft.news.procedural import GENERATORS, TABLE, generate_news

quick = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**31)
every_set = pytest.mark.parametrize("name", GENERATORS)
SMALL = {"reversal_curse": 16, "nonsense_reversals": 8, "syllogisms": 9, "semantic_structure": 20}


def occurs(option: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(option)}(?!\w)", text) is not None


def sentences(item: Item) -> list[str]:
    return [sentence.strip() for sentence in item.text.split(".") if sentence.strip()]


def small(name: str, seed: int) -> list[tuple[Item, Question]]:
    items = generate_news("s", name, seed, SMALL[name]).items
    return [(item, question) for item in items for question in item.questions]


# ------------------------------------------------------------------------------------------------------------- all sets
@every_set
def test_the_same_seed_gives_the_same_set_and_another_gives_other_words(name):
    one, again, other = (generate_news("s", name, seed, SMALL[name]) for seed in (1, 1, 2))
    assert one == again
    assert not {item.text for item in one.items} & {item.text for item in other.items}


@every_set
def test_two_seeds_of_a_set_can_be_splits_of_one_study(name):
    one, other = (generate_news(split, name, 1, SMALL[name]) for split in ("one", "other"))
    assert not {item.id for item in one.items} & {item.id for item in other.items}


@every_set
@quick
@given(seed=seeds)
def test_all_options_occur_in_the_item_or_none_does(name, seed):
    for item, question in small(name, seed):
        found = {occurs(option, item.text) for option in question.options}
        assert len(found) == 1, question


@every_set
def test_the_gold_answer_stands_in_each_place_as_often_as_in_any_other(name):
    questions = [question for item in generate_news("s", name, 3).items for question in item.questions]
    for options in {len(question.options) for question in questions}:
        places = Counter(q.options.index(q.answer) for q in questions if len(q.options) == options)
        assert max(places.values()) - min(places[place] for place in range(options)) <= 1


@every_set
def test_ids_and_questions_are_unique(name):
    items = generate_news("s", name, 4).items
    ids = [question.id for item in items for question in item.questions]
    assert len(set(ids)) == len(ids)
    asked = [question.question for item in items for question in item.questions]
    assert len(set(asked)) == len(asked)


def test_the_sizes_are_those_of_the_paper():
    assert len(generate_news("s", "nonsense_reversals", 0).items) == 100
    assert len(generate_news("s", "syllogisms", 0).items) == 69
    documents = [len(sentences(item)) for item in generate_news("s", "semantic_structure", 0).items]
    assert sum(documents) == 2200


@pytest.mark.parametrize(("name", "size"), [("reversal_curse", 12), ("semantic_structure", 15), ("syllogisms", 0)])
def test_a_size_that_cannot_be_built_is_refused_with_the_step(name, size):
    with pytest.raises(ValueError, match=f"steps of {GENERATORS[name].step}"):
        generate_news("s", name, 0, size)


# ------------------------------------------------------------------------------------------------------- reversal curse
@quick
@given(seed=seeds)
def test_group_a_shows_one_direction_only_and_group_b_both(seed):
    for item in generate_news("s", "reversal_curse", seed, 16).items:
        names = {question.answer for question in item.questions if question.kind == "reversal"}
        assert len(names) == TABLE
        first = [any(sentence.startswith(name) for name in names) for sentence in sentences(item)]
        assert all(first) if "group-a" in item.id else Counter(first) == {True: 12, False: 12}


@quick
@given(seed=seeds)
def test_a_name_and_its_description_stand_in_one_sentence_and_no_other_pair_does(seed):
    for item, question in small("reversal_curse", seed):
        for option in question.options:
            if question.kind == "reversal":
                name, description = option, question.question.removeprefix("Who is ").removesuffix("?")
            else:
                name, description = re.findall(r"As what is (.*) known\?", question.question)[0], option
            together = [line for line in sentences(item) if name in line and description[1:] in line]
            assert bool(together) == (option == question.answer)


# --------------------------------------------------------------------------------------------------- nonsense reversals
@quick
@given(seed=seeds)
def test_a_reversal_says_the_same_and_its_contradiction_the_opposite(seed):
    for item, question in small("nonsense_reversals", seed):
        facts = {re.search(r"the (\w+) is (more|less) (\w+) than the (\w+)", line).groups() for line in sentences(item)}
        ((one, told, feature, other),) = facts
        assert len(sentences(item)) == 10
        for option in question.options:
            subject, way, of, than = re.fullmatch(r"The (\w+) is (more|less) (\w+) than the (\w+)", option).groups()
            assert (subject, of, than) == (other, feature, one)
            assert (way != told) == (option == question.answer)


# ----------------------------------------------------------------------------------------------------------- syllogisms
def holds(statement: str, world: set[frozenset[str]]) -> bool:
    """Whether a statement is true where exactly these combinations of properties have members."""
    quantifier, subject, _, predicate = statement.rstrip(".").split()
    of_subject = [kinds for kinds in world if subject in kinds]
    return {
        "All": all(predicate in kinds for kinds in of_subject),
        "Some": any(predicate in kinds for kinds in of_subject),
        "No": not any(predicate in kinds for kinds in of_subject),
    }[quantifier]


@quick
@given(seed=seeds)
def test_exactly_one_option_follows_from_the_premises_in_every_possible_world(seed):
    for item, question in small("syllogisms", seed):
        premises = [line for line in sentences(item) if line.split()[0] in ("All", "Some", "No")]
        terms = sorted({word for line in premises for word in line.split()[1::2]})
        kinds = [frozenset(kind) for n in range(4) for kind in itertools.combinations(terms, n)]
        worlds = [set(world) for n in range(len(kinds) + 1) for world in itertools.combinations(kinds, n)]
        possible = [world for world in worlds if all(holds(premise, world) for premise in premises)]
        follows = [option for option in question.options if all(holds(option, world) for world in possible)]
        assert len(set(question.options)) == 6
        assert follows == [question.answer]


# --------------------------------------------------------------------------------------------------- semantic structure
def tree_of(item: Item) -> tuple[dict[str, str], dict[str, set[str]]]:
    """Child to parent, and category to the parts that are told of it, read from the sentences."""
    parents: dict[str, str] = {}
    parts: dict[str, set[str]] = {}
    for line in sentences(item):
        if match := re.search(r"(\w+) (?:is|counts as) an? (?:kind of )?(\w+)$", line):
            assert parents.setdefault(match[1], match[2]) == match[2]
        else:
            match = re.search(r"(\w+) (?:has|bears|comes with) an? (\w+)$", line)
            parts.setdefault(match[1], set()).add(match[2])
    return parents, parts


def above(name: str, parents: dict[str, str]) -> list[str]:
    return [parents[name], *above(parents[name], parents)] if name in parents else []


def follows(question: Question, option: str, parents: dict[str, str], parts: dict[str, set[str]]) -> bool:
    """Whether an option answers a question on a family."""
    name = subject_of(question)
    if question.kind == "rephrase":
        return option in above(name, parents)
    if question.kind == "reversal":
        return name in above(option, parents)
    return any(option in parts.get(entry, ()) for entry in (name, *above(name, parents)))


def subject_of(question: Question) -> str:
    match = re.search(r"an? (\w+) a sort of|every (\w+) have|to the (\w+)s\?", question.question)
    return next(group for group in match.groups() if group)


@quick
@given(seed=seeds)
def test_the_questions_on_a_family_follow_from_its_tree(seed):
    for item, question in small("semantic_structure", seed):
        parents, parts = tree_of(item)
        assert len(set(parents) | set(parents.values())) == 10
        right = [option for option in question.options if follows(question, option, parents, parts)]
        assert right == [question.answer], question
        if question.kind == "syllogism":
            assert question.answer not in parts[subject_of(question)], "the text must not say it of the category itself"
        if question.kind == "holdout":
            assert subject_of(question) not in parts, "nothing but its parent is told of the category held out"
