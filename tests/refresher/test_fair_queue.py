from csidriver.refresher.fair_queue import FairQueue


def test_namespaces_take_turns_each_with_its_earliest() -> None:
    queue: FairQueue[str] = FairQueue()
    for key in ("a0", "a1", "a2", "b0", "a0"):
        queue.add(key, key[0])
    assert [queue.pop() for _ in range(4)] == ["a0", "b0", "a1", "a2"]
    assert not queue.lines


def test_who_has_less_in_progress_comes_first() -> None:
    queue: FairQueue[str] = FairQueue()
    for key in ("a0", "a1", "b0", "b1", "b2"):
        queue.add(key, key[0])
    queue.in_progress["a"] += 2
    order = []
    for _ in range(3):
        order.append(queue.pop())
        queue.in_progress["b"] += 1
    assert order == ["b0", "b1", "a0"]
    for _ in range(3):
        queue.finish("b")
    assert queue.in_progress == {"a": 2}, "who has nothing in progress takes no memory"


def test_how_many_come_before() -> None:
    queue: FairQueue[str] = FairQueue()
    assert [queue.add(key, key[0]) for key in ("a0", "a1", "b0", "b1")] == [0, 1, 0, 2]


def test_who_is_put_first_comes_before_its_namespace_but_not_before_others() -> None:
    queue: FairQueue[str] = FairQueue()
    for key in ("b0", "a0", "a1"):
        queue.add(key, key[0])
    queue.add("a2", "a", first=True)
    assert [queue.pop() for _ in range(4)] == ["b0", "a2", "a0", "a1"]
