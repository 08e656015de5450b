"""The bill of a study: what each of its jobs that holds a model does, takes and asks for, before it runs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from sys2ft.cost.amounts import SplitSize, measure_split
from sys2ft.cost.answers import retention_work, score_work, write_work
from sys2ft.cost.calibration import Calibration, Keys, calibrate
from sys2ft.cost.devices import DEVICES
from sys2ft.cost.generation import generate_study_work, served_work
from sys2ft.cost.job import Job
from sys2ft.cost.memory import RESIDENT
from sys2ft.cost.models import check_parameters, find_shape
from sys2ft.cost.needs import (
    MEMORY_MARGIN,
    DoesNotFitError,
    Needs,
    Place,
    batch_that_fits,
    computes_on_all,
    find_place,
    job_needs,
    minutes,
    rounded,
)
from sys2ft.cost.shape import FAMILIES
from sys2ft.cost.training import fine_tune_work
from sys2ft.cost.work import Work, seconds
from sys2ft.errors import InputError
from sys2ft.grid import Cell
from sys2ft.news.items import NewsFile, open_split
from sys2ft.settings.resources import Launch, ModelResources, ModelShape
from sys2ft.settings.study import Study

RULES: Mapping[str, tuple[str, ...]] = {
    "generate_study": ("teacher", "kind", "split"),
    "fine_tune": ("model", "method", "protocol", "split"),
    "score_base": ("model", "split"),
    "score_answers": ("model", "method", "protocol", "split"),
    "write_base": ("model", "split"),
    "write_answers": ("model", "method", "protocol", "split"),
    "score_base_retention": ("model",),
    "score_retention": ("model", "method", "split"),
}
"""The rules that hold a model, and the wildcards that their cost depends on."""


@dataclass(frozen=True)
class Charge:
    """What a job costs.

    Attributes:
        needs: what it asks for.
        work: what it does; None where its model's shape is unknown and its resources are all given.
        seconds: what it is expected to take, calibrated; None likewise.
    """

    needs: Needs
    work: Work | None = None
    seconds: float | None = None

    @property
    def gpu_hours(self) -> float | None:
        """GPUs times hours."""
        return None if self.seconds is None else self.needs.all_gpus * self.seconds / 3600


@dataclass(frozen=True)
class _Held:
    """What a job holds, and where; without `job` no model runs, or its shape is unknown and its resources are given."""

    name: str
    resources: ModelResources
    job: Job | None = None
    place: Place | None = None


class Bill:
    """What the jobs of a study cost; each is worked out once.

    Args:
        file: what the configuration is called in messages.
        news: of splits that were read already; others are read when they are needed.
    """

    def __init__(
        self, study: Study, file: str | Path = "config/config.yaml", news: Mapping[str, NewsFile] | None = None
    ):
        self.study, self.file = study, file
        self._charges: dict[tuple[str, ...], Charge] = {}
        self._held: dict[tuple[str, ...], _Held] = {}
        self._shapes: dict[str, ModelShape | None] = {}
        self._sizes = {split: measure_split(content) for split, content in (news or {}).items()}

    def charge(self, rule: str, keys: Keys) -> Charge:
        """What a job costs.

        Args:
            rule: one of `RULES`.
            keys: its wildcards; those that its cost does not depend on are ignored.

        Raises:
            InputError: its model's shape is needed and unknown, or no number of GPUs holds it.
        """
        which = (rule, *(str(keys[name]) for name in RULES[rule]))
        if which not in self._charges:
            held, expected = self._hold(rule, keys), self.expected(rule, keys)
            if expected is not None:
                expected *= self.calibration.factor(rule, held.name)
            self._charges[which] = Charge(_needs(rule, held, expected or 0.0), self._work(rule, keys), expected)
        return self._charges[which]

    def resource(self, rule: str, name: str, keys: Keys, attempt: int = 1) -> int | str | None:
        """A resource of a rule's job, as `Needs.resource` has it."""
        return self.charge(rule, keys).needs.resource(name, attempt)

    def expected(self, rule: str, keys: Keys) -> float | None:
        """The seconds of a job before they are calibrated; None where they are unknown."""
        held, work = self._hold(rule, keys), self._work(rule, keys)
        if work is None or held.place is None:
            return None if work is None else seconds(work, DEVICES["cpu"])
        place, threads = held.place, held.resources.threads or 1
        device = DEVICES[self.study.device if place.gpu else "cpu"]
        gpus = max(1, place.gpu) if held.job is None or computes_on_all(held.job) else 1
        return seconds(work, device, threads, gpus, place.nodes)

    def launch(self, keys: Keys) -> Launch:
        """How a cell is fine-tuned, as `charge` finds it, before anything is said of time."""
        return _needs("fine_tune", self._hold("fine_tune", keys), 0.0).launch

    @cached_property
    def calibration(self) -> Calibration:
        """What the benchmark files in the results folder say of the bill."""
        jobs = ((rule, self._hold(rule, keys).name, keys) for rule, keys in self.jobs())
        return calibrate(self.study.results, jobs, self.expected)

    def jobs(self) -> Iterator[tuple[str, Keys]]:
        """All jobs of the grid that hold a model, or ask one, each once: rule and wildcards."""
        seen = set()
        for cell in self.study.cells():
            for rule, keys in _jobs_of(self.study, cell):
                which = (rule, *keys.values())
                if which not in seen:
                    seen.add(which)
                    yield rule, keys

    def check(self) -> None:
        """See that every job of the grid fits somewhere.

        Raises:
            InputError: as `charge` does.
        """
        for cell in dict.fromkeys(replace(cell, seed=0) for cell in self.study.cells()):
            for rule, keys in _jobs_of(self.study, cell):
                self._hold(rule, keys)

    # ------------------------------------------------------------------------------------------------------ one by one
    def _hold(self, rule: str, keys: Keys) -> _Held:
        which = (rule, *(str(keys[name]) for name in RULES[rule]))
        if which not in self._held:
            self._held[which] = self._find(rule, dict(zip(RULES[rule], which[1:], strict=True)))
        return self._held[which]

    def _find(self, rule: str, told: dict[str, str]) -> _Held:
        study, split = self.study, told.get("split", self.study.grid.split[0])
        size, shards = self.size(split), 1
        name = told.pop("model", "")
        if not name:
            teacher = study.teacher(told["teacher"])
            if teacher.model is None:
                return _Held(told["teacher"], teacher.resources)
            name, shards = teacher.model, teacher.shards
        shape, resources = self.shape(name), study.models[name].resources
        if shape is None:
            self._check_given(name, resources)
            return _Held(name, resources)
        job = Job(study, rule, name, shape, size, -(-size.items // shards), **told)
        try:
            return _Held(name, resources, job, find_place(job))
        except DoesNotFitError as error:
            smaller = "lower tokens_per_pass there or set activation_checkpointing: true, " * (rule == "fine_tune")
            mend = f"{smaller}take a device with more memory or fewer items, or write gpu, to try all the same"
            raise InputError(self.file, f"models.{name}.resources.gpu", str(error), mend) from None

    def _work(self, rule: str, keys: Keys) -> Work | None:
        held = self._hold(rule, keys)
        if held.job is not None and held.place is not None:
            return _work_of(held.job)
        if rule != "generate_study" or self.study.teacher(held.name).model:
            return None
        size, shards = self.size(str(keys["split"])), self.study.teacher(held.name).shards
        return served_work(self.study, held.name, str(keys["kind"]), size, -(-size.items // shards))

    def shape(self, name: str) -> ModelShape | None:
        """A model's shape; None where it is unknown.

        Raises:
            InputError: the architecture is unknown, or the prepared model has another number of parameters.
        """
        if name not in self._shapes:
            settings = self.study.models[name]
            shape = find_shape(name, settings, self.study.results)
            if shape is not None and shape.model_type not in FAMILIES:
                mend = (
                    f"write one of {', '.join(FAMILIES)}, or remove shape and give gpu, mem_mb and runtime in resources"
                )
                problem = f"the size of a {shape.model_type} is not known"
                raise InputError(self.file, f"models.{name}.shape.model_type", problem, mend)
            if shape is not None:
                check_parameters(name, settings, shape, self.study.results, self.file)
            self._shapes[name] = shape
        return self._shapes[name]

    def size(self, split: str) -> SplitSize:
        """The size of a split."""
        if split not in self._sizes:
            settings = self.study.splits[split]
            self._sizes[split] = measure_split(open_split(split, settings.path, self.study.validate_news_stage(split)))
        return self._sizes[split]

    def _check_given(self, name: str, resources: ModelResources) -> None:
        lacking = [field for field in ("gpu", "mem_mb", "runtime") if getattr(resources, field) is None]
        if lacking:
            random = self.study.models[name].source.kind == "random"
            problem = "incomplete" if random else "missing"
            problem += f", and {', '.join(lacking)} of its jobs would be computed from it"
            mend = "give its sizes" if random else "copy its keys from the model's config.json"
            mend += ", or write gpu, mem_mb and runtime in resources"
            raise InputError(self.file, f"models.{name}.{'source.' * random}shape", problem, mend)


def _jobs_of(study: Study, cell: Cell) -> Iterator[tuple[str, Keys]]:
    """The jobs that a cell needs, other cells may need too."""
    verbs = [{"answers": "score", "written": "write"}[artefact] for artefact in study.answers(cell.split)]
    keys = cell.keys()
    teacher = cell.resolved_teacher()
    for kind in study.kinds_of(cell.protocol):
        told = {"teacher": teacher, "kind": kind, "split": cell.split, "seed": cell.seed}
        yield from (("generate_study", told | {"shard": shard}) for shard in study.shards(teacher))
    yield from ((f"{verb}_base", {"model": cell.model, "split": cell.split}) for verb in verbs)
    yield "score_base_retention", {"model": cell.model}
    yield from ((rule, keys) for rule in ("fine_tune", *(f"{verb}_answers" for verb in verbs), "score_retention"))


def _work_of(job: Job) -> Work:
    if job.rule == "fine_tune":
        return fine_tune_work(job)
    if job.rule == "generate_study":
        return generate_study_work(job)
    if "retention" in job.rule:
        return retention_work(job, batch_that_fits(job))
    return score_work(job) if job.rule.startswith("score") else write_work(job)


def _needs(rule: str, held: _Held, expected: float) -> Needs:
    """What a job asks for; of one that holds no model, or none that is known, what was given or little."""
    if held.job is not None and held.place is not None:
        return job_needs(held.job, held.place, expected)
    given = held.resources
    told = given.model_dump(include={"deepspeed", "tokens_per_pass", "activation_checkpointing"})
    nodes, processes = given.nodes or 1, given.processes or max(1, given.gpu or 0)
    if rule != "fine_tune":  # all else is one process
        nodes, processes = 1, 1
    launch = Launch(nodes=nodes, processes=processes, **told)
    mem_mb = given.mem_mb or rounded(MEMORY_MARGIN * RESIDENT / 1e6, 500)
    runtime = given.runtime or minutes(expected)
    return Needs(given.threads or 1, given.gpu or 0, nodes, mem_mb, runtime, launch=launch)
