"""The values that go into a translator and come out of it. A translator is a module with this shape:

    OUTCOMES: outcomes.Table                                         what becomes of each of OpenAI's features
    media_urls(chat, endpoint) -> tuple[str, ...]                    what must be fetched first
    request(chat, endpoint, media, remembered) -> UpstreamRequest    OpenAI's body → the provider's
    response(body, context, created, request_id) -> Answer           the provider's whole answer → OpenAI's
    error(status, headers, body) -> LLMError                         the provider's refusal → ours
    Decoder(context, created, request_id)                            the provider's stream → OpenAI's

All are pure: no I/O, no clock, no randomness. `request` never changes `chat`, since a retry translates it again. What
is made anew for each request is a dataclass that is not frozen: making a frozen one costs three times as much.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol

from translators.errors import LLMError
from translators.outcomes import Dropped, Table, Unsupported
from translators.usage import Usage

Json = dict[str, Any]
Thinking = Literal["none", "budget", "adaptive", "level"]

NONE: Mapping[str, Any] = MappingProxyType({})
ENDPOINTS = 4096  # of which a dialect keeps in mind what follows from them alone


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What one model accepts (models.yaml). Limits are tokens; None is unknown."""

    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    sampling: bool = True  # takes temperature, top_p, top_k
    thinking: Thinking = "none"  # how reasoning is asked for
    thinking_always: bool = False  # it cannot be turned off
    reasons: bool | None = None  # whether it may reason at all; None: nothing is known of it
    efforts: tuple[str, ...] = ()  # the levels of effort it knows; empty: no such control
    structured_output: bool = True  # takes a JSON schema natively
    prefill: bool = True  # may continue an assistant message that stands last
    forced_tool: bool = True  # may be made to call a tool
    mid_system: bool = False  # takes system messages within the conversation
    vision: bool = True
    pdf: bool = True
    audio: bool = False
    video: bool = False
    strict_tools: bool = True  # holds a tool call to its schema
    # on Bedrock:
    own_words: Literal["", "anthropic", "nova", "openai"] = ""  # whose parameters additionalModelRequestFields takes
    serial_tools: bool = False  # can be kept from calling tools in parallel


@dataclass(frozen=True, eq=False, slots=True)
class Endpoint:
    """One target of a route, resolved: where the request goes and what waits there.

    Made once and told apart by identity, so that what follows from it alone (headers, say) can be kept in mind.
    """

    provider: str
    base_url: str  # no slash at the end
    api_key: str | None = field(repr=False)
    model: str  # the provider's own name for it
    facts: ModelFacts = ModelFacts()
    headers: Mapping[str, str] = field(default_factory=dict)  # the operator's own, from routes.yaml
    unsupported: Unsupported = "refuse"
    region: str = ""  # Bedrock's
    project: str = ""  # Vertex's
    location: str = ""  # Vertex's
    api_version: str = ""  # Azure's, where its path names the deployment
    # what a host that speaks OpenAI's shape does differently:
    drop: frozenset[str] = frozenset()
    rename: Mapping[str, str] = field(default_factory=dict)
    stream_usage: bool = True  # knows stream_options


class Media(NamedTuple):
    """Bytes fetched for a provider that wants them inline."""

    mime: str
    data: bytes


@dataclass(slots=True)
class Context:
    """What the answer's side must know of the request."""

    model: str = ""
    include_usage: bool = False  # the client asked for the usage chunk
    tool_names: Mapping[str, str] = field(default_factory=lambda: NONE)  # name on the provider's wire → the client's
    json_tool: str | None = None  # the tool forced in place of response_format: its arguments are the content
    custom_tools: frozenset[str] = frozenset()  # OpenAI custom tools sent as functions, by their names here
    function_call: bool = False  # asked with the deprecated `functions`: the call is handed out as `function_call`


@dataclass(slots=True)
class UpstreamRequest:
    """Always a POST. `dropped` is what the provider has no word for, to be reported to the client."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    context: Context
    dropped: tuple[Dropped, ...] = ()


@dataclass(slots=True)
class Answer:
    """A whole answer: the body for the client as JSON bytes, what it used, and what to remember of it.

    `remember` maps a tool-call id, or `text_key(text)`, to the signed reasoning that belongs before it.
    """

    body: bytes
    usage: Usage
    remember: Mapping[str, Any] = field(default_factory=lambda: NONE)


class Decoder(Protocol):
    """A provider's stream in, OpenAI's out, frame by frame (`data: {…}` and a blank line)."""

    @property
    def usage(self) -> Usage:
        """What is known so far: a broken stream is billed too."""
        ...

    @property
    def started(self) -> bool:
        """Content has gone out: no other target may answer any more."""
        ...

    @property
    def finished(self) -> bool:
        """Every choice that was begun has its finish: what it used may follow, but no more of it."""
        ...

    @property
    def done(self) -> bool:
        """The provider's end marker has come: nothing behind it counts."""
        ...

    @property
    def output_bytes(self) -> int:
        """UTF-8 bytes of text, reasoning and arguments so far, for an estimate where usage never came."""
        ...

    @property
    def remember(self) -> Mapping[str, Any]:
        """As in Answer, complete after close()."""
        ...

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes. Raises LLMError for an error event or for what cannot be read."""
        ...

    def close(self) -> list[bytes]:
        """The last frames. Raises LLMError("bad_upstream") when the provider's end marker was never seen."""
        ...


class MakeDecoder(Protocol):
    def __call__(self, context: Context, created: int, request_id: str) -> Decoder: ...


class Translator(Protocol):
    """A dialect, as a module."""

    @property
    def OUTCOMES(self) -> Table: ...
    @property
    def Decoder(self) -> MakeDecoder: ...
    def media_urls(self, chat: Json, endpoint: Endpoint) -> tuple[str, ...]: ...
    def request(
        self, chat: Json, endpoint: Endpoint, media: Mapping[str, Media], remembered: Mapping[str, Any]
    ) -> UpstreamRequest: ...
    def response(self, body: bytes, context: Context, created: int, request_id: str) -> Answer: ...
    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> LLMError: ...
