"""The errors of kubectl among all errors."""

from csidriver.errors import DriverError
from csidriver.kubectl import errors


def test_each_error_is_one_that_a_command_prints() -> None:
    for each in (errors.NotFound, errors.Forbidden, errors.AlreadyExists, errors.Conflict):
        assert issubclass(each, errors.KubectlError)
    assert issubclass(errors.KubectlFailed, errors.KubectlError)
    assert issubclass(errors.KubectlError, DriverError)
