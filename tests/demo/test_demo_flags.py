import argparse

from csidriver.demo.demo_flags import add_demo, add_demo_issuer


def test_without_flags_the_demo_runs_until_it_is_interrupted_and_without_a_login() -> None:
    parser = argparse.ArgumentParser()
    add_demo(parser)
    args = parser.parse_args([])
    assert (args.seconds, args.lifetime, args.json, args.login) == (None, 20.0, False, False)
    assert parser.parse_args(["--login"]).login is True


def test_the_server_takes_several_first_tokens() -> None:
    parser = argparse.ArgumentParser()
    add_demo_issuer(parser)
    args = parser.parse_args(["--seed=a", "--seed=b"])
    assert args.seed == ["a", "b"]
    assert (args.listen, args.issuer) == (("localhost", 8080), "")
