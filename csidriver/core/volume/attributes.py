"""Volume attributes: the `csi.volumeAttributes` of a pod, parsed once into a value.

Texts quote keys, but never an invalid value: it may be a token in the wrong attribute.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from csidriver.core.kubernetes.validation import is_dns1123_subdomain
from csidriver.core.names import KUBELET_PREFIX
from csidriver.core.quoting import nearest, quote_untrusted
from csidriver.core.volume.template import DEFAULT, Template
from csidriver.errors import InvalidRequest, InvalidTemplate

T = TypeVar("T")

KEYS = (
    "secretName",
    "fileName",
    "owner",
    "group",
    "mode",
    "template",
    "templateConfigMapName",
    "minValidity",
)

_FILE_NAME = re.compile(r"[A-Za-z0-9._-]{1,255}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,10}", re.ASCII)
_MODE = re.compile(r"0?[0-7]{3}", re.ASCII)
# A gRPC status has room for a few KiB.
_MAX_UNKNOWN = 8
# The highest 32 bit id means "no change" to chown(2).
_MAX_ID = 2**32 - 2
# Seconds, unless a quarter of the token's lifetime is less.
DEFAULT_MIN_VALIDITY = 30.0
# Nobody writes a token file, and only the owner and the group read it.
_MODES = (0o400, 0o440)


@dataclass(frozen=True, slots=True)
class VolumeAttributes:
    """A valid request for one token file.

    If `template_config_map` is not "", that ConfigMap replaces `template`. `min_validity` is in
    seconds, None unless the user set it.
    """

    secret_name: str
    file_name: str
    owner: int
    group: int
    mode: int
    template: Template
    template_config_map: str
    min_validity: float | None

    @classmethod
    def parse(cls, context: Mapping[str, str], fs_group: str) -> "VolumeAttributes":
        """Parse a CSI volume_context, without the keys that kubelet adds.

        `fs_group` is the pod's fsGroup as kubelet passes it in volume_mount_group, "" if unset.
        Raises InvalidRequest with every problem.
        """
        given = {k: v for k, v in context.items() if not k.startswith(KUBELET_PREFIX)}
        problems = _unknown(given)
        reader = _Reader(given, problems)
        pod_group = reader.convert("the pod's fsGroup", fs_group, _id, None) if fs_group else None
        if "owner" not in given and pod_group is None:
            problems.append("owner is required unless the pod sets fsGroup: the uid of the file")
        if "secretName" not in given:
            problems.append("secretName is required: the annotated Secret")
        if "template" in given and "templateConfigMapName" in given:
            problems.append("template and templateConfigMapName exclude each other; keep one")
        secret_name, template_config_map = reader.object_names()
        owner = reader.take("owner", _id, 0)
        shared = pod_group is not None and "group" not in given
        attributes = cls(
            secret_name=secret_name,
            file_name=reader.take("fileName", _file_name, "token"),
            owner=owner,
            group=reader.take("group", _id, owner if pod_group is None else pod_group),
            mode=reader.take("mode", _mode, 0o440 if shared else 0o400),
            template=reader.take("template", Template.parse, DEFAULT),
            template_config_map=template_config_map,
            min_validity=reader.take("minValidity", _seconds, None),
        )
        if problems:
            raise InvalidRequest("volumeAttributes", problems)
        return attributes


def named_objects(context: Mapping[str, str]) -> tuple[str, str]:
    """Return the Secret and the template's ConfigMap that a volume names, "" for none.

    Whatever else is wrong or unknown in the attributes does not matter.
    """
    return _Reader(context, []).object_names()


@dataclass(frozen=True, slots=True)
class _Reader:
    """Converts values, and collects the problems of those that it cannot convert."""

    given: Mapping[str, str]
    problems: list[str]

    def take(self, key: str, convert: Callable[[str], T], default: T) -> T:
        text = self.given.get(key)
        return default if text is None else self.convert(key, text, convert, default)

    def object_names(self) -> tuple[str, str]:
        secret_name = self.take("secretName", _object_name, "")
        return secret_name, self.take("templateConfigMapName", _object_name, "")

    def convert(self, name: str, text: str, convert: Callable[[str], T], default: T) -> T:
        try:
            return convert(text)
        except ValueError as error:
            self.problems.append(f"{name} {error}")
        except InvalidTemplate as error:
            self.problems.extend(f"{name} {problem}" for problem in error.problems)
        return default


def _unknown(given: Mapping[str, str]) -> list[str]:
    problems = []
    unknown = sorted(set(given) - set(KEYS))
    for key in unknown[:_MAX_UNKNOWN]:
        near = nearest(key, KEYS)
        hint = f"; did you mean {near}?" if near else f"; known keys: {', '.join(KEYS)}"
        problems.append(f"{quote_untrusted(key)} is unknown{hint}")
    if len(unknown) > _MAX_UNKNOWN:
        problems.append(f"{len(unknown) - _MAX_UNKNOWN} more keys are unknown")
    return problems


def _object_name(text: str) -> str:
    if not is_dns1123_subdomain(text):
        raise ValueError("must be the name of a Kubernetes object")
    return text


def _file_name(text: str) -> str:
    if not _FILE_NAME.fullmatch(text) or text.startswith(".."):
        raise ValueError(
            "must be a file name of letters, digits, '.', '_' and '-', at most 255 of them"
        )
    if text == ".":
        raise ValueError("must name a file, not '.'")
    return text


def _id(text: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > _MAX_ID:
        raise ValueError(f"must be a number from 0 to {_MAX_ID}")
    return int(text)


def _mode(text: str) -> int:
    if not _MODE.fullmatch(text):
        raise ValueError("must be three octal digits such as 0400")
    if int(text, 8) not in _MODES:
        raise ValueError(f"must be 0400 or 0440: read bits for owner and group only, not {text}")
    return int(text, 8)


def _seconds(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise ValueError("must be a number of seconds")
    return float(text)
