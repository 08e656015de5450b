"""From a teacher's completions to study rows; what cannot be read is counted, never guessed."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sys2ft.settings.prompts import KindPrompts

Row = Mapping[str, Any]

_PREFACE = re.compile(r"^(sure|certainly|of course|here)\b[^\n]*:\s*(?:\n|$)", re.IGNORECASE)
_SENTENCE_END = re.compile(r"^\s*\d+[.)](?=\s|$)|(?P<end>[.!?][\"'”’)\]*]*)(?=\s|$)", re.MULTILINE)
_QUESTION_LINE = re.compile(
    r"^\s*(?:[-*]\s+)?(?:\**\s*(?:question|q)?\s*\d*\s*[.):]\**\s+)?(?P<question>\S.*\?)[\"'*]*\s*$", re.IGNORECASE
)

_MARKED_LINE = re.compile(r"^\s*\**(?:[-*•]|\d+\s*[.):])\**\s+(?P<entry>\S.*?)\s*$")
_REFUSAL = re.compile(
    r"^[^\w\"“]*(?:(?:i am|i['’]m) (?:(?:very |really |so )?(?:sorry|afraid)|unable|not able)\b|"
    r"(?:sorry|apologies)\b(?=\W*$|[,.;:!]|\s+(?:(?:but|i)\b|[–—-]))|"
    r"as an? (?:ai|(?:large )?language model)\b[^.!?\n]*\b(?:i|me|my)\b|i (?:can(?:not|['’]t)|won['’]t)\b)",
    re.IGNORECASE,
)
_THOUGHTS = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)  # of a model that reasons before it answers
_YES_NO = re.compile(r"^\W*(yes|no)\b", re.IGNORECASE)


def parse_text(completion: str, finish: str) -> tuple[str, str]:
    """Read one study text.

    A preface such as 'Here is a paraphrase:' is cut, and so is the unfinished sentence of a completion that its limit
    ended.

    Returns:
        The text and its status: 'kept', 'empty', 'refusal', 'unparsed' where only thoughts were written, or 'too_long'
        where its limit came before the end of a sentence.
    """
    completion = without_thoughts(completion)
    if completion.startswith("<think>"):
        return "", "unparsed"
    text = _PREFACE.sub("", completion.strip()).strip()
    text = _unquote(text)
    if not text:
        return "", "empty"
    if _REFUSAL.match(text):
        return text, "refusal"
    if finish == "length":
        ends = [match.end() for match in _SENTENCE_END.finditer(text) if match["end"]]
        if not ends:
            return text, "too_long"
        text = text[: ends[-1]]
    return text, "kept"


def without_thoughts(completion: str) -> str:
    """What a reasoning model says after its thoughts; thoughts that its limit cut off stay, to be counted as lost."""
    return _THOUGHTS.sub("", completion).strip()


def _unquote(text: str) -> str:
    """Without the quotes around the whole; quotes inside stay as they are."""
    bare = text.strip('"')
    return text if '"' in bare else bare.strip()


def parse_questions(completion: str, limit: int) -> list[str]:
    """Read the questions of a list: lines that end in a question mark, numbered or not, at most `limit`."""
    matches = (_QUESTION_LINE.match(line) for line in completion.splitlines())
    questions = [_unquote(match["question"].strip().strip("*").strip()) for match in matches if match]
    return list(dict.fromkeys(questions))[:limit]


def parse_list(completion: str, finish: str, read: str, limit: int) -> list[str]:
    """Read the entries of a list, at most `limit`: questions, or lines.

    Lines are those with a number or a mark before them, or, where none has one, all that do not end in a colon; a last
    line that the limit of the completion cut off is left out.
    """
    completion = _THOUGHTS.sub("", completion)
    if completion.lstrip().startswith("<think>"):
        return []
    if read == "questions":
        return parse_questions(completion, limit)
    lines = completion.splitlines()[: -1 if finish == "length" and not completion.endswith("\n") else None]
    marked = [match["entry"] for line in lines if (match := _MARKED_LINE.match(line))]
    plain = [line.strip() for line in lines if line.strip() and not line.rstrip("* ").endswith(":")]
    entries = [_unquote(entry.replace("**", "").strip().strip("*").strip()) for entry in marked or plain]
    return list(dict.fromkeys(entry for entry in entries if entry))[:limit]


def read_study(
    items: Sequence[str], completions: Sequence[Row], prompts: KindPrompts, rows: int, per_call: int
) -> list[dict[str, Any]]:
    """The study rows of every item: what each is asked, its text, and whether it could be read.

    A row that was never written, as its entry of the list could not be read, has the status 'unparsed'.

    Args:
        items: in the order of the table.
        completions: rows of the table `completions`.
        rows: asked for, of each item.

    Returns:
        Dicts with `item`, `row`, `request`, `question`, `text` and `status`.
    """
    written = {(row["item"], row["call"], row["number"]): row for row in completions}
    each = prompts.entries is not None and prompts.entries.use == "each"
    study = []
    for item in items:
        for number in range(rows):
            found = written.get((item, "write", number))
            keys = {"item": item, "row": number}
            if found is None:
                asked = f"{item}/list/{number // per_call if each else 0}"
                study.append(keys | {"request": asked, "question": None, "text": "", "status": "unparsed"})
                continue
            text, status = parse_text(found["completion"], found["finish"])
            if status == "kept" and (check := written.get((item, "check", number))) is not None:
                status = _supported(check["completion"])
            question = found["entry"] if prompts.has_questions else None
            study.append(keys | {"request": found["request"], "question": question, "text": text, "status": status})
    return study


def _supported(verdict: str) -> str:
    match = _YES_NO.match(without_thoughts(verdict))
    if match is None:
        return "unchecked"
    return "kept" if match[1].lower() == "yes" else "unsupported"
