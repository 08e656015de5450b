"""What exists: models, methods, protocols, kinds of study data, teachers and splits, each under a name."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from sys2ft.settings.base import Dtype, Frozen, Mode, Name, check_template
from sys2ft.settings.methods import HalfSettings, LiftSettings, LinesSettings, MaskedInputSettings
from sys2ft.settings.resources import ModelResources, ModelShape

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class HubSource(Frozen):
    """A repository on the Hugging Face hub, at one commit."""

    kind: Literal["hub"]
    repository: str
    """`owner/name`."""
    revision: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
    """The full commit, so that a moved branch cannot change results."""


class DirectorySource(Frozen):
    """A local directory with safetensors, `config.json` and a tokenizer."""

    kind: Literal["directory"]
    path: str
    """Relative to the project, or absolute."""


class GgufSource(Frozen):
    """A GGUF file on disk or inside an installed Python package (found without importing it)."""

    kind: Literal["gguf"]
    file: str
    """The file's path; inside the package's folder where `package` is given."""
    package: str | None = None
    """The import name of the package that ships the file as data."""
    sha256: Sha256
    """Checked before any work starts."""


class RandomSource(Frozen):
    """A model of random weights with a byte-level tokenizer, for tests and for measuring speed."""

    kind: Literal["random"]
    architecture: Name
    """A transformers `model_type`, such as `llama`."""
    shape: dict[str, int]
    """Arguments of its configuration class, such as `hidden_size`."""
    seed: int = 0


class ModelSettings(Frozen):
    """A causal language model that can learn, teach, or both."""

    source: HubSource | DirectorySource | GgufSource | RandomSource = Field(discriminator="kind")
    dtype: Dtype = "bfloat16"
    """Of the frozen weights and of the arithmetic; adapters are kept in float32."""
    licence: str = ""
    shape: ModelShape | None = None
    """For what its jobs need to be computed before it is fetched; null: that of its source or of the prepared model."""
    resources: ModelResources = ModelResources()


class MethodSettings(Frozen):
    """What is updated, and how. `lora` with `per: item`: all items of a split are trained at once, side by side."""

    kind: Literal["lora", "full"] = "lora"
    """Low-rank adapters on a frozen model, or all of its weights."""
    per: Literal["item", "split"] = "item"
    """Whether every item has a learner of its own, or all items of a split share one, which takes them in turn."""
    half: HalfSettings | None = None
    """With `full`: Half Fine-Tuning."""
    lift: LiftSettings | None = None
    """With `full`: principal weights only."""
    masked_input: MaskedInputSettings | None = None
    """Random input tokens of what is trained are hidden."""
    lines: LinesSettings | None = None
    """After training the update is scaled by depth."""
    distill_top_k: int | None = Field(None, ge=1)
    """Of distilled protocols: how many of the base's likeliest tokens are imitated, all others counting as one; null:
    the whole vocabulary."""
    rank: int = Field(16, ge=1, multiple_of=8)
    """A multiple of 8, as grouped matrix products on GPUs ask for."""
    alpha: float = Field(32.0, gt=0)
    """The update is scaled by alpha / rank."""
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    """Last names of the linear modules that get an adapter; [all-linear]: all but the output layer."""
    lr: float = Field(5e-4, gt=0)
    """Constant after warm-up, so that a learning curve can be read off one run."""
    warmup_steps: int = Field(2, ge=0)
    batch_size: int = Field(4, ge=1)
    """Sequences a step and adapter."""
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    """Of each adapter's own gradient."""

    @model_validator(mode="after")
    def _fields_of_the_kind(self) -> "MethodSettings":
        if "all-linear" in self.targets and len(self.targets) > 1:
            raise ValueError("all-linear says it all; remove the other targets")
        if self.kind != "full" and (self.half or self.lift):
            raise ValueError("half and lift choose among all weights; write kind: full, or remove them")
        if self.half and self.lift:
            raise ValueError("half and lift exclude each other; give one of them")
        if self.lift and self.weight_decay:
            raise ValueError("lift leaves most weights as they are, and weight_decay would not; set weight_decay: 0")
        return self


class ProtocolSettings(Frozen):
    """How items and study data become training sequences.

    It trains the news itself, study data of one kind (`study`) or general text (`replay`), or it mixes other protocols.
    """

    study: Name | None = None
    """The kind of study data that is trained; null: the news itself."""
    replay: Name | None = None
    """A set of general text that is trained in place of news, against forgetting."""
    mix: dict[Name, Annotated[float, Field(gt=0)]] | None = Field(None, min_length=2)
    """Other protocols and their weights: every stretch of the training order holds them in this proportion."""
    ask: str = ""
    """What the user asks in the trained sequence; {title}, and {question} where the kind has questions."""
    prefix: Literal["none", "own_news", "other_news", "filler"] = "none"
    """What stands before the sequence, as the news does in in-context evaluation (contextual shadowing): the item,
    the next item of the split, or neutral prose with as many tokens as the item."""
    prefix_loss: bool = False
    """Whether the prefix is trained as well."""
    objective: Literal["sft", "distill"] = "sft"
    """`sft` trains the text itself; `distill` trains what the frozen base says token by token on the same text with
    the item in its context (context or prompt distillation)."""

    @field_validator("ask")
    @classmethod
    def _ask(cls, ask: str) -> str:
        return check_template(ask, {"title", "question"}, set())

    @model_validator(mode="after")
    def _fields_agree(self) -> "ProtocolSettings":
        if sum(given is not None for given in (self.study, self.replay, self.mix)) > 1:
            raise ValueError("study, replay and mix exclude each other; give one of them")
        if self.mix is not None and (self.ask or self.prefix != "none" or self.prefix_loss or self.objective != "sft"):
            raise ValueError("a mix takes ask, prefix and objective from its protocols; remove them here")
        if self.objective == "distill" and (self.prefix != "none" or self.replay):
            raise ValueError(
                "a distilled sequence has the news in context for the base alone; remove prefix and replay"
            )
        if self.prefix_loss and self.prefix == "none":
            raise ValueError("prefix_loss without a prefix; set prefix: own_news or remove prefix_loss")
        if self.mix is None and not self.ask:
            raise ValueError("ask is missing; write what the user asks")
        if self.replay is not None and (self.prefix != "none" or self.ask != "{question}"):
            raise ValueError('replay has questions of its own and no prefix; write ask: "{question}" and no prefix')
        return self


class ReplaySettings(Frozen):
    """A set of general text: a file, or a data set on the Hugging Face hub at one commit."""

    path: str | None = None
    """A YAML file of questions and texts."""
    repository: str | None = None
    """`owner/name` of a data set on the hub."""
    revision: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")] | None = None
    """The full commit."""
    split: str = "train"
    question: str = "instruction"
    """The column with what is asked."""
    text: str = "response"
    """The column with what is answered."""
    empty: tuple[str, ...] = ()
    """Columns that must be empty: a row with more context than its question is left out."""
    rows: int = Field(1000, ge=1)
    """The first rows of the set that are used."""
    licence: str = ""

    @model_validator(mode="after")
    def _file_or_hub(self) -> "ReplaySettings":
        if (self.path is None) == (self.repository is None):
            raise ValueError("path and repository are both given or both missing; give one of them")
        if (self.repository is None) != (self.revision is None):
            raise ValueError("repository and revision belong together; give the full commit of the data set")
        return self


class KindSettings(Frozen):
    """A kind of study data: the file with its prompts, and how much is written at once."""

    prompts: str
    """A file as in `config/prompts/`, relative to the project."""
    per_call: int = Field(1, ge=1)
    """Entries asked for in one call of the first step; fills {number}."""
    list_calls: int = Field(1, ge=1)
    """Calls of the first step, where the study rows go round its entries or their pairs."""
    list_max_new_tokens: int = Field(256, ge=1)
    """Of a call of the first step."""
    max_new_tokens: int = Field(256, ge=1)
    """Of a study row."""
    min_kept: float = Field(0.25, ge=0, le=1)
    """A cell fails when a smaller share of an item's study rows was kept."""


class TeacherSettings(Frozen):
    """Who writes study data. `self` stands for the learner; a model's name stands for that model."""

    engine: Literal["transformers", "vllm", "openai", "recorded"] = "transformers"
    """`transformers` and `vllm` run a model; `openai` asks a server; `recorded` reads what was written before."""
    model: Name | None = None
    """A catalogue model; null where the teacher's own name says it, for a served model and recorded study data."""
    path: str | None = None
    """The YAML file of recorded study data."""
    endpoint: str | None = Field(None, pattern=r"^https?://")
    """The base URL of a server that speaks OpenAI's protocol; null: the environment variable OPENAI_BASE_URL, so that
    a server at another place makes nothing stale."""
    served_model: str | None = None
    """What the server calls the model."""
    revision: str | None = None
    """Which weights are served, in your words (a commit, a date): a server does not tell, and results depend on it."""
    parameters: int | None = Field(None, ge=1)
    """Of the served model, to count the FLOPs of generation; null: unknown, and so are they."""
    api_key_env: Name = "OPENAI_API_KEY"
    """The environment variable that holds the key; a key never stands in a configuration."""
    temperature: float = Field(0.8, gt=0)
    top_p: float = Field(0.95, gt=0, le=1)
    top_k: int | None = Field(64, ge=1)
    """Sampling looks at no more than this many tokens; null: at all, and a server is told nothing of it."""
    batch_size: int = Field(16, ge=1)
    """Requests decoded together, or in flight at a server."""
    shards: int = Field(1, ge=1)
    """Jobs that share the items of a split; each has the GPUs of the model's resources."""
    resources: ModelResources = Field(ModelResources(), exclude=True)
    """Of a job that asks a server or reads a file; a model that runs has resources of its own. No job is told."""

    @model_validator(mode="after")
    def _fields_of_the_engine(self) -> "TeacherSettings":
        if (self.engine == "recorded") != (self.path is not None) or (self.path and self.model):
            raise ValueError("engine, path and model disagree; give path (and no model) with engine 'recorded' only")
        if self.engine == "openai" and None in (self.served_model, self.revision):
            raise ValueError("engine 'openai' needs served_model and revision; give both")
        if self.engine != "openai" and (self.endpoint or self.served_model or self.revision or self.parameters):
            raise ValueError("endpoint, served_model, revision and parameters belong to engine 'openai'; remove them")
        if self.engine == "openai" and self.model:
            raise ValueError("a served model is no catalogue model; remove model")
        return self


class SplitSettings(Frozen):
    """A set of items: a file, or one drawn from a seed."""

    path: str | None = None
    """A YAML file of items and questions, or a Parquet or JSON lines table with a row a question."""
    generator: Literal["reversal_curse", "nonsense_reversals", "syllogisms", "semantic_structure"] | None = None
    """A procedural set of Lampinen et al. (2025), in place of a file."""
    seed: int = 0
    """Of the generator; the seeds of the grid repeat training on the same items."""
    size: int | None = Field(None, ge=1)
    """People, facts, syllogisms or categories of the generator; null: as many as in the paper."""
    modes: tuple[Mode, ...] | None = Field(None, min_length=1)
    """How its questions are put; null: cloze for a generator, as in the paper, and the modes of scoring for a file."""
    leak_options: bool | None = None
    """Whether a study row that holds an option, word for word, gives a question away; null: not for a generator, whose
    options are what a teacher is to infer (the reversal of a comparison)."""

    @model_validator(mode="after")
    def _file_or_generator(self) -> "SplitSettings":
        if (self.path is None) == (self.generator is None):
            raise ValueError("path and generator are both given or both missing; give either path or generator")
        if self.path is not None and (self.seed or self.size):
            raise ValueError("seed and size belong to a generator; remove them")
        return self
