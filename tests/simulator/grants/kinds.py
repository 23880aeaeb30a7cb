"""The kinds of Secrets without a refresh token, each of which is also the beginning of its name."""

from random import Random

CLIENT, DERIVED, OF_CLIENT = "client", "derived", "of-client"
# Those that can never have a token.
GREEDY, OWN, ROUND, NESTED, ABSENT = "greedy", "own", "round", "nested", "absent"
# The login of each kind that is a token-exchange; the Secret `absent-login` never exists.
LOGINS = {
    DERIVED: "token-0",
    OF_CLIENT: CLIENT,
    GREEDY: "token-0",
    OWN: OWN,
    ROUND: "round-trip",
    "round-trip": ROUND,
    NESTED: DERIVED,
    ABSENT: "absent-login",
}


def draw_kinds(rng: Random) -> tuple[str, ...]:
    """Return a token of each grant type, and some that cannot be."""
    further = rng.choice(
        ((), (OF_CLIENT,), (GREEDY,), (OWN, NESTED), (ROUND, "round-trip", ABSENT))
    )
    return CLIENT, DERIVED, *further
