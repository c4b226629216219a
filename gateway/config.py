"""The three YAML files, read and checked whole: every fault of each is named, with its line and what would be right.

`${NAME}` and `${NAME:-default}` (a default may hold another) are expanded in the string values of routes.yaml, after
parsing, without the white space around what the environment has: a file that a secret is mounted from ends with a line
break. A name that is unset, or set to nothing, in a provider's `api_key`, `base_url`, `project` or `region` turns that
provider off; elsewhere it is a fault.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from yaml.cyaml import CBaseLoader

from gateway.demo import DROPPED, SCHEME
from gateway.prices.facts import Facts, ModelList
from gateway.prices.price_list import PriceList, Prices
from gateway.settings import DEMO, Provider, Settings, did_you_mean, misrouted
from gateway.settings import Path as Where

Checked = TypeVar("Checked", bound=BaseModel)

# name files in place of the built-in ones, in the order of `load`; `headgate serve` sets them for its workers
VARIABLES = ("HEADGATE_ROUTES", "HEADGATE_PRICING", "HEADGATE_MODELS")

_SECRET = frozenset({"api_key", "headers", "alert_url"})  # what stands there is not repeated in a message
_SWITCHES = ("api_key", "base_url", "project", "region")  # without its value, a provider is off
_SHAPES = {  # pydantic's word for a fault → ours, where its own speaks of Python
    "missing": "is required here",
    "model_type": "must be a mapping (name: value)",
    "dict_type": "must be a mapping (name: value)",
    "tuple_type": "must be a list",
    "frozen_set_type": "must be a list",
    "string_type": "must be a plain value",
}
_NOTHING = frozenset({"", "~", "null", "Null", "NULL"})
_OPENING = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(:-|\})")


@dataclass(frozen=True, slots=True)
class ConfigError:
    """One fault. `line` counts from 1; 0 where the file itself cannot be read."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"


class ConfigErrors(Exception):
    """Everything that is wrong with the configuration."""

    def __init__(self, faults: list[ConfigError]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


@dataclass(frozen=True, eq=False)
class Config:
    """The configuration, whole and valid. `off`: the providers that cannot be asked, and the variable they lack."""

    settings: Settings
    prices: Prices
    facts: Facts
    off: Mapping[str, str] = field(default_factory=dict)


def files_in(env: Mapping[str, str]) -> tuple[Path | None, Path | None, Path | None]:
    """The files that VARIABLES name, in the order of `load`; None: the built-in one."""
    routes, pricing, models = (Path(path) if (path := env.get(name)) else None for name in VARIABLES)
    return routes, pricing, models


def load(routes: Path | None, pricing: Path | None, models: Path | None, env: Mapping[str, str]) -> Config:
    """Read the files, the built-in one for each that is None. Raises ConfigErrors with every fault of all three."""
    faults: list[ConfigError] = []
    off: dict[str, str] = {}
    route_file = _File.read(routes, "routes.yaml", faults)
    written = _expanded(route_file, env, off)
    for path, message in misrouted(written):
        route_file.fault(path, message)
    settings = route_file.checked(Settings, written)
    price_file, model_file = _File.read(pricing, "pricing.yaml", faults), _File.read(models, "models.yaml", faults)
    prices = price_file.checked(PriceList, price_file.value)
    facts = model_file.checked(ModelList, model_file.value)
    if faults or settings is None or prices is None or facts is None:
        raise ConfigErrors(sorted(faults, key=lambda fault: (fault.file, fault.line)))
    demo = Provider(dialect="openai").model_copy(update={"base_url": SCHEME.rstrip("/"), "drop": DROPPED})
    settings = settings.model_copy(update={"providers": {DEMO: demo, **settings.providers}})
    return Config(settings, Prices(prices), Facts(facts), off)


def built_in(name: str) -> Path:
    """The default file of this name: in the package once installed, at the root in a checkout."""
    package = Path(str(files("gateway")))
    installed = package / "defaults" / name
    return installed if installed.exists() else package.parent / name


class _File:
    """One YAML file: its value (every scalar as the text that stands there), and where in it things are."""

    def __init__(self, name: str, root: yaml.Node | None, faults: list[ConfigError]) -> None:
        self.name, self._root, self._faults = name, root, faults
        self._values: dict[int, Any] = {}  # of nodes that aliases share
        self.value: Any = {} if root is None else self._value(root, ())

    @classmethod
    def read(cls, given: Path | None, default: str, faults: list[ConfigError]) -> "_File":
        path = given or built_in(default)
        root = None
        try:
            root = _compose(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            faults.append(ConfigError(str(path), 0, f"cannot be read: {error}"))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            told = f"this is not YAML: {error.problem or error.context}"
            faults.append(ConfigError(str(path), mark.line + 1 if mark else 1, told))
        except yaml.YAMLError as error:
            faults.append(ConfigError(str(path), 1, f"this is not YAML: {error}"))
        return cls(str(path), root, faults)

    def fault(self, path: Where, message: str) -> None:
        """Note a fault at `path`, or at what there is of it."""
        where = ".".join(str(step) for step in path)
        self._faults.append(ConfigError(self.name, self._line(path), f"{where}: {message}" if where else message))

    def checked(self, model: type[Checked], value: Any) -> Checked | None:
        """`value` as a `model`; None when it is none, its faults noted."""
        try:
            return model.model_validate(value)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                self.fault(self._found(detail["loc"]), self._told(model, detail))
            return None

    def _value(self, node: yaml.Node, path: Where) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return None if node.style in (None, "") and node.value in _NOTHING else node.value
        if id(node) in self._values:
            return self._values[id(node)]
        self._values[id(node)] = None  # what an alias within itself would find
        made: Any
        if isinstance(node, yaml.SequenceNode):
            made = [self._value(item, (*path, at)) for at, item in enumerate(node.value)]
        else:
            made = self._mapping(node, path)
        self._values[id(node)] = made
        return made

    def _mapping(self, node: yaml.Node, path: Where) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, item in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else "?"
            if name in made or name == "?":
                why = "stands here twice" if name in made else "a key must be a plain word"
                told = f"{'.'.join(map(str, (*path, name)))}: {why}"
                self._faults.append(ConfigError(self.name, key.start_mark.line + 1, told))
            made[name] = self._value(item, (*path, name))
        return made

    def _nodes(self, path: tuple[int | str, ...]) -> Iterator[tuple[int | str, yaml.Node, yaml.Node]]:
        """The steps of `path` that are there, each with the node to point at and the node of its value."""
        node = self._root
        for step in path:
            children: list[tuple[Any, yaml.Node, yaml.Node]] = []
            if isinstance(node, yaml.MappingNode):
                children = [(key.value, key, item) for key, item in node.value]
            elif isinstance(node, yaml.SequenceNode):
                children = [(at, item, item) for at, item in enumerate(node.value)]
            found = next((child for child in children if child[0] == step), None)
            if found is None:
                return
            yield found
            node = found[2]

    def _line(self, path: Where) -> int:
        pointed = [pointer for _, pointer, _ in self._nodes(path)]
        return pointed[-1].start_mark.line + 1 if pointed else 1

    def _found(self, loc: tuple[int | str, ...]) -> Where:
        """What of `loc` the file has, and a last step that it lacks (a missing or an unknown key)."""
        found = tuple(step for step, _, _ in self._nodes(loc))
        return found if len(loc) == len(found) or len(loc) > len(found) + 1 else loc

    def _told(self, model: type[BaseModel], detail: ErrorDetails) -> str:
        loc = detail["loc"]
        if detail["type"] == "extra_forbidden":
            known = sorted(_fields(model, loc[:-1]))
            return f"there is no such setting{did_you_mean(str(loc[-1]), known)}; there are {', '.join(known)}"
        if told := _SHAPES.get(detail["type"]):
            return told
        message = detail["msg"].removeprefix("Value error, ")
        node = next((item for step, _, item in reversed(list(self._nodes(loc))) if step == loc[-1]), None)
        if detail["type"] == "value_error" or not isinstance(node, yaml.ScalarNode) or _SECRET & set(map(str, loc)):
            return message
        return f"{message[:1].lower()}{message[1:]}, not {node.value!r}"


def _compose(text: str) -> yaml.Node | None:
    loader = CBaseLoader(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def _fields(model: type[BaseModel], loc: tuple[int | str, ...]) -> set[str]:
    """The names of the settings at `loc` within `model`."""
    here: type[BaseModel] | None = model
    steps = iter(loc)
    for step in steps:
        if isinstance(step, int):  # one of a list where a single one would do
            continue
        known = here.model_fields.get(str(step)) if here is not None else None
        here = _model_in(known.annotation) if known else None
        if known and get_origin(known.annotation) in (dict, tuple):
            next(steps, None)  # the key or the place of one of many
    return set(here.model_fields) if here is not None else set()


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _model_in(each))), None)


class _Unset(Exception):
    """A variable without a value; the message is its name."""


class _Malformed(Exception):
    """Something that begins like a reference and is none."""


def _expanded(file: _File, env: Mapping[str, str], off: dict[str, str]) -> Any:
    """The file's value with every reference in it expanded; notes which providers that turns off, and the faults."""

    def walk(value: Any, path: Where) -> Any:
        if isinstance(value, dict):
            return {name: walk(item, (*path, name)) for name, item in value.items()}
        if isinstance(value, list):
            return [walk(item, (*path, at)) for at, item in enumerate(value)]
        if not isinstance(value, str) or "${" not in value:
            return value
        try:
            return _filled(value, env)
        except _Malformed:
            file.fault(path, "a reference is written ${NAME} or ${NAME:-default}")
        except _Unset as unset:
            if not (path[:1] == ("providers",) and path[1] in off):  # what an off provider lacks does not matter
                file.fault(path, f"the environment has no {unset}; set it, or write ${{{unset}:-default}}")
        return None if path[-1:] == ("api_key",) else ""

    off |= _lacking(file.value, env)
    return walk(file.value, ())


def _lacking(written: Any, env: Mapping[str, str]) -> dict[str, str]:
    """The providers whose key or address is not in the environment, each with the variable that it lacks."""
    providers = written.get("providers") if isinstance(written, dict) else None
    found: dict[str, str] = {}
    for name, provider in providers.items() if isinstance(providers, dict) else ():
        for key in _SWITCHES:
            value = provider.get(key) if isinstance(provider, dict) else None
            try:
                _filled(value if isinstance(value, str) else "", env)
            except _Unset as unset:
                found.setdefault(name, str(unset))
            except _Malformed:
                continue  # told where it is expanded
    return found


def _filled(text: str, env: Mapping[str, str]) -> str:
    """`text` with its references expanded. Raises _Unset, _Malformed."""
    done, at = [], 0
    while (start := text.find("${", at)) >= 0:
        done.append(text[at:start])
        opening = _OPENING.match(text, start)
        if opening is None:
            raise _Malformed
        name, at = opening[1], opening.end()
        default: str | None = None
        if opening[2] == ":-":
            end = _closing(text, at)
            default, at = text[opening.end() : end], end + 1
        if value := env.get(name, "").strip():
            done.append(value)
        elif default is not None:
            done.append(_default(name, default, env))
        else:
            raise _Unset(name)
    return "".join([*done, text[at:]])


def _default(name: str, default: str, env: Mapping[str, str]) -> str:
    try:
        return _filled(default, env)
    except _Unset:
        raise _Unset(name) from None  # the first name is the one to tell people of


def _closing(text: str, at: int) -> int:
    """Where the brace stands that closes a reference whose default begins at `at`. Raises _Malformed."""
    depth = 1
    while at < len(text):
        if text.startswith("${", at):
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if not depth:
                return at
        at += 1
    raise _Malformed
