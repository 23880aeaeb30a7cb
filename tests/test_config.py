import pytest

from csidriver.config import LeaseTimings
from csidriver.errors import InvalidSettings


def test_one_renewal_of_a_lease_may_fail() -> None:
    lease = LeaseTimings(10.0, 5.0)
    assert (lease.renew_deadline, lease.retry_period) == (5.0, 0.625)
    with pytest.raises(InvalidSettings, match="at least twice --lease-renew"):
        LeaseTimings(9.9, 5.0)
