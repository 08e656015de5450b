"""From a teacher's completions to study rows; what cannot be read is counted, never guessed."""

import re

_PREFACE = re.compile(r"^(sure|certainly|of course|here)\b[^\n]*:\s*(?:\n|$)", re.IGNORECASE)
_SENTENCE_END = re.compile(r"^\s*\d+[.)](?=\s|$)|(?P<end>[.!?][\"')\]]*)(?=\s|$)", re.MULTILINE)
_QUESTION_LINE = re.compile(
    r"^\s*(?:[-*]\s+)?(?:\**\s*(?:question|q)?\s*\d*\s*[.):]\**\s+)?(?P<question>\S.*\?)[\"'*]*\s*$", re.IGNORECASE
)


def parse_text(completion: str, finish: str) -> tuple[str, str]:
    """Read one study text.

    A preface such as 'Here is a paraphrase:' is cut, and so is the unfinished sentence of a completion that its limit
    ended.

    Returns:
        The text and its status: 'kept', 'empty', or 'unparsed' where no sentence was finished.
    """
    text = _PREFACE.sub("", completion.strip()).strip()
    text = _unquote(text)
    if not text:
        return "", "empty"
    if finish == "length":
        ends = [match.end() for match in _SENTENCE_END.finditer(text) if match["end"]]
        if not ends:
            return text, "unparsed"
        text = text[: ends[-1]]
    return text, "kept"


def _unquote(text: str) -> str:
    """Without the quotes around the whole; quotes inside stay as they are."""
    bare = text.strip('"')
    return text if '"' in bare else bare.strip()


def parse_questions(completion: str, limit: int) -> list[str]:
    """Read the questions of a list: lines that end in a question mark, numbered or not, at most `limit`."""
    matches = (_QUESTION_LINE.match(line) for line in completion.splitlines())
    questions = [_unquote(match["question"].strip().strip("*").strip()) for match in matches if match]
    return list(dict.fromkeys(questions))[:limit]
