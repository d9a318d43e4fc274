"""The subject as it was found: which weights, which tokenizer, which SAE, by digest."""

from typing import Annotated

from pydantic import Field

from compliance.records.base import Record

NEURONPEDIA_ID = "[A-Za-z0-9][A-Za-z0-9_.@+-]{0,127}/[A-Za-z0-9][A-Za-z0-9_.@+-]{0,127}"
"""Model and source as Neuronpedia spells them; an export makes folders of both."""


class SaeFacts(Record):
    """An SAE as it was loaded."""

    name: str
    """Folder name, or ``release/id``."""

    digest: str
    """Over its weights and configuration."""

    architecture: str
    hook_name: str
    d_in: int
    d_sae: int
    normalisation: str
    dtype: str
    """Of the stored weights; computation is in the subject's dtype."""

    context_size: int | None = None
    """Tokens of context it was trained on; longer items are flagged."""

    activation_scale: float | None = None
    """Factor on activations that ``audit.yaml`` gave, where the SAE needs one."""

    centres_input: bool = False
    """Whether the mean over d_model is subtracted first (TransformerLens-processed GPT-2)."""

    neuronpedia_id: Annotated[str, Field(pattern=f"^{NEURONPEDIA_ID}$")] | None = None
    """Model and source under which Neuronpedia shows it, such as
    ``gemma-2-2b/20-gemmascope-res-16k``; as its configuration says."""


class ModelFacts(Record):
    """A model and its tokenizer as they were loaded."""

    name: str
    """Hub id, or the folder's or file's own name; never a path of the machine."""

    revision: str | None = None
    architecture: str
    weights_digest: str
    """Over every weight file's sha256, ordered by name."""

    config_digest: str | None = None
    """Of ``config.json``, which says what the weights mean; absent for a file that holds both."""

    tokenizer_digest: str
    parameters: int
    layers: int
    d_model: int
    dtype: str
    chat_template: bool


class Environment(Record):
    """What the run was computed with. Differences move the last digits, never the verdict rules."""

    python: str
    packages: dict[str, str]
    machine: str
    device: str


REFERENCE_MODE = ("float32", "cpu")
"""Number format and device. What a run in any other mode gives is compared with it."""


def in_reference_mode(model: ModelFacts, environment: Environment) -> bool:
    """Whether a run computed in float32 on the CPU."""
    return (model.dtype, environment.device) == REFERENCE_MODE
