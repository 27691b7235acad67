"""Request bodies and answers over HTTP; the OpenAPI document is drawn from here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from mezzotint import Decoder, Towards
from mezzotint.serve.body import GREATEST, Number, RequestBody, Whole
from mezzotint.serve.wanting import WantedRequest

Temperature = Annotated[Number, Field(ge=0, le=100, allow_inf_nan=False, description="0 takes the likeliest token")]
TopP = Annotated[Number, Field(gt=0, le=1, allow_inf_nan=False, description="keep the likeliest tokens to this share")]
Count = Annotated[Whole, Field(ge=1, description="how many texts; limited by the server")]
Steps = Annotated[Whole, Field(ge=1, description="steps from noise to text; limited by the server")]
Seed = Annotated[
    Whole,
    Field(
        ge=0,
        le=GREATEST,
        description="where all random numbers come from. Those of text i hang on the seed and i alone, not on what "
        "else is written meanwhile. Rounding in the network can, and on rare occasions another token is taken for it, "
        "unless the server is deterministic: the model's `promise` says which holds",
    ),
]


class StreamOptions(RequestBody):
    include_usage: bool = False


class CompletionRequest(RequestBody):
    """OpenAI's completions; with a suffix, what stands between the two."""

    model: str
    prompt: Annotated[str, Field(description="how every text begins, byte for byte")] = ""
    suffix: Annotated[str | None, Field(description="how it ends: the model fills the gap between")] = None
    max_tokens: Annotated[
        Annotated[Whole, Field(ge=1, le=GREATEST)] | None,
        Field(description="where a completion is cut; with a suffix, the longest gap (8 unless given)"),
    ] = None
    n: Count | None = 1
    seed: Seed | None = 0
    temperature: Temperature | None = 1.0
    top_p: TopP | None = 1.0
    stop: Annotated[str | list[str] | None, Field(description="texts before which a completion is cut")] = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    echo: Annotated[bool | None, Field(description="put the prompt in front")] = False
    user: Annotated[str | None, Field(description="taken, and not kept")] = None
    steps: Steps = 32


class CanvasRequest(RequestBody):
    """Text in its own form: free, with a beginning, or with gaps; and the drafts on the way."""

    model: str
    template: Annotated[
        str | None,
        Field(description=r"text with gaps: [3] of three tokens, [1-4] of one to four, [ ] of one to eight; \[ for ["),
    ] = None
    prefix: Annotated[str | None, Field(description="how every text begins, where there is no template")] = None
    source: Annotated[str | None, Field(description="what to write from, for models that can translate")] = None
    n: Count = 1
    steps: Steps = 32
    seed: Seed = 0
    temperature: Temperature = 1.0
    top_p: TopP = 1.0
    decoder: Decoder = Decoder.EXACT
    threshold: Annotated[Number, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    strength: Annotated[Number, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    guidance: Annotated[Number, Field(ge=0, le=100, allow_inf_nan=False)] | None = None
    guide: Towards | None = None
    length: Annotated[Whole, Field(ge=1, le=GREATEST)] | None = None
    block: Annotated[Whole, Field(ge=1, le=GREATEST)] | None = None
    reuse: bool = False
    wanted: Annotated[WantedRequest | None, Field(description="what every text is to be like, of models that can")] = (
        None
    )
    stream: Annotated[bool, Field(description="send every draft as a server-sent event")] = False


Coordinate = Annotated[Number, Field(ge=-1000, le=1000, allow_inf_nan=False)]
Greedy = Annotated[Number, Field(ge=0, le=100, allow_inf_nan=False, description="0 takes the likeliest token")]


class EncodeRequest(RequestBody):
    """Texts whose places in a latent space are wanted."""

    model: str
    texts: Annotated[list[str], Field(min_length=1, description="limited by the server")]


class DecodeRequest(RequestBody):
    """Places in a latent space whose texts are wanted."""

    model: str
    points: Annotated[list[list[Coordinate]], Field(min_length=1, description="each as long as the model's `latent`")]
    seed: Seed = 0
    temperature: Greedy = 0.0
    top_p: TopP = 1.0


class WalkRequest(RequestBody):
    """Two texts; those on the straight line between them are wanted, both ends included."""

    model: str
    a: str
    b: str
    points: Annotated[Whole, Field(ge=2, description="how many texts; limited by the server")] = 7
    seed: Seed = 0
    temperature: Greedy = 0.0
    top_p: TopP = 1.0


class Points(BaseModel):
    """Where texts are: the mean of each one's posterior."""

    object: Literal["latent.points"] = "latent.points"
    model: str
    points: list[list[float]]


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    network_evaluations: Annotated[int, Field(description="of all texts together, as if each had been alone")]


class Choice(BaseModel):
    index: int
    text: str
    finish_reason: Literal["stop", "length"] | None
    logprobs: None = None


class Completion(BaseModel):
    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | None = None


class Piece(BaseModel):
    """One position of a draft."""

    text: str
    known: bool
    given: bool
    confidence: Annotated[float, Field(description="the probability with which it was chosen")]


class Frame(BaseModel):
    """One moment of a generation, as an event."""

    object: Literal["canvas.frame"] = "canvas.frame"
    step: int
    steps: int
    t: Annotated[list[float], Field(description="where each text is, from noise (1) to text (0)")]
    rows: list[list[Piece]]
    nfe: list[int]
    done: bool


class Text(BaseModel):
    index: int
    text: str
    seed: int
    steps: int
    nfe: Annotated[int, Field(description="network evaluations")]
    tokens: int
    gaps: Annotated[list[int], Field(description="how many tokens each gap was filled with")]
    candidates: Annotated[list[str], Field(description="what was chosen from, where it was written from a source")] = []
    note: Annotated[str | None, Field(description="what was wrong with the source")] = None
    unmet: Annotated[list[str], Field(description="what was wanted of it and does not hold")] = []


class Written(BaseModel):
    """The finished texts."""

    id: str
    object: Literal["canvas"] = "canvas"
    created: int
    model: str
    texts: list[Text]
    usage: Usage


class Model(BaseModel):
    """A run that is served, and what its card says."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "mezzotint"
    system: str
    title: str
    paper: str
    can: list[str]
    decoders: list[str]
    unit: Annotated[Literal["word", "piece"], Field(description="what a gap's number counts")]
    canvas: Annotated[int, Field(description="tokens that it writes at once")]
    layout: str
    promise: Annotated[
        Literal["random numbers", "tokens"],
        Field(description="what the same seed gives again, whatever else is written meanwhile"),
    ]
    says: Annotated[
        dict[str, list[str]], Field(description="what its texts can be wanted to say: fields and their values")
    ] = {}
    latent: Annotated[int | None, Field(description="numbers of a point in its latent space, where it has one")] = None


class Models(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]


class Fault(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class Failed(BaseModel):
    """What every refusal looks like."""

    error: Fault


class Health(BaseModel):
    status: Literal["ok"] = "ok"


FAULTS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Failed, "description": "what was wrong, in a sentence"},
    "5XX": {"model": Failed, "description": "a fault of the server"},
}
"""What every address may answer instead."""
