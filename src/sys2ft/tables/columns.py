"""Columns that several tables share, and how a schema is made."""

import pyarrow as pa


def make_schema(table: str, *columns: tuple[str, pa.DataType, str]) -> pa.Schema:
    """The schema of a table: each column with its name, its kind and a sentence."""
    fields = [pa.field(name, kind, metadata={"description": text}) for name, kind, text in columns]
    return pa.schema(fields, metadata={"table": table})


def name_of(schema: pa.Schema) -> str:
    """What the table of a schema is called."""
    return schema.metadata[b"table"].decode()


MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
CELL = (
    ("model", pa.string(), "The learner's name in the catalogue."),
    ("method", pa.string(), "What is updated; 'none' for the base model."),
    ("protocol", pa.string(), "How items become training sequences; 'none' for the base model."),
    ("teacher", pa.string(), "Who wrote the study data; 'none' where there is none."),
    ("split", pa.string(), "The set of items."),
    ("seed", pa.int32(), "The seed of the cell; null for the base model."),
)
ITEM = ("item", pa.string(), "The item's id.")
SCORES = (
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
SEEN = (
    ("samples_seen", pa.int64(), "Training sequences that who answers has seen; 0 for the base model."),
    ("milestone", pa.bool_(), "Whether its training went on after this."),
)
STUDY_KEYS = (
    ("teacher", pa.string(), "The model that wrote, by its name in the catalogue."),
    ("kind", pa.string(), "paraphrase, implication, self_qa, ..."),
    ("split", pa.string(), "The set of items."),
    ("seed", pa.int32(), "The seed of the cell."),
    ITEM,
)
