"""The parameters of a run, drawn from its seed alone."""

from dataclasses import dataclass
from random import Random

from csidriver.core.oauth.issuers import STRICT, UNLIMITED, Issuer
from tests.simulator.grants.kinds import draw_kinds
from tests.simulator.server import POLICIES

# Seconds between two resyncs of a replica.
RESYNC_SECONDS = 600.0
# The faults of a run. A calm one allows the strictest checks; `chaos` has all faults.
SCENARIOS = ("calm", "takeover", "users", "crashes", "answers", "backend", "freezes", "chaos")
WITH_USERS = ("users", "chaos", "crashes", "backend")
# The share of runs with Secrets of all grant types.
MIXED = 0.15


@dataclass(frozen=True)
class RunParameters:
    """Probabilities are per effect, call or request; instants are seconds from the start."""

    seed: int
    scenario: str
    secrets: int
    cycles: int
    life: float
    policy: str
    window: float
    introspects: bool
    rate: float
    leader_election: bool
    offsets: tuple[float, float]
    crash: float = 0.0
    freeze: float = 0.0
    lost_response: float = 0.0
    refused_request: float = 0.0
    false_refusal: float = 0.0
    store_fails: float = 0.0
    spool_fails: float = 0.0
    lost_event: float = 0.0
    user_actions: int = 0
    grant_deletions: int = 0
    outages: int = 0
    death_at: float = 0.0
    # Kinds of Secrets without a refresh token (`grants.kinds`), and what is done to them.
    others: tuple[str, ...] = ()
    other_actions: int = 0
    grant_outage: bool = False

    @property
    def horizon(self) -> float:
        """Seconds during which things go wrong; afterwards all is well."""
        return self.cycles * self.life * 0.7

    @property
    def quiet_end(self) -> float:
        """Seconds without faults at the end: a Lease, a takeover, the slowest retry, two lives.

        The next resync finds changes whose event was lost.
        """
        calm = 3700.0 if self.refused_request else 400.0
        return calm + (RESYNC_SECONDS if self.lost_event else 0.0) + 2 * self.life

    @property
    def issuer(self) -> Issuer:
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
    def draw(cls, seed: int, scenario: str = "", *, mixed: bool = False) -> "RunParameters":
        """At most 20 Secrets and 40 cycles, mostly fewer."""
        rng = Random(seed)  # noqa: S311 - repeatable on purpose
        # Of its own: what other grants a run has must not change what else it does.
        others = Random(f"{seed} others")  # noqa: S311 - repeatable on purpose
        mixed = others.random() < MIXED or mixed
        scenario = scenario or SCENARIOS[seed % len(SCENARIOS)]
        all_faults = scenario == "chaos"
        answers = all_faults or scenario == "answers"
        policy = rng.choice(POLICIES if scenario not in ("calm", "takeover") else POLICIES[:4])

        def probability(named: str, highest: float) -> float:
            return rng.uniform(0.1, 1.0) * highest if all_faults or scenario == named else 0.0

        skew = rng.uniform(-30.0, 30.0)
        return cls(
            seed=seed,
            scenario=scenario,
            secrets=20 if rng.random() < 0.03 else rng.randint(1, 4),
            cycles=40 if rng.random() < 0.05 else rng.randint(4, 12),
            life=rng.choice((60.0, 300.0, 3600.0) if answers else (20.0, 60.0, 300.0, 3600.0)),
            policy=policy,
            window=rng.choice((5.0, 60.0)) if policy == "window" else 0.0,
            introspects=rng.random() < 0.4,
            rate=rng.choice((2.0, 10.0, 50.0)),
            leader_election=scenario in ("calm", "takeover", "users") or rng.random() < 0.7,
            offsets=(0.0, 0.0 if scenario in ("calm", "takeover") else skew),
            crash=probability("crashes", 0.01),
            freeze=probability("freezes", 0.004),
            lost_response=probability("answers", 0.1),
            refused_request=probability("answers", 0.1),
            false_refusal=probability("answers", 0.1) if policy == "lying" else 0.0,
            store_fails=probability("backend", 0.1),
            spool_fails=probability("backend", 0.1),
            lost_event=probability("backend", 0.1),
            user_actions=rng.randint(1, 10) if scenario in WITH_USERS else 0,
            outages=rng.randint(1, 3) if scenario in ("calm", "backend", "chaos", "answers") else 0,
            # Where a process remembers: else grants that are lost are those of section 8.
            grant_deletions=rng.randint(0, 3) if scenario == "users" else 0,
            death_at=rng.random() if scenario == "takeover" else 0.0,
            others=draw_kinds(others) if mixed else (),
            other_actions=others.randint(1, 6) if mixed and scenario in WITH_USERS else 0,
            grant_outage=mixed and answers and others.random() < 0.5,
        )
