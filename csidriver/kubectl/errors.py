"""Errors of calls of kubectl, and of a login. Texts name the object and the cure, no secret."""

from csidriver.errors import DriverError

# The exit status of a command that the user interrupts, as of a shell's after SIGINT.
INTERRUPTED = 130


class KubectlError(DriverError):
    """A call of kubectl that failed."""


class NotFound(KubectlError):
    """An object, a namespace or a kind of object that does not exist."""


class Forbidden(KubectlError):
    """A request that the user's rights do not allow, or that an admission policy denies."""


class AlreadyExists(KubectlError):
    """An object that cannot be created because there is one of its name."""


class Conflict(KubectlError):
    """A change of an object that somebody else has changed."""


class KubectlFailed(KubectlError):
    """Any other failure: kubectl is absent, the cluster is out of reach, a request is not valid."""


class OutputFailed(DriverError):
    """A result that cannot be written."""


class LoginFailed(DriverError):
    """A login that ended without tokens, or before it began; the text says what to do."""
