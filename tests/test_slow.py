"""The list of slow tests names tests that exist, and is made by time."""

import ast
from pathlib import Path

from tests.slow import LIST, slow

HERE = Path(__file__).parent


def test_every_name_of_the_list_is_a_test():
    names = LIST.read_text(encoding="utf-8").split()
    assert names == sorted(set(names))
    there = {}
    for name in names:
        file, _, function = name.partition("::")
        if file not in there:
            tree = ast.parse((HERE / file).read_text(encoding="utf-8"))
            there[file] = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert function in there[file], name


def test_the_longest_are_left_out_and_a_shared_set_up_takes_its_file_along():
    times = {
        "a.py::test_long": [9.0],
        "a.py::test_short": [0.1, 0.1],
        "b.py::test_first": [5.0, 0.1, 0.1],  # the first case waits for what all of the file use
        "b.py::test_second": [0.1],
        "c.py::test_some": [1.0, 1.0],
    }
    assert slow(times, keep=100) == []
    assert slow(times, keep=8) == ["a.py::test_long"]
    assert slow(times, keep=3) == ["a.py::test_long", "b.py::test_first", "b.py::test_second"]
