from bench.node import SIZES, is_whole, random_token


def test_a_token_tells_whether_it_is_whole() -> None:
    for size in SIZES:
        content = random_token(size).encode()
        assert len(content) == size
        assert is_whole(content)
        assert not is_whole(content[:-1])
        assert not is_whole(content[:600] + random_token(size).encode()[600:])
