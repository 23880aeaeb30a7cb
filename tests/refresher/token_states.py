"""A token's three Secrets as they are after a refresh."""

from dataclasses import replace

from csidriver.core import annotations
from csidriver.core.companion import Companion
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.refresh import grant_secret
from csidriver.core.refresh.grant import Grant, adopt
from csidriver.core.refresh.source import Source
from csidriver.core.refresh.state import TokenState
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status

REF = SourceRef("ns", "hello")
TEXT = '{"access_token":"at","refresh_token":"rt"}'


def source(text: str = TEXT, **notes: str) -> Secret:
    own = {f"{annotations.PREFIX}{key}": value for key, value in notes.items()}
    return Secret(
        REF.namespace,
        REF.name,
        uid="uid",
        resource_version="s1",
        annotations={annotations.IS_TOKEN: "true", annotations.STATUS: "Pending", **own},
        data={"oauth": Sensitive(text), "clientID": Sensitive("app")},
    )


def grant() -> Grant:
    return adopt(Source.parse(source()), Issuer("demo", token_endpoint="https://x/t"), 1.0, None)


def known() -> TokenState:
    held = grant()
    companion = Companion(
        REF, "uid", 1, Status.READY, "", 0.0, replace(held, expires_at=9).access_token(1)
    )
    return TokenState(
        REF,
        source=source(),
        grant=held,
        grant_secret=replace(grant_secret.to_secret(held, "driver"), resource_version="g1"),
        companion=Secret(
            "tokens",
            REF.companion,
            type=annotations.COMPANION_SECRET_TYPE,
            resource_version="c1",
            annotations=companion.annotations(),
            data=companion.data(),
        ),
        source_stale=False,
        grant_stale=False,
    )
