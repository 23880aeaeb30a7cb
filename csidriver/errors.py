"""All errors of this package, named for the fault and safe to show.

Their texts reach users in gRPC statuses, events and logs, so they never contain a secret, a request
body or a reply. The adapters turn exceptions of libraries into these errors and chain the cause;
no other code catches exceptions of libraries.
"""

from collections.abc import Iterable, Iterator


class DriverError(Exception):
    """Base class of all errors of this package."""


class InvalidInput(DriverError):
    """Input that its author must change; `problems` has all faults, not only the first one."""

    def __init__(self, subject: str, problems: Iterable[str]) -> None:
        self.subject = subject
        self.problems = tuple(problems)
        super().__init__(f"{subject}: {'; '.join(self.problems)}")


class InvalidRequest(InvalidInput):
    """A CSI request, or volume attributes, that are not valid."""


class InvalidAnnotation(InvalidInput):
    """A `to-inject` annotation that is not valid or does not match its pod."""


class InvalidSecret(InvalidInput):
    """A source, grant or companion Secret whose content cannot be parsed."""


class InvalidTemplate(InvalidInput):
    """A token file template with an unknown name, or with a text that is too long."""


class InvalidSettings(InvalidInput):
    """Flags or issuer configuration that the operator must correct."""


class NoIssuer(DriverError):
    """No configured issuer may serve a source; the text says why."""


class NotReady(DriverError):
    """A token or another object that does not exist yet, and may exist a little later."""


class TokenUnavailable(DriverError):
    """A Secret without a valid token; the text is the refresher's reason."""


class TemplateMissing(DriverError):
    """A template's ConfigMap, or its key `template`, that does not exist."""


class InFlight(DriverError):
    """A call for a volume for which another call is still running."""


class PublishedDifferently(DriverError):
    """A request for a volume that is already published with other parameters."""


class CleanupRefused(DriverError):
    """A cleanup of a node on which a plugin runs or pods have volumes."""


class StorageFull(DriverError):
    """A token file system without room for a token."""


class LimitReached(DriverError):
    """Something that needs more volumes, Secrets, files or threads than there may be."""


class MountFailed(DriverError):
    """A mount operation that failed."""

    def __init__(self, operation: str, path: str, reason: str) -> None:
        self.operation = operation
        self.path = path
        super().__init__(f"{operation} {path}: {reason}")


class TokenFileFailed(DriverError):
    """A token file or a volume's record that cannot be written or read."""


class StoreError(DriverError):
    """A request that the backend did not fulfil."""


class StoreConflict(StoreError):
    """A write whose object has changed since it was read (HTTP 409)."""


class StoreRefused(StoreError):
    """A request that the backend refuses: authorisation, quota, admission, immutability."""


class StoreUnavailable(StoreError):
    """A backend that cannot be reached or has a failure; the same request may succeed later."""


class SpoolFailed(DriverError):
    """A spool that cannot be written or read."""


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, however the libraries have linked them."""
    link: BaseException | None = error
    while link is not None:
        yield link
        linked = (getattr(link, "reason", None), link.__cause__, link.__context__, *link.args)
        link = next((each for each in linked if isinstance(each, BaseException)), None)
