"""The errors for a Secret, or a namespace, that does not exist."""

from csidriver.core.login_command import login_command
from csidriver.core.names import SourceRef
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.errors import KubectlError, NotFound


def require_namespace(kubectl: Kubectl, namespace: str) -> None:
    """Raise NotFound if there is no such namespace; pass if the user may not know."""
    try:
        kubectl.get_text(f"namespace/{namespace}", "--output=name")
    except NotFound:
        text = f"there is no namespace {namespace}; kubectl get namespaces lists them"
        raise NotFound(text) from None
    except KubectlError:
        # Many users may read Secrets of their namespace, but no namespace.
        return


def absent_secret(ref: SourceRef) -> NotFound:
    """Return the error; a mistake in the namespace should not lead to a second login."""
    return NotFound(
        f"there is no Secret {ref.name} in namespace {ref.namespace}; if it is in another one: "
        f"kubectl oauth2-csi status -A; to make one here: {login_command(ref)}"
    )
