"""A block of named counts, however it came: a dict, an object of an SDK, a protobuf message; snake_case or camelCase.

Values are taken strictly: what is not a whole number from 0 up is refused under the name that the provider gave it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from operator import index
from typing import Any

from django_token_pricing.lib.provider_usage.errors import UnreadableUsage, gettext_noop

# Far more than any model takes: what is above is a mistake, like -1 read as an unsigned number.
MOST = 10**12
# What a float can hold exactly.
MOST_FLOAT = 2**53
MOST_SHOWN = 60


def folded(name: str) -> str:
    """The same for promptTokens, prompt_tokens and prompt-tokens."""
    return "".join(filter(str.isalnum, name)).lower()


def camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


class Block:
    """Named values of one object. Names are given in snake_case and found in any spelling."""

    __slots__ = ("names", "values")

    def __init__(self, given: Mapping[Any, Any]) -> None:
        self.values: dict[str, Any] = {}
        self.names: dict[str, str] = {}
        for name, value in given.items():
            key = folded(name) if isinstance(name, str) else ""
            if key and self.values.get(key) is None:
                self.values[key] = value
                self.names[key] = name

    def get(self, name: str) -> Any:
        return self.values.get(folded(name))

    def has(self, *names: str) -> bool:
        """Whether one of them is there, even if it is null."""
        return any(folded(name) in self.values for name in names)

    def merged(self, later: Block) -> Block:
        """Both, of a value that is there twice the later one."""
        both = Block({self.names[key]: value for key, value in self.values.items() if value is not None})
        for key, value in later.values.items():
            if value is not None:
                both.values[key] = value
                both.names[key] = later.names[key]
        return both

    # Counts

    def find(self, *names: str) -> int | None:
        """The first of these counts that is there and not null."""
        for name in names:
            value = self.get(name)
            if value is not None:
                return whole(value, self.names[folded(name)])
        return None

    def needed(self, *names: str) -> int:
        """The same; raises where none is there."""
        found = self.find(*names)
        if found is None:
            raise missing(self, names[0])
        return found

    def part(self, *names: str) -> Block:
        """The first of these objects that is there; an empty one where none is, or where it is null."""
        for name in names:
            value = self.get(name)
            if value is None:
                continue
            found = block_of(value)
            if found is None:
                raise UnreadableUsage(
                    "not_an_object",
                    gettext_noop("%(name)s is %(value)s, not an object with counts."),
                    name=self.names[folded(name)],
                    value=shown(value),
                )
            return found
        return Block({})


def missing(block: Block, name: str) -> UnreadableUsage:
    if block.has(name):
        return UnreadableUsage("null", gettext_noop("%(name)s is null."), name=block.names[folded(name)])
    there = ", ".join(sorted(block.names.values())[:12])
    return UnreadableUsage(
        "missing", gettext_noop("%(name)s is missing. There is: %(there)s."), name=name, there=there or "—"
    )


def whole(value: Any, name: str) -> int:
    """A whole number of tokens. 5.0 is one, as some SDKs write it; True, "5" and 5.5 are none."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= MOST_FLOAT:
        value = int(value)
    if isinstance(value, Decimal) and value.is_finite() and abs(value) <= MOST and value == value.to_integral_value():
        value = int(value)
    try:
        if isinstance(value, bool):
            raise TypeError
        number = index(value)
    except TypeError:
        raise UnreadableUsage(
            "not_whole", gettext_noop("%(name)s is %(value)s, not a whole number."), name=name, value=shown(value)
        ) from None
    if number < 0:
        raise UnreadableUsage(
            "negative", gettext_noop("%(name)s is %(value)s, below 0."), name=name, value=shown(value)
        )
    if number > MOST:
        raise UnreadableUsage(
            "too_large", gettext_noop("%(name)s is more than %(most)s: no request has so many."), name=name, most=MOST
        )
    return int(number)


def shown(value: Any) -> str:
    """What was there instead, in short. Whatever its own `repr` does is no reason to fail."""
    if value is None or isinstance(value, (str, bytes, bool, int, float, Decimal)):
        try:
            text = repr(value)
        except ValueError:  # an int of too many digits
            text = type(value).__name__
    else:
        text = type(value).__name__
    return text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + "…"


# Objects ------------------------------------------------------------------------------------------------------------

# What an object of an SDK is asked for.
_COUNTS = """
    prompt_tokens completion_tokens total_tokens prompt_tokens_details prompt_token_details
    completion_tokens_details completion_token_details input_tokens output_tokens input_tokens_details
    output_tokens_details input_token_details output_token_details cached_tokens num_cached_tokens
    cached_prompt_text_tokens cached_input_tokens cache_read cache_creation cache_creation_tokens
    prompt_cache_hit_tokens prompt_cache_miss_tokens cache_read_tokens cache_write_tokens reasoning_tokens
    reasoning thinking_tokens cache_read_input_tokens cache_creation_input_tokens cache_write_input_tokens
    iterations ephemeral_5m_input_tokens ephemeral_1h_input_tokens prompt_token_count candidates_token_count
    response_token_count thoughts_token_count tool_use_prompt_token_count cached_content_token_count
    total_token_count billed_units tokens input_token_count output_token_count cache_read_input_token_count
    cache_write_input_token_count generation_token_count token_count input_text_token_count
    total_output_text_token_count prompt_eval_count eval_count connector_tokens total_input_tokens
    total_output_tokens total_thought_tokens total_reasoning_tokens total_cached_tokens total_tool_use_tokens
"""
_WRAPPERS = """
    usage usage_metadata x_groq meta response message delta metadata data result results body chunk bytes
    response_metadata token_usage llm_output headers model model_version model_id model_name type object id
    response_id embedding embeddings stream done model_output custom_id stop_reason finish_reason
"""
_PROBED = tuple(dict.fromkeys(name for each in (_COUNTS + _WRAPPERS).split() for name in (each, camel(each))))
_PLAIN = (str, bytes, bytearray, memoryview, bool, int, float, complex, Decimal, list, tuple, set, frozenset)
_DUMPS = ("model_dump", "to_dict", "dict")


def block_of(value: Any) -> Block | None:
    """The named values of an object; None for what has no names: text, numbers, lists."""
    if isinstance(value, Block):
        return value
    if isinstance(value, Mapping):
        return Block(value)
    if value is None or isinstance(value, type) or (isinstance(value, _PLAIN) and not hasattr(value, "_fields")):
        return None
    if callable(getattr(value, "keys", None)) and hasattr(type(value), "__getitem__"):
        try:
            return Block({key: value[key] for key in value.keys()})  # noqa: SIM118 - like a dict, and none
        except Exception:  # noqa: BLE001 - an object of somebody else's
            return None
    if found := _fields(value) or _attributes(value):
        return Block(found)
    # All that it has may be null.
    is_object = hasattr(value, "__dict__") and not callable(value) and not isinstance(value, Iterable)
    return _dumped(value) or (Block({}) if is_object else None)


def _fields(value: Any) -> dict[str, Any]:
    """Those of pydantic's models, which most SDKs use: they are slow to say that they have none of a name."""
    if not isinstance(getattr(type(value), "__pydantic_fields__", None), Mapping):
        return {}
    extra = getattr(value, "__pydantic_extra__", None)
    return {**vars(value), **(extra if isinstance(extra, Mapping) else {})}


def _attributes(value: Any) -> dict[str, Any]:
    """Asked for by name: SDKs keep them in fields, properties or descriptors, and a dump of all may cost a lot."""
    found = {}
    for name in _PROBED:
        try:
            each = getattr(value, name, None)
        except Exception:  # noqa: BLE001, S112 - a property of somebody else's
            continue
        if each is not None and not callable(each):
            found[name] = each
    return found


def _dumped(value: Any) -> Block | None:
    for name in _DUMPS:
        dump = getattr(value, name, None)
        if callable(dump):
            try:
                made = dump()
            except Exception:  # noqa: BLE001, S112 - a method of somebody else's
                continue
            if isinstance(made, Mapping):
                return Block(made)
    return None


def first_of(values: Iterable[tuple[str, int | None]]) -> int:
    """One count that may be said in several places: 0 where none says it, an error where they contradict."""
    said = {name: value for name, value in values if value}
    if len(set(said.values())) > 1:
        (one, first), (other, second), *_more = said.items()
        raise UnreadableUsage(
            "contradiction",
            gettext_noop("%(one)s is %(first)s and %(other)s is %(second)s: they should be the same."),
            one=one,
            first=first,
            other=other,
            second=second,
        )
    return next(iter(said.values()), 0)
