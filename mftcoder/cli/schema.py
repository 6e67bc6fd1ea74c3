"""The signature of a `_target_` as the schema of its node: finds every fault of a configuration."""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import InitVar, is_dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from typing_extensions import is_typeddict

from mftcoder.cli.names import Meant
from mftcoder.cli.secrets import MASK, is_secret

TARGET, PARTIAL, MISSING = "_target_", "_partial_", "???"
VERBS = "mftcoder.verbs"
ANY_CLASS = ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)


class Schema:
    """Finds the faults of nodes; each is one line with the path, the value and the remedy.

    A `_target_` is a public class of a trusted package that is of the kind which its place asks for by its annotation.
    Functions, and classes in places that ask for nothing, come from packages that the user trusts, and verbs are roots.

    Args:
        trusted: packages whose classes may be imported.
        users: packages that the user trusts, in which anything callable may be a target.
        allowed: the only targets of `trusted` that may be imported; None allows all. For what others have written.
        absent: parameters of the root that its node lacks because the program gives them.
        extra: keys of the root that are no parameters.
        elsewhere: says what was meant by a key, given with its path, that is no parameter in its place.
    """

    def __init__(
        self,
        *,
        trusted: Sequence[str],
        users: Sequence[str] = (),
        allowed: Collection[str] | None = None,
        absent: Iterable[str] = (),
        extra: Iterable[str] = (),
        elsewhere: Callable[[str], Meant | None] = lambda path: None,
    ) -> None:
        self.elsewhere = elsewhere
        self.listed: set[str] = set()
        self.trusted = tuple(f"{prefix.rstrip('.')}." for prefix in (*trusted, *users))
        self.users = tuple(f"{prefix.rstrip('.')}." for prefix in users)
        self.allowed = allowed
        self.absent = frozenset(absent)
        self.extra = frozenset(extra)

    def component(self, node: Mapping[str, Any], path: str = "", wanted: Any = Any) -> Iterator[str]:
        """Faults of a node with a `_target_` that stands at `path`, where a `wanted` is expected."""
        name = node.get(TARGET)
        if (fault := self._refusal(name) or self._no_component(str(name), path, wanted)) is not None:
            yield f"{_join(path, TARGET)}: {fault}"
            return
        target = locate(str(name))
        partial = node.get(PARTIAL, False)
        if not isinstance(partial, bool):
            yield f"{_join(path, PARTIAL)}: {partial!r} is not bool"
        yield from _misfit(target, partial is True, path, wanted)
        yield from self._arguments(target, node, path)

    def _refusal(self, name: Any) -> str | None:
        """Why a target cannot be had, if so. Nothing outside of the trusted packages is ever imported."""
        if not isinstance(name, str):
            return f"{name!r} is not the dotted name of a class or function"
        if self.allowed is not None and name not in self.allowed and not name.startswith(self.users):
            return f"{name!r} is none of {', '.join(sorted(self.allowed)) or 'no classes'}"
        if name.startswith(self.trusted):
            return self._unusable(name)
        return f"{name!r} {self._foreign()}; ++trusted_targets=[{name.split('.')[0]}] trusts it, if you do"

    def _no_component(self, name: str, path: str, wanted: Any) -> str | None:
        """Why a target of a package that is not the user's own may not stand in its place, if so."""
        if name.startswith(self.users):
            return None
        if not path:
            module, _, verb = name.rpartition(".")
            return None if module == f"{VERBS}.{verb}" else f"{name!r} is not a verb, which are in {VERBS}"
        if not isinstance(locate(name), type) or any(part.startswith("_") for part in name.split(".")):
            return f"{name!r} is not a public class"
        if Any in _arms(wanted) or object in _arms(wanted):
            return f"{name!r} stands where no component is expected"
        return None

    def _foreign(self) -> str:
        return f"is not in a trusted package ({', '.join(prefix.rstrip('.') for prefix in self.trusted)})"

    def _unusable(self, name: str) -> str | None:
        """Why a target of a trusted package cannot be used, if so."""
        try:
            target = locate(name)
        except ImportError as error:
            return f"{name!r} cannot be imported: {error}; pip install 'mftcoder[all]' brings what is optional"
        except AttributeError as error:
            return f"{name!r} does not exist: {error}"
        if not f"{getattr(target, '__module__', '')}.".startswith(self.trusted):
            return f"{name!r} comes from {getattr(target, '__module__', None)}, which {self._foreign()}"
        if not callable(target):
            return f"{name!r} is neither a class nor a function"
        if any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in settings(target).values()):
            return f"{name!r} takes any argument, so that none can be checked; wrap it in a plain function"
        return None

    def _arguments(self, target: Callable[..., Any], node: Mapping[str, Any], path: str) -> Iterator[str]:
        """Faults of the keys of a node: unknown, missing, or with a wrong value."""
        absent, extra = (frozenset[str](), frozenset[str]()) if path else (self.absent, self.extra)
        parameters, types_of = settings(target), hints(target)
        known = [name for name in parameters if name not in absent]
        for key in node:
            if key not in known and key not in {TARGET, PARTIAL, *extra}:
                here = _join(path, str(key))
                yield f"{here}: not a parameter of {target.__name__}{self._remedy(here, str(key), target, known)}"
        for name in known:
            here, wanted = _join(path, name), types_of.get(name, Any)
            if name in node:
                yield from self.value(node[name], here, wanted)
            elif parameters[name].default is inspect.Parameter.empty and node.get(PARTIAL) is not True:
                yield _missing(here, wanted)

    def _remedy(self, path: str, key: str, target: Callable[..., Any], known: Sequence[str]) -> str:
        """What was meant by an unknown key, or all that there are, once for each target."""
        found, close = self.elsewhere(path), _similar(key, known)
        if found is not None and (found.sure or not close):
            return f"; {found.words}"
        if close:
            return close
        if target.__name__ in self.listed:
            return ""
        self.listed.add(target.__name__)
        return f"; its parameters: {', '.join(known) or 'none'}"

    def value(self, value: Any, path: str, wanted: Any) -> Iterator[str]:
        """Faults of a value that stands at `path`, where a `wanted` (an annotation) is expected."""
        if value == MISSING:
            yield _missing(path, wanted)
        elif isinstance(value, dict) and TARGET in value:
            yield from self.component(value, path, wanted)
        elif isinstance(value, dict | list):
            yield from self._container(value, path, wanted)
        elif not _is(value, wanted):
            yield _mismatch(value, path, wanted)

    def _container(self, value: dict[Any, Any] | list[Any], path: str, wanted: Any) -> Iterator[str]:
        """Faults of a mapping or sequence: those of its items, where just one of the wanted types can hold it."""
        arms = [arm for arm in _arms(wanted) if _holds(arm, type(value))]
        found = [list(self._items(value, path, arm)) for arm in arms]
        if not found or (len(found) > 1 and [] not in found):
            yield _mismatch(value, path, wanted)
        elif len(found) == 1:
            yield from found[0]

    def _items(self, value: dict[Any, Any] | list[Any], path: str, arm: Any) -> Iterator[str]:
        """Faults of the items of a mapping or sequence, of which `arm` says the types."""
        limited, arm = arm, _bare(arm)
        if limited is not arm and not _is(value, limited):
            yield _mismatch(value, path, limited)
            return
        inner = get_args(arm)
        if isinstance(value, list):
            fixed = get_origin(arm) is tuple and Ellipsis not in inner
            if fixed and len(value) != len(inner):
                yield f"{path}: {value!r} has {len(value)} entries instead of {len(inner)}"
                return
            each = inner if fixed else (inner[:1] or (Any,)) * len(value)
            for index, (item, wanted) in enumerate(zip(value, each, strict=True)):
                yield from self.value(item, f"{path}[{index}]", wanted)
        elif is_typeddict(arm):
            fields = get_type_hints(arm)
            yield from (f"{path}.{key}: not one of {', '.join(fields)}" for key in value if key not in fields)
            yield from (_missing(f"{path}.{key}", fields[key]) for key in sorted(arm.__required_keys__ - value.keys()))
            for key in fields.keys() & value.keys():
                yield from self.value(value[key], f"{path}.{key}", fields[key])
        else:
            key_type, item_type = inner or (Any, Any)
            for key, item in value.items():
                if not _is(key, key_type):
                    yield f"{path}: the key {key!r} is not {describe(key_type)}"
                yield from self.value(item, f"{path}.{key}", item_type)


def locate(name: str) -> Any:
    """What a dotted name stands for: an attribute of a module, in one hop."""
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)


def settings(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a target by name."""
    return dict(inspect.signature(target).parameters)


def hints(target: Callable[..., Any]) -> dict[str, Any]:
    """The types of a target's parameters, as far as they can be resolved.

    Those of a dataclass are its fields', for the strings in its `__init__` may come from the module of a base.
    """
    source: Any = target.__init__ if inspect.isclass(target) and not is_dataclass(target) else target
    try:
        found = get_type_hints(source, include_extras=True)
    except NameError:  # Some libraries annotate with names that exist only for type checkers.
        return {}
    return {name: wanted.type if isinstance(wanted, InitVar) else wanted for name, wanted in found.items()}


def describe(wanted: Any) -> str:
    """An annotation as a person would write it, with its limits."""
    if get_origin(wanted) is Annotated:
        return " ".join([describe(get_args(wanted)[0]), *_limits(wanted)])
    if get_origin(wanted) in (Union, types.UnionType):
        return " | ".join(describe(arm) for arm in get_args(wanted))
    if get_origin(wanted) is Literal:
        return " | ".join(repr(choice) for choice in get_args(wanted))
    if wanted is types.NoneType:
        return "None"
    if arguments := [a for a in get_args(wanted) if not isinstance(a, list)]:
        return f"{_name(get_origin(wanted))}[{', '.join(map(describe, arguments))}]"
    return _name(wanted)


def _limits(wanted: Any) -> Iterator[str]:
    """What pydantic's Field, or annotated_types, says of an annotated type: `>= 1`."""
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "min_length": "of length >=", "max_length": "of length <="}
    for extra in wanted.__metadata__:
        for limit in getattr(extra, "metadata", [extra]):
            yield from (f"{sign} {getattr(limit, name)}" for name, sign in signs.items() if hasattr(limit, name))


def _name(wanted: Any) -> str:
    return "..." if wanted is Ellipsis else str(getattr(wanted, "__name__", wanted))


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _arms(wanted: Any) -> tuple[Any, ...]:
    return get_args(wanted) if get_origin(wanted) in (Union, types.UnionType) else (wanted,)


def _bare(arm: Any) -> Any:
    """A type without its limits."""
    return get_args(arm)[0] if get_origin(arm) is Annotated else arm


def _is_class(arm: Any) -> TypeGuard[type]:
    return isinstance(arm, type) and not is_typeddict(arm)


def _holds(arm: Any, kind: type) -> bool:
    """Whether an annotation allows a dict or a list, as YAML has them; a tuple is written as a list."""
    arm = _bare(arm)
    if arm in (Any, object):
        return True
    if is_typeddict(arm):
        return kind is dict
    outer = get_origin(arm) or arm
    return _is_class(outer) and (issubclass(kind, outer) or (kind is list and outer is tuple))


def _is(value: Any, wanted: Any) -> bool:
    """Whether a scalar is of a type. JSON's rules: an int is a float, a bool is no int, and nothing is converted."""
    return any(_validates(json.dumps(value, default=str), arm) for arm in _arms(wanted))


def _validates(value: str, arm: Any) -> bool:
    try:
        TypeAdapter(arm, config=ANY_CLASS).validate_json(value, strict=True)
    except (ValidationError, PydanticUserError):  # The latter: a class with fields, which no scalar is.
        return False
    return True


def _misfit(target: Callable[..., Any], partial: bool, path: str, wanted: Any) -> Iterator[str]:
    """The fault of a component that is not of the kind that its place expects."""
    arms = _arms(wanted)
    if Any in arms or object in arms:
        return
    calls = [arm for arm in arms if (get_origin(arm) or arm) is Callable]
    made = target if isinstance(target, type) else hints(target).get("return")
    if partial:
        results = [get_args(arm)[-1] for arm in calls if get_args(arm)]
        fits = bool(calls) and (not results or not _is_class(made) or any(_fits(made, r) for r in results))
    else:
        fits = bool(calls) or not _is_class(made) or any(_fits(made, arm) for arm in arms)
    if not fits:
        kind = f"a partial {target.__name__}" if partial else target.__name__
        yield f"{path}: {kind} is not {describe(wanted)}{_choose(path, wanted)}"


def _fits(made: type, wanted: Any) -> bool:
    outer = get_origin(wanted) or wanted
    return wanted is Any or (_is_class(outer) and issubclass(made, outer))


def _missing(path: str, wanted: Any) -> str:
    return f"{path}: missing{_choose(path, wanted) or f'; give {path}=<{describe(wanted)}>'}"


def _mismatch(value: Any, path: str, wanted: Any) -> str:
    choices = [choice for arm in _arms(wanted) if get_origin(arm) is Literal for choice in get_args(arm)]
    remedy = _similar(value, [c for c in choices if isinstance(c, str)]) or _choose(path, wanted)
    shown = MASK if is_secret(path.rpartition(".")[2]) else repr(value)
    return f"{path}: {shown} is not {describe(wanted)}{remedy}"


def _choose(path: str, wanted: Any) -> str:
    """The remedy where a component is expected, which has a group of choices at the top level."""
    component = any((get_origin(arm) or arm) is Callable or inspect.isabstract(arm) for arm in _arms(wanted))
    return f"; choose one with {path}=<choice>" if component and "." not in path else ""


def _similar(word: Any, options: Iterable[str]) -> str:
    close = get_close_matches(str(word), list(options), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
