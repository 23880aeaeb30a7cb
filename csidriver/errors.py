"""Every error of this package, named for the fault and safe to show.

The text of an error here reaches users as gRPC status, event or log line, so it never carries a
secret, a request body or a reply. Foreign exceptions become one of these in `adapters`, with the
cause chained; nothing above an adapter catches a foreign type.
"""

from collections.abc import Iterable


class DriverError(Exception):
    """Root of all errors that this package raises on purpose."""


class InvalidInput(DriverError):
    """Input that its author must change; `problems` holds all of its faults, not the first one."""

    def __init__(self, subject: str, problems: Iterable[str]) -> None:
        self.subject = subject
        self.problems = tuple(problems)
        super().__init__(f"{subject}: {'; '.join(self.problems)}")


class InvalidRequest(InvalidInput):
    """A CSI call that breaks the contract, or volume attributes that make no sense."""


class InvalidAnnotation(InvalidInput):
    """A `to-inject` annotation, or a pod that it does not fit."""


class InvalidSecret(InvalidInput):
    """A source, grant or companion Secret whose content does not parse."""


class InvalidTemplate(InvalidInput):
    """A token file template that names something unknown."""


class InvalidSettings(InvalidInput):
    """Flags or issuer configuration that the operator must mend."""


class NoIssuer(DriverError):
    """No configured issuer may serve a source; the text says why."""


class NotReady(DriverError):
    """Nothing is wrong yet: what was asked for may exist a little later."""


class TokenUnavailable(DriverError):
    """The refresher says that there is no valid token, and why."""


class TemplateMissing(DriverError):
    """The template's ConfigMap, or its key `template`, does not exist."""


class InFlight(DriverError):
    """Another call for the same volume is still running."""


class PublishedDifferently(DriverError):
    """The volume is published already, but not as it is asked for now."""


class CleanupRefused(DriverError):
    """The driver cannot be removed from a node: a process or pods still use it."""


class StorageFull(DriverError):
    """The token file system has no room left for this volume."""


class MountFailed(DriverError):
    """The kernel refused a mount operation."""

    def __init__(self, operation: str, path: str, reason: str) -> None:
        self.operation = operation
        self.path = path
        super().__init__(f"{operation} {path}: {reason}")


class TokenFileFailed(DriverError):
    """A token file could not be written or read back as it should be."""


class StoreError(DriverError):
    """The backend that keeps Secrets did not do what was asked."""


class StoreConflict(StoreError):
    """The object is no longer the one the write was computed from (HTTP 409)."""


class StoreRefused(StoreError):
    """The backend understood and said no: authorisation, quota, admission, immutability."""


class StoreUnavailable(StoreError):
    """The backend cannot be reached or is in trouble; the same call may succeed later."""


class SpoolFailed(DriverError):
    """The spool cannot be written or read."""
