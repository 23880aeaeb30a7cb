from csidriver.webhook.certificate_source import certificate_problems, with_cause


def test_a_missing_certificate_is_a_problem_with_its_cause() -> None:
    assert certificate_problems(None, "", 99.0) == ["there is no certificate yet"]
    told = "there is no certificate yet: no rights"
    assert certificate_problems(None, "no rights", 99.0) == [told]
    assert with_cause("cannot write: no rights", "no rights") == "cannot write: no rights"
