"""What a run is made of, drawn from its seed alone."""

from dataclasses import dataclass
from random import Random

from csidriver.core.oauth.issuers import STRICT, UNLIMITED, Issuer
from tests.simulator.server import POLICIES

# What may go wrong in a run. A quiet one allows the strictest checks; `chaos` has everything.
# Seconds between two looks of a replica for what no event told of.
SWEEP_EVERY = 600.0
KINDS = ("calm", "takeover", "users", "crashes", "answers", "backend", "freezes", "chaos")


@dataclass(frozen=True)
class Plan:
    """Probabilities are per effect, call or request; instants are seconds from the start."""

    seed: int
    kind: str
    secrets: int
    cycles: int
    life: float
    policy: str
    window: float
    introspects: bool
    rate: float
    leased: bool
    offsets: tuple[float, float]
    crash: float = 0.0
    freeze: float = 0.0
    lost: float = 0.0
    refused: float = 0.0
    lies: float = 0.0
    store_fails: float = 0.0
    spool_fails: float = 0.0
    deaf: float = 0.0
    user_acts: int = 0
    thefts: int = 0
    outages: int = 0
    death_at: float = 0.0

    @property
    def horizon(self) -> float:
        """Seconds during which things go wrong; afterwards all is well."""
        return self.cycles * self.life * 0.7

    @property
    def peace(self) -> float:
        """Seconds without faults at the end: a Lease, a takeover, the slowest retry, two lives.

        What no event told of is found by the next sweep.
        """
        calm = 3700.0 if self.refused else 400.0
        return calm + (SWEEP_EVERY if self.deaf else 0.0) + 2 * self.life

    @property
    def issuer(self) -> Issuer:
        """The authorization server as the operator has configured it."""
        reuse = {"window": self.window, "unlimited": UNLIMITED}.get(self.policy, STRICT)
        asked = "https://auth.example/introspect" if self.introspects else ""
        return Issuer(
            "cern",
            token_endpoint="https://auth.example/token",
            default=True,
            reuse=reuse,
            rate=self.rate,
            introspection_endpoint=asked,
        )

    @classmethod
    def drawn(cls, seed: int, kind: str = "") -> "Plan":
        """At most 20 Secrets and 40 cycles, mostly fewer."""
        rng = Random(seed)  # noqa: S311 - repeatable on purpose
        kind = kind or KINDS[seed % len(KINDS)]
        everything = kind == "chaos"
        answers = everything or kind == "answers"
        policy = rng.choice(POLICIES if kind not in ("calm", "takeover") else POLICIES[:4])

        def odds(named: str, most: float) -> float:
            return rng.uniform(0.1, 1.0) * most if everything or kind == named else 0.0

        skew = rng.uniform(-30.0, 30.0)
        return cls(
            seed=seed,
            kind=kind,
            secrets=20 if rng.random() < 0.03 else rng.randint(1, 4),
            cycles=40 if rng.random() < 0.05 else rng.randint(4, 12),
            life=rng.choice((60.0, 300.0, 3600.0) if answers else (20.0, 60.0, 300.0, 3600.0)),
            policy=policy,
            window=rng.choice((5.0, 60.0)) if policy == "window" else 0.0,
            introspects=rng.random() < 0.4,
            rate=rng.choice((2.0, 10.0, 50.0)),
            leased=kind in ("calm", "takeover", "users") or rng.random() < 0.7,
            offsets=(0.0, 0.0 if kind in ("calm", "takeover") else skew),
            crash=odds("crashes", 0.01),
            freeze=odds("freezes", 0.004),
            lost=odds("answers", 0.1),
            refused=odds("answers", 0.1),
            lies=odds("answers", 0.1) if policy == "lying" else 0.0,
            store_fails=odds("backend", 0.1),
            spool_fails=odds("backend", 0.1),
            deaf=odds("backend", 0.1),
            user_acts=rng.randint(1, 10) if kind in ("users", "chaos", "crashes", "backend") else 0,
            outages=rng.randint(1, 3) if kind in ("calm", "backend", "chaos", "answers") else 0,
            # Where a process remembers: else grants that are lost are those of section 8.
            thefts=rng.randint(0, 3) if kind == "users" else 0,
            death_at=rng.random() if kind == "takeover" else 0.0,
        )
