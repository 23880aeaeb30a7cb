"""Ages, compared with the table in k8s.io/apimachinery's own test of HumanDuration."""

import pytest

from csidriver.kubectl.output.ages import human_duration

MINUTE, HOUR, DAY = 60, 3600, 86400
YEAR = 365 * DAY


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-0.5, "0s"),
        (-2, "<invalid>"),
        (119.9, "119s"),
        (2 * MINUTE, "2m"),
        (5 * MINUTE + 12, "5m12s"),
        (179 * MINUTE, "179m"),
        (3 * HOUR + 10 * MINUTE, "3h10m"),
        (49 * HOUR, "2d1h"),
        (8 * DAY + 2 * HOUR, "8d"),
        (2 * YEAR + DAY, "2y1d"),
        (9 * YEAR + 3 * DAY, "9y"),
    ],
)
def test_a_duration_is_spelled_as_kubectl_does(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text
