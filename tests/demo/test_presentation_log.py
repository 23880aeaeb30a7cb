from csidriver.demo.presentation_log import Outcome, Presentation, most_presentations


def row(token: str, outcome: Outcome) -> Presentation:
    return Presentation(0.0, "app", token, outcome, "")


def test_only_rotated_tokens_count_with_all_their_presentations() -> None:
    assert most_presentations([row("first", Outcome.UNKNOWN)]) == 0
    log = [row("first", Outcome.ROTATED), row("second", Outcome.ROTATED)]
    log += [row("first", Outcome.REPLAYED), row("first", Outcome.INVALID_SCOPE)]
    log += [row("never rotated", Outcome.UNKNOWN)] * 5
    assert most_presentations(log) == 3
