"""What families, denoisers, networks, samplers, operators have in common: name, typed parameters, canonical spec."""

import secrets
from collections.abc import Iterable
from typing import Any, ClassVar, TypeVar, get_origin

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError, model_validator

from gahb_bench.core import registry
from gahb_bench.core.digest import Content, is_foreign
from gahb_bench.core.errors import UsageError, unknown
from gahb_bench.core.spec import format_spec, format_value

P = TypeVar("P", bound="Plugin")


class Plugin(BaseModel):
    """A named thing with typed, validated parameters (its pydantic fields), found by its file.

    The class attributes below must be literals, and each field's default must be the first argument of
    ``Field(default, gt=..., description=...)``: `gahb_bench.core.registry` reads them without importing the file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)

    kind: ClassVar[registry.Kind]  # of plugin, set by the base class of each kind
    name: ClassVar[str]
    listed: ClassVar[bool] = True  # whether it can be made by its name; stated by the class itself, not inherited
    aliases: ClassVar[tuple[str, ...]] = ()
    source: ClassVar[str] = ""
    _unrepeatable: str = PrivateAttr(default="")

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        stated = cls.__dict__
        if "name" in stated and stated.get("listed", True) and not cls.__module__.startswith("gahb_bench."):
            registry.define(cls.found_among(), cls.name, cls)

    @classmethod
    def found_among(cls) -> registry.Kind:
        """Where it is found by its name."""
        return cls.kind

    @classmethod
    def from_parameters(cls: type[P], parameters: dict[str, Any]) -> P:
        """Build from parameters, text or typed; errors name the parameter, what was given and what is allowed.

        Raises
        ------
        UsageError
            For an unknown parameter or a value that is not allowed.
        """
        for key in parameters:
            if key not in cls.model_fields:
                raise unknown(f"parameter of {cls.name!r}", key, cls.model_fields)
        try:
            return cls(**parameters)
        except ValidationError as error:
            raise UsageError(_explain(cls, error)) from None

    @model_validator(mode="before")
    @classmethod
    def _split_tuples(cls, values: Any) -> Any:
        """Text for a tuple-valued parameter is written with '+': ``vary=translate+scale``."""
        if not isinstance(values, dict):
            return values
        return {
            key: tuple(value.split("+")) if isinstance(value, str) and _is_tuple(cls, key) else value
            for key, value in values.items()
        }

    @property
    def spec(self) -> str:
        """Canonical spec: the name and what differs from the defaults, sorted."""
        return format_spec(self.name, self.changed)

    @property
    def changed(self) -> dict[str, Any]:
        """The parameters that differ from their defaults."""
        given = self.parameters
        return {
            key: value
            for key, value in given.items()
            if value != type(self).model_fields[key].get_default(call_default_factory=True, validated_data=given)
        }

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters, defaults included."""
        return {key: getattr(self, key) for key in type(self).model_fields}

    def code_digest(self, related: Iterable[type] = ()) -> str:
        """Hash of its class, related classes and its state, where they are not of this package; empty if all are.

        Where Python cannot find the source it is a digest of this object alone, so that no stored result is ever taken
        for one of its.
        """
        foreign = [cls for kind in (type(self), *related) for cls in kind.__mro__ if is_foreign(cls)]
        if not foreign:
            return ""
        found = Content()
        for cls in dict.fromkeys(foreign):
            found.add_class(cls)
        found.add(self.parameters)
        ours = _private(cls for cls in type(self).__mro__ if not is_foreign(cls))
        for name in sorted(_private(cls for cls in type(self).__mro__ if is_foreign(cls)) - ours):
            found.text(name)
            found.add(getattr(self, name, None), depth=2)
        if found.unfollowed:
            self._unrepeatable = self._unrepeatable or secrets.token_hex(8)
            found.text(self._unrepeatable)
        return found.digest()

    def __str__(self) -> str:
        return self.spec


def _private(classes: Iterable[type]) -> set[str]:
    """Names of the private attributes that classes state, those that they inherit included."""
    return {name for cls in classes for name in getattr(cls, "__private_attributes__", {})}


def _is_tuple(cls: type[Plugin], key: str) -> bool:
    return key in cls.model_fields and get_origin(cls.model_fields[key].annotation) is tuple


def _explain(cls: type[Plugin], error: ValidationError) -> str:
    """What pydantic refused, as sentences for the user: one a parameter."""
    reasons: dict[str, list[str]] = {}
    for problem in error.errors():
        message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "it should be").rstrip(".")
        subject = cls.name
        if problem["loc"]:
            key = str(problem["loc"][0])
            subject = f"{cls.name}: {key}={format_value(problem['input'])} is not allowed"
            message = message[0].lower() + message[1:]
        reasons.setdefault(subject, []).append(message)
    return "; ".join(f"{subject}: {', or '.join(messages)}" for subject, messages in reasons.items()) + "."
