"""The schemas of what was answered and found."""

import pyarrow as pa

from sys2ft.tables.columns import CELL, ITEM, SCORES, SEEN, make_schema

ANSWERS = make_schema(
    "answers",
    *CELL,
    ITEM,
    ("question_id", pa.string(), "The question."),
    ("kind", pa.string(), "recall, inference or application."),
    ("condition", pa.string(), "closed_book, in_context or other_news."),
    ("control", pa.string(), "'none', blank_question or other_adapter."),
    *SEEN,
    *SCORES,
)
RETENTION = make_schema(
    "retention",
    *CELL,
    ("item", pa.string(), "The item whose adapter answered; 'all' where the split has one, 'none' for the base."),
    ("task", pa.string(), "The task of lm_eval."),
    ("document", pa.int32(), "The number of its question or text."),
    ("metric", pa.string(), "What lm_eval calls the measure."),
    ("filter", pa.string(), "How the answer was read; 'none' where there is one way."),
    ("value", pa.float64(), "Of that document; of a perplexity its logarithm: nats a word or byte."),
    ("higher_is_better", pa.bool_(), "Whether a larger value is a better one."),
    ("adapter", pa.string(), "Digest of the adapter that answered; null for the base model."),
)
PROVENANCE = (
    ("revision", pa.string(), "The learner's: a commit, or a digest of its file."),
    ("model_digest", pa.string(), "Of the learner as it was prepared: revision, precision, converted files."),
    ("items_digest", pa.string(), "Of the rows of `items` that were asked about."),
    ("questions_digest", pa.string(), "Of the rows of `questions` that were asked."),
    (
        "studies",
        pa.list_(
            pa.struct(
                [
                    ("kind", pa.string()),
                    ("prompts_version", pa.int32()),
                    ("teacher_revision", pa.string()),
                    ("digest", pa.string()),
                ]
            )
        ),
        "Each kind of its study data: version of the prompts, revision of the teacher, digest of the study rows.",
    ),
    ("sequences_digest", pa.string(), "Of the training rows that it was trained on."),
    ("adapters_digest", pa.string(), "Of what was learned, milestones too, as it answered."),
    (
        "code_versions",
        pa.list_(pa.struct([("stage", pa.string()), ("version", pa.int32())])),
        "Of the code of each stage on its way, when it ran.",
    ),
    (
        "environment",
        pa.list_(pa.struct([("package", pa.string()), ("version", pa.string())])),
        "Versions of Python and of packages where it was trained.",
    ),
)
"""Null where it was written before origins were kept; `sys2ft.origins` says how a digest is computed."""
CELLS = make_schema(
    "cells",
    *CELL,
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
    *PROVENANCE,
)
AUDIT = make_schema(
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
EFFECTS = make_schema(
    "effects",
    ("model", pa.string(), "The learner."),
    ("method", pa.string(), "What was updated."),
    ("protocol", pa.string(), "How it was trained."),
    ("teacher", pa.string(), "Who wrote the study data."),
    ("split", pa.string(), "The set of items; 'all' for all of the grid."),
    ("mode", pa.string(), "As in `answers`; of retention_change the task, its metric and, of several, the filter."),
    ("measure", pa.string(), "closed_book, in_context, closed_book_gain, ft_icl_gap, ..."),
    (
        "versus",
        pa.string(),
        "Compared with: the protocol, in shadowing and protocol_contrast; the model, in size_contrast; else null.",
    ),
    (
        "prefix",
        pa.string(),
        "In shadowing what stands before: own_news, other_news, filler, with `+loss` where it is trained; else null.",
    ),
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
    (
        "p",
        pa.float64(),
        "Two-sided test that net is 0 (of retention_change, the change itself); null without a control.",
    ),
    ("p_holm", pa.float64(), "The same, corrected within its family (Holm)."),
    ("family", pa.string(), "What is corrected together, of one control, mode and split."),
    ("control", pa.string(), "The control it stands beside."),
    ("control_estimate", pa.float64(), "The same measure under the control."),
    ("control_low", pa.float64(), "Lower end of its interval."),
    ("control_high", pa.float64(), "Upper end of its interval."),
    ("net", pa.float64(), "Measure minus control, paired on the same questions."),
    ("net_low", pa.float64(), "Lower end of its interval."),
    ("net_high", pa.float64(), "Upper end of its interval."),
    (
        "detectable",
        pa.float64(),
        "The smallest net that this design finds with the stated power; without a control, of the measure itself.",
    ),
    ("verdict", pa.string(), "In words: what the interval and the control allow to say."),
)
LEARNED = (
    ("model", pa.string(), "The learner."),
    ("method", pa.string(), "What was updated."),
    ("protocol", pa.string(), "How it was trained."),
    ("teacher", pa.string(), "Who wrote the study data."),
    ("split", pa.string(), "The set of items; 'all' for all of the grid."),
    ("mode", pa.string(), "As in `answers`; 'none' for a loss."),
)
DYNAMICS = make_schema(
    "dynamics",
    *LEARNED,
    ("measure", pa.string(), "closed_book, in_context, closed_book_gain, overexposure or loss (nats)."),
    ("control", pa.string(), "'none' as measured, or blank_question: every term with the question blanked."),
    ("samples_seen", pa.int64(), "Training sequences that a learner has seen, all of its own where it has fewer."),
    ("tokens_seen", pa.int64(), "Tokens of them, summed over learners, mean over seeds; null for the base."),
    ("train_flops", pa.float64(), "FLOPs of training on them, likewise."),
    ("items", pa.int32(), "Clusters of the bootstrap: items; of a loss the learners, one an item or one a split."),
    ("questions", pa.int32(), "Questions; null for a loss."),
    ("seeds", pa.int32(), "Seeds."),
    ("estimate", pa.float64(), "The measure."),
    ("low", pa.float64(), "Lower end of its interval; null where there are too few items."),
    ("high", pa.float64(), "Upper end of it."),
)
PARAMETER = pa.struct([("name", pa.string()), ("value", pa.float64()), ("low", pa.float64()), ("high", pa.float64())])
SCALING = make_schema(
    "scaling",
    *LEARNED[1:],
    ("measure", pa.string(), "closed_book or loss (nats)."),
    ("control", pa.string(), "'none' as measured, or blank_question."),
    ("x", pa.string(), "What it is set against: samples_seen, train_flops, total_flops or parameters."),
    ("form", pa.string(), "constant, log_linear, log_linear_size, power, power_size or chinchilla."),
    ("chance", pa.float64(), "The accuracy of a guess, which is taken off; null for a loss."),
    ("points", pa.int32(), "Points fitted to."),
    ("models", pa.int32(), "Sizes of models among them."),
    ("parameters", pa.list_(PARAMETER), "Of the form, each with its interval; empty where it was not fitted."),
    ("huber", pa.float64(), "Sum of the Huber losses."),
    ("aic", pa.float64(), "Akaike's criterion, corrected for few points; null where there are too few."),
    ("bic", pa.float64(), "Schwarz's criterion."),
    ("held_out", pa.string(), "The largest model, left out to be predicted; null where too few others are left."),
    ("held_out_error", pa.float64(), "Root mean square of predicted minus measured for it: of an accuracy, or nats."),
    ("held_out_low", pa.float64(), "Lower end of its interval."),
    ("held_out_high", pa.float64(), "Upper end of it."),
    ("verdict", pa.string(), "identified, or not identifiable, and why."),
)
