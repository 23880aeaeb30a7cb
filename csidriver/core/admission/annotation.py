"""The `to-inject` annotation of a pod, parsed into entries.

All problems are reported at once. Texts quote keys, but never an invalid value, because it may be
a token that was pasted into the wrong field.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from csidriver.core.kubernetes.validation import LONGEST_NAME, is_dns1123_subdomain
from csidriver.core.names import DRIVER_NAME
from csidriver.core.quoting import nearest, quote_untrusted

MOUNT_FOLDER = "/tmp"  # noqa: S108 - in the user's container, as the announced system has it

_EXAMPLE = '[{"secretName": "hello-token", "container": "main", "owner": 0}]'
_REQUIRED = ("secretName", "container")
_NAMES = (*_REQUIRED, "templateConfigMapName")
_KNOWN = (*_NAMES, "owner")
_FOLDED = {key.casefold(): key for key in _KNOWN}
_LAST_UID = 2**32 - 2  # the kernel reads 2**32 - 1 as "no id"
# The limit for all annotations of an object. The API server checks it only after admission.
_LONGEST = 256 << 10
# No pod comes near. These limits keep one annotation from occupying the webhook: searching for
# similar words is slow.
_MOST_ENTRIES = 100
_MOST_UNKNOWN = 16

# The annotation is JSON, so texts about it use the quotes of JSON.
quoted = partial(quote_untrusted, mark='"')


@dataclass(frozen=True, slots=True)
class InjectionEntry:
    """One valid element of the annotation. Messages refer to it by its `label`."""

    label: str
    secret_name: str
    container: str
    owner: int
    template_config_map: str | None

    @classmethod
    def from_fields(cls, label: str, fields: Mapping[str, Any]) -> "InjectionEntry":
        template, owner = fields.get("templateConfigMapName") or None, fields.get("owner", 0)
        return cls(label, fields["secretName"], fields["container"], owner, template)

    @property
    def file_name(self) -> str:
        """Name of the token file, in the volume and in the container."""
        return f"oauthtk_{self.owner}"

    @property
    def volume(self) -> dict[str, Any]:
        """The pod's volume; entries that differ in the container only share it."""
        identity = [self.secret_name, self.owner, self.template_config_map]
        key = json.dumps(identity, separators=(",", ":")).encode()
        attributes = {
            "secretName": self.secret_name,
            "fileName": self.file_name,
            "owner": str(self.owner),
            # Explicit, because a pod's fsGroup would change both.
            "group": str(self.owner),
            "mode": "0400",
        }
        if self.template_config_map is not None:
            attributes["templateConfigMapName"] = self.template_config_map
        return {
            "name": f"oauth2-{hashlib.sha256(key).hexdigest()[:10]}",
            "csi": {"driver": DRIVER_NAME, "readOnly": True, "volumeAttributes": attributes},
        }

    @property
    def mount(self) -> dict[str, Any]:
        return {
            "name": self.volume["name"],
            "mountPath": f"{MOUNT_FOLDER}/{self.file_name}",
            "subPath": self.file_name,
            "readOnly": True,
        }


@dataclass(frozen=True, slots=True)
class ParsedAnnotation:
    """The valid entries of an annotation, the problems of the others, and warnings.

    `invalid_entries` are the labels and the valid names of containers of the others.
    """

    entries: tuple[InjectionEntry, ...]
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    invalid_entries: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _JsonObject:
    """A JSON object as Go reads it, and the keys that it has more than once.

    Known keys may be in any case, the last value of a key counts, and null is no value.
    """

    fields: dict[str, Any]
    repeated: tuple[str, ...]

    @classmethod
    def from_pairs(cls, pairs: list[tuple[str, Any]]) -> "_JsonObject":
        named = ((_FOLDED.get(key.casefold(), key), value) for key, value in pairs)
        given = [(key, value) for key, value in named if value is not None]
        counts = Counter(key for key, _ in given)
        return cls(dict(given), tuple(key for key, count in counts.items() if count > 1))


def parse(annotation: str) -> ParsedAnnotation:
    """Parse the annotation, without ever raising an error."""
    try:
        elements = _decode(annotation)
    except ValueError as error:
        return ParsedAnnotation((), (f"{error}; write an array such as {_EXAMPLE}",))
    entries: list[InjectionEntry] = []
    problems: list[str] = []
    warnings: list[str] = []
    invalid: list[tuple[str, str]] = []
    for number, element in enumerate(elements, start=1):
        label = f"entry {number} of {len(elements)}"
        if not isinstance(element, _JsonObject):
            problems.append(f"{label} is not an object; write it as in {_EXAMPLE}")
            continue
        found = [f"{label}: {problem}" for problem in _problems(element)]
        problems += found
        warnings += [f"{label}: {warning}" for warning in _warnings(element)]
        if not found:
            entries.append(InjectionEntry.from_fields(label, element.fields))
        elif is_dns1123_subdomain(container := element.fields.get("container")):
            invalid.append((label, container))
    return ParsedAnnotation(tuple(entries), tuple(problems), tuple(warnings), tuple(invalid))


def _decode(annotation: str) -> list[Any]:
    if len(annotation) > _LONGEST:
        raise ValueError(f"is longer than {_LONGEST} characters")
    try:
        value = json.loads(
            annotation, object_pairs_hook=_JsonObject.from_pairs, parse_constant=_refuse_constant
        )
    except json.JSONDecodeError as error:
        position = f"line {error.lineno} column {error.colno}"
        raise ValueError(f"is not JSON at {position}: {error.msg}") from None
    except (ValueError, RecursionError):
        raise ValueError("holds NaN, Infinity, or a number or nesting without end") from None
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError("is not an array")  # noqa: TRY004 - the type of data, not of an argument
    if len(value) > _MOST_ENTRIES:
        raise ValueError(f"has {len(value)} entries, at most {_MOST_ENTRIES} are allowed")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _problems(entry: _JsonObject) -> Iterator[str]:
    fields = entry.fields
    unknown = [key for key in fields if key not in _KNOWN]
    for key in _REQUIRED:
        if key not in fields:
            near = nearest(key, unknown[:_MOST_UNKNOWN])
            cure = f"is it what {quoted(near)} means?" if near else "add it"
            yield f'field "{key}" is missing; {cure}'
    for key in _NAMES:
        is_absent = key not in fields or (fields[key] == "" and key not in _REQUIRED)
        if not is_absent and not is_dns1123_subdomain(fields[key]):
            yield (
                f'field "{key}" must be a name of lower case letters, digits, "-" and ".", '
                f"at most {LONGEST_NAME} characters"
            )
    owner = fields.get("owner", 0)
    if type(owner) is not int or not 0 <= owner <= _LAST_UID:  # isinstance accepts true
        yield f'field "owner" must be a uid: an integer from 0 to {_LAST_UID}, without quotes'


def _warnings(entry: _JsonObject) -> Iterator[str]:
    if entry.repeated:
        keys = ", ".join(quoted(key) for key in entry.repeated[:_MOST_UNKNOWN])
        yield f"given more than once: {keys}; the last one counts"
    unknown = [key for key in entry.fields if key not in _KNOWN]
    for key in unknown[:_MOST_UNKNOWN]:
        near = nearest(key, _KNOWN)
        hint = f'; did you mean "{near}"?' if near else ""
        yield f"unknown field {quoted(key)} is ignored{hint}"
