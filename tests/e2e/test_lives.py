"""Pods that end slowly."""

import subprocess

from tests.e2e import readers
from tests.e2e.user_namespace import UserNamespace
from tests.issuer.issuer import ScriptedIssuer


def test_a_terminating_pod_reads_valid_tokens_until_it_ends(
    user: UserNamespace, issuer: ScriptedIssuer
) -> None:
    # Of 60 s grace it uses 45: more than two lives of a token.
    found = readers.start(user, issuer, seconds_after_sigterm=45)
    logs = [
        subprocess.Popen(  # noqa: S603 - a program of ours
            user.cluster.admin.command("logs", "--follow", reader.name, f"--namespace={user.name}"),
            stdout=subprocess.PIPE,
            text=True,
        )
        for reader in found
    ]
    user.kubectl("delete", "pod", *(reader.name for reader in found), "--wait=false")
    for log in logs:
        lines = log.communicate(timeout=120)[0].splitlines()
        (asked,) = [line for line in lines if "terminating" in line]
        before, after = (
            readers.tally_of(part)
            for part in (lines[: lines.index(asked)], lines[lines.index(asked) + 1 :])
        )
        assert readers.is_clean(after)
        assert len(after["first_reads"]) >= len(before["first_reads"]) + 2, (
            "it got new ones meanwhile"
        )
