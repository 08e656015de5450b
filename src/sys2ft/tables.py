"""The tables between the stages: one schema each, written whole or not at all.

Keys of the path are columns too, so that a table can be read apart from its place. A missing value is null.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq


def _schema(table: str, *columns: tuple[str, pa.DataType, str]) -> pa.Schema:
    fields = [pa.field(name, kind, metadata={"description": text}) for name, kind, text in columns]
    return pa.schema(fields, metadata={"table": table})


def name_of(schema: pa.Schema) -> str:
    """What the table of a schema is called."""
    return schema.metadata[b"table"].decode()


_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_CELL = (
    ("model", pa.string(), "The learner's name in the catalogue."),
    ("method", pa.string(), "What is updated; 'none' for the base model."),
    ("protocol", pa.string(), "How items become training sequences; 'none' for the base model."),
    ("teacher", pa.string(), "Who wrote the study data; 'none' where there is none."),
    ("split", pa.string(), "The set of items."),
    ("seed", pa.int32(), "The seed of the cell; null for the base model."),
)
_ITEM = ("item", pa.string(), "The item's id.")
_SCORES = (
    ("mode", pa.string(), "letter, cloze, statement, generate or generate_reasoned."),
    ("gold", pa.int32(), "Index of the right option."),
    ("choice", pa.int32(), "Index of the option with the highest score, or that the text names; null where unread."),
    ("choice_sum", pa.int32(), "The same by summed log-probability; this and what follows is null in written modes."),
    (
        "choice_unconditional",
        pa.int32(),
        "The same by `logprobs` minus `unconditional`; null but in cloze, and blanked in closed book (all are 0).",
    ),
    (
        "correct",
        pa.float64(),
        "Share of the option orders in which `choice` was right; 0 or 1 but in letter; null where unread.",
    ),
    ("completion", pa.string(), "What the model wrote; null where options are scored."),
    (
        "unread",
        pa.string(),
        "Why no option was read in it: no_answer_line, none, several, unclear; null where one was.",
    ),
    ("finish", pa.string(), "'stop' or 'length' (cut by the limit); null where options are scored."),
    ("scores", pa.list_(pa.float64()), "An option's score: log-probability (letter) or its mean a token."),
    ("logprobs", pa.list_(pa.float64()), "Summed log-probability of an option, mean over orders."),
    (
        "unconditional",
        pa.list_(pa.float64()),
        "The same after the neutral question, closed book: what an option is worth by itself; null but in cloze.",
    ),
    ("option_tokens", pa.list_(pa.int32()), "Tokens of an option."),
    ("order_correct", pa.list_(pa.bool_()), "Correct or not in each order of the options."),
    ("adapter", pa.string(), "Digest of the adapter that answered; null for the base model."),
)
_SEEN = (
    ("samples_seen", pa.int64(), "Training sequences that who answers has seen; 0 for the base model."),
    ("milestone", pa.bool_(), "Whether its training went on after this."),
)
_STUDY = (
    ("teacher", pa.string(), "The model that wrote, by its name in the catalogue."),
    ("kind", pa.string(), "paraphrase, implication, self_qa, ..."),
    ("split", pa.string(), "The set of items."),
    ("seed", pa.int32(), "The seed of the cell."),
    _ITEM,
)

ITEMS = _schema(
    "items",
    ("split", pa.string(), "The set of items."),
    _ITEM,
    ("title", pa.string(), "A short headline."),
    ("date", pa.date32(), "The day the news is dated."),
    ("text", pa.string(), "The news."),
)
QUESTIONS = _schema(
    "questions",
    ("split", pa.string(), "The set of items."),
    _ITEM,
    ("question_id", pa.string(), "Unique in the data set."),
    ("kind", pa.string(), "recall, inference or application."),
    ("question", pa.string(), "What is asked, understandable without the news at hand."),
    ("options", pa.list_(pa.string()), "The options in the order of the file."),
    ("gold", pa.int32(), "Index of the right option."),
    ("why", pa.string(), "How the answer follows from the item; never shown to a model."),
    ("short_answer", pa.string(), "What a person would write who sees no options."),
    ("accepted_answers", pa.list_(pa.string()), "Other spellings that count as right."),
    ("statement", pa.string(), "Question and answer as one true sentence; null where there is none."),
    ("false_statement", pa.string(), "The same with a wrong option in the answer's place."),
)
COMPLETIONS = _schema(
    "completions",
    *_STUDY,
    ("request", pa.string(), "The request's id: item, call and number."),
    ("call", pa.string(), "list: entries to go on from; write: a study row; check: whether the news supports it."),
    ("number", pa.int32(), "Of the call; the study row's number for write and check."),
    ("entry", pa.string(), "What the list gave: a question, a way of studying, a pair; null without a list."),
    ("messages", _MESSAGES, "The prompt."),
    ("engine", pa.string(), "What ran the teacher."),
    ("revision", pa.string(), "The teacher's revision: a commit, or a digest of its file."),
    ("temperature", pa.float64(), "Sampling temperature; without meaning in recorded study data."),
    ("top_p", pa.float64(), "Nucleus of the sampling."),
    ("top_k", pa.int32(), "Most probable tokens that sampling looks at."),
    ("max_new_tokens", pa.int32(), "Limit of the completion."),
    ("request_seed", pa.int64(), "Seed of this request alone."),
    ("completion", pa.string(), "The teacher's text, untouched."),
    ("finish", pa.string(), "'stop' or 'length'."),
    ("prompt_tokens", pa.int32(), "Tokens of the prompt; null in recorded study data."),
    ("completion_tokens", pa.int32(), "Tokens of the completion; likewise."),
    ("flops", pa.float64(), "About 2 x parameters x (read + written tokens); null where they are unknown."),
    ("prompts_version", pa.int32(), "Version of the kind's prompts."),
)
STUDY = _schema(
    "study",
    *_STUDY,
    ("row", pa.int32(), "Number of the study row within its item."),
    ("request", pa.string(), "The request whose completion it was read from."),
    ("question", pa.string(), "The question, in kinds that have one."),
    ("text", pa.string(), "What is trained: a paraphrase, an implication, an answer."),
    ("status", pa.string(), "'kept', or why it was not: one of the reasons that `study_counts` counts."),
    ("overlap", pa.float64(), "The largest share of an evaluation question, or of its option, that stands in it."),
    ("overlap_question", pa.string(), "That question; null where nothing of any stands in it."),
)
STUDY_COUNTS = _schema(
    "study_counts",
    *_STUDY,
    ("rows", pa.int32(), "Study rows asked for."),
    ("kept", pa.int32(), "Rows that are trained."),
    ("unparsed", pa.int32(), "Left out: its entry of the list could not be read."),
    ("empty", pa.int32(), "Left out: no text."),
    ("too_long", pa.int32(), "Left out: more words than allowed, or cut off before the end of a sentence."),
    ("refusal", pa.int32(), "Left out: the teacher declined."),
    ("unsupported", pa.int32(), "Left out: asked again, the teacher says that the news does not support it."),
    ("unchecked", pa.int32(), "Left out: asked again, the teacher said neither yes nor no."),
    ("leaked", pa.int32(), "Left out: it overlaps an evaluation question."),
    ("near_duplicate", pa.int32(), "Left out: nearly the same as an earlier row."),
    ("largest_overlap", pa.float64(), "The largest overlap of a row with an evaluation question, kept or not."),
    ("leak_threshold", pa.float64(), "From which overlap on a row is left out."),
    ("prompts_version", pa.int32(), "Version of the kind's prompts."),
    ("requests", pa.int32(), "Completions the rows were read from."),
    ("teacher_prompt_tokens", pa.int64(), "Tokens the teacher read; null where nothing was counted."),
    ("teacher_tokens", pa.int64(), "Tokens the teacher wrote; likewise."),
    ("teacher_flops", pa.float64(), "About 2 x parameters x both; null where they are unknown."),
)
REPLAY = _schema(
    "replay",
    ("replay", pa.string(), "The set's name in the catalogue."),
    ("row", pa.int32(), "Number of the row."),
    ("question", pa.string(), "What is asked."),
    ("text", pa.string(), "What is trained."),
)
SEQUENCES = _schema(
    "sequences",
    *(column for column in _CELL if column[0] != "method"),
    _ITEM,
    ("position", pa.int32(), "Place in the item's training order."),
    ("part", pa.string(), "The protocol it comes from: the cell's own, or one that it mixes."),
    ("row", pa.int32(), "The row of study data or general text that it was made of; null for the news itself."),
    ("messages", _MESSAGES, "The chat."),
    ("token_ids", pa.list_(pa.int32()), "The rendered chat, as the learner reads it."),
    ("loss_mask", pa.list_(pa.bool_()), "True where the token is trained."),
    ("context_ids", pa.list_(pa.int32()), "The same with the news in context, which is imitated; null otherwise."),
    ("context_mask", pa.list_(pa.bool_()), "Its tokens that correspond to the trained ones; null otherwise."),
    ("n_tokens", pa.int32(), "Tokens of the sequence."),
    ("n_loss_tokens", pa.int32(), "Tokens with loss."),
)
TRAIN_LOG = _schema(
    "train_log",
    *_CELL,
    ("item", pa.string(), "The item whose adapter or model it is; 'all' where the whole split has one."),
    ("step", pa.int32(), "Optimiser step of the item's adapter, from 1."),
    ("loss", pa.float64(), "Mean loss of the trained tokens, in nats: negative log-likelihood, or divergence."),
    ("lr", pa.float64(), "Learning rate of the step."),
    ("grad_norm", pa.float64(), "Norm of the adapter's gradient before clipping."),
    ("samples", pa.int32(), "Sequences of the step."),
    ("tokens", pa.int32(), "Tokens of the step's sequences."),
    ("loss_tokens", pa.int32(), "Trained tokens of the step."),
    ("context_tokens", pa.int32(), "Tokens that the base read to be imitated."),
    ("computed_tokens", pa.int32(), "Tokens the whole bank's step computed: prefixes shared, no padding."),
    (
        "useful_share",
        pa.float64(),
        "Tokens that had to be read over those computed: 1 without padding, above where prefixes are shared.",
    ),
    ("seconds", pa.float64(), "Wall time of the whole bank's step."),
)
ANSWERS = _schema(
    "answers",
    *_CELL,
    _ITEM,
    ("question_id", pa.string(), "The question."),
    ("kind", pa.string(), "recall, inference or application."),
    ("condition", pa.string(), "closed_book, in_context or other_news."),
    ("control", pa.string(), "'none', blank_question or other_adapter."),
    *_SEEN,
    *_SCORES,
)
RETENTION = _schema(
    "retention",
    *_CELL,
    ("item", pa.string(), "The item whose adapter answered; 'all' where the split has one, 'none' for the base."),
    ("task", pa.string(), "The task of lm_eval."),
    ("document", pa.int32(), "The number of its question or text."),
    ("metric", pa.string(), "What lm_eval calls the measure."),
    ("filter", pa.string(), "How the answer was read; 'none' where there is one way."),
    ("value", pa.float64(), "Of that document; of a perplexity its logarithm: nats a word or byte."),
    ("higher_is_better", pa.bool_(), "Whether a larger value is a better one."),
    ("adapter", pa.string(), "Digest of the adapter that answered; null for the base model."),
)
CELLS = _schema(
    "cells",
    *_CELL,
    ("items", pa.int32(), "Items of the split."),
    ("questions", pa.int32(), "Questions of the split."),
    ("study_rows", pa.int32(), "Study rows generated; null without a teacher."),
    ("study_kept", pa.float64(), "Share of them that was kept; null without a teacher."),
    ("study_leaked", pa.int32(), "Rows left out as they overlap an evaluation question; null without a teacher."),
    ("largest_overlap", pa.float64(), "The largest overlap of a row with one; null without a teacher."),
    ("leak_threshold", pa.float64(), "From which overlap on a row is left out; null without a teacher."),
    ("match", pa.string(), "What the protocols are matched by: samples, tokens or flops."),
    ("amount", pa.float64(), "How many of it an item."),
    ("teacher_prompt_tokens", pa.int64(), "Tokens the teacher read; 0 without a teacher, null where not counted."),
    ("teacher_tokens", pa.int64(), "Tokens the teacher wrote; likewise."),
    ("teacher_flops", pa.float64(), "About 2 x parameters x (read + written tokens); likewise."),
    ("samples_seen", pa.int64(), "Training sequences, summed over items."),
    ("tokens_seen", pa.int64(), "Tokens of them."),
    ("loss_tokens_seen", pa.int64(), "Trained tokens of them."),
    ("train_flops", pa.float64(), "About 4 x parameters x tokens seen, 6 x where all weights are trained."),
    ("total_flops", pa.float64(), "Of the teacher and of training; null where the teacher's are unknown."),
    ("first_loss", pa.float64(), "Loss of the first step, mean over items."),
    ("last_loss", pa.float64(), "Loss of the last step, mean over items."),
    ("train_seconds", pa.float64(), "Wall time of the training steps."),
    ("useful_share", pa.float64(), "The same over all steps."),
)
AUDIT = _schema(
    "audit",
    ("name", pa.string(), "A way of answering without the news, or a rule that every question keeps."),
    ("questions", pa.int32(), "Questions looked at."),
    ("share", pa.float64(), "Answered rightly that way, or breaking the rule."),
    ("low", pa.float64(), "Lower end of its 95 % interval, clustered by item; null for a rule."),
    ("high", pa.float64(), "Upper end of its interval."),
    ("chance", pa.float64(), "What the interval must contain; 0 for a rule."),
    ("passed", pa.bool_(), "Whether it does, or no question breaks the rule."),
    ("broken_by", pa.list_(pa.string()), "The questions that are to be mended."),
)
EFFECTS = _schema(
    "effects",
    ("model", pa.string(), "The learner."),
    ("method", pa.string(), "What was updated."),
    ("protocol", pa.string(), "How it was trained."),
    ("teacher", pa.string(), "Who wrote the study data."),
    ("split", pa.string(), "The set of items; 'all' for all of the grid."),
    ("mode", pa.string(), "As in `answers`; of retention_change the task, its metric and, of several, the filter."),
    ("measure", pa.string(), "closed_book, in_context, other_news, closed_book_gain, ft_icl_gap, ..."),
    ("versus", pa.string(), "The protocol compared with, in shadowing and protocol_contrast; else null."),
    ("items", pa.int32(), "Items: the clusters of the bootstrap."),
    ("questions", pa.int32(), "Questions."),
    ("seeds", pa.int32(), "Seeds of the tuned model."),
    (
        "unread_share",
        pa.float64(),
        "Largest share of texts, over the measure's terms, that name no option; they count as not right.",
    ),
    ("estimate", pa.float64(), "The measure; null where it is undefined."),
    ("low", pa.float64(), "Lower end of its interval."),
    ("high", pa.float64(), "Upper end of its interval."),
    ("p", pa.float64(), "Two-sided test of no difference; null for a plain accuracy."),
    ("p_holm", pa.float64(), "The same, corrected within its family (Holm)."),
    ("control", pa.string(), "The control it stands beside."),
    ("control_estimate", pa.float64(), "The same measure under the control."),
    ("control_low", pa.float64(), "Lower end of its interval."),
    ("control_high", pa.float64(), "Upper end of its interval."),
    ("net", pa.float64(), "Measure minus control, paired on the same questions."),
    ("net_low", pa.float64(), "Lower end of its interval."),
    ("net_high", pa.float64(), "Upper end of its interval."),
    ("detectable", pa.float64(), "The smallest net difference this design finds with the stated power."),
    ("verdict", pa.string(), "In words: what the interval and the control allow to say."),
)
SCHEMAS = {
    name_of(schema): schema
    for schema in (
        ITEMS,
        QUESTIONS,
        COMPLETIONS,
        STUDY,
        STUDY_COUNTS,
        REPLAY,
        SEQUENCES,
        TRAIN_LOG,
        ANSWERS,
        RETENTION,
        CELLS,
        AUDIT,
        EFFECTS,
    )
}


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to it on success and removed on failure.

    A killed job thus leaves no half file under a name that anything reads. Works for files and directories.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    temporary = folder / path.name
    try:
        yield temporary
        if temporary.is_dir() and path.is_dir():
            path.rename(folder / "old")
        os.replace(temporary, path)
    finally:
        for child in sorted(folder.rglob("*"), reverse=True):
            child.rmdir() if child.is_dir() else child.unlink()
        folder.rmdir()


def build_table(
    schema: pa.Schema, rows: Sequence[Mapping[str, Any]], keys: Mapping[str, Any] | None = None
) -> pa.Table:
    """Rows as a table; `keys` are columns that all rows share.

    Raises:
        KeyError: a row lacks a column or has one that the schema does not know.
    """
    full = [{**(keys or {}), **row} for row in rows]
    for row in full:
        if odd := set(row) ^ set(schema.names):
            raise KeyError(f"table '{name_of(schema)}': columns {sorted(odd)} do not match its schema")
    return pa.Table.from_pylist(full, schema=schema)


def write_table(table: pa.Table, path: str | Path, settings: Mapping[str, Any] | None = None) -> None:
    """Write Parquet (zstd), or CSV where the path says so; whole or not at all.

    Args:
        settings: what made the table; kept in the file's metadata under `sys2ft`.
    """
    with atomic_path(path) as temporary:
        if str(path).endswith(".csv"):
            temporary.write_bytes(csv_bytes(table))
            return
        if settings is not None:
            table = table.replace_schema_metadata({"sys2ft": json.dumps(settings, sort_keys=True)})
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def csv_bytes(table: pa.Table) -> bytes:
    """A table as CSV."""
    stream = pa.BufferOutputStream()
    pyarrow.csv.write_csv(_flatten(table), stream)
    return stream.getvalue().to_pybytes()


def _flatten(table: pa.Table) -> pa.Table:
    """Lists and structs as JSON text: CSV has neither."""
    for index, field in enumerate(table.schema):
        if pa.types.is_nested(field.type):
            text = [None if value is None else json.dumps(value) for value in table[field.name].to_pylist()]
            table = table.set_column(index, field.name, pa.array(text, pa.string()))
    return table


def read_table(schema: pa.Schema, path: str | Path) -> pa.Table:
    """Read a table, and check the sums of its pages and that it has the columns of its schema.

    Raises:
        ValueError: the file is damaged, or holds other columns and was written by another version.
    """
    try:
        table = pq.ParquetFile(path, page_checksum_verification=True).read()
    except FileNotFoundError:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it and run again") from error
    if table.schema.remove_metadata() != schema.remove_metadata():
        raise ValueError(f"{path} does not have the columns of the table '{name_of(schema)}': delete it and run again")
    return table


def read_rows(schema: pa.Schema, *paths: str | Path) -> list[dict[str, Any]]:
    """The rows of one or more tables, in order."""
    return [row for path in paths for row in read_table(schema, path).to_pylist()]
