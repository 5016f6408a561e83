"""The house in numbers: python tests/house.py. test_house.py holds its bounds."""

import ast
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class House(NamedTuple):
    """Lines of the flow (engine's own files), of engine and models together, of the longest file;
    functions that have a parameter `config`."""

    flow: int
    whole: int
    longest: tuple[int, str]
    config: int


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def _takes_config(path: Path) -> int:
    functions = (node for node in ast.walk(ast.parse(path.read_text()))
                 if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return sum("config" in {a.arg for a in (*f.args.args, *f.args.kwonlyargs)} for f in functions)


def measured() -> House:
    flow = [*(ROOT / "engine").glob("*.py")]
    whole = [*(ROOT / "engine").rglob("*.py"), *(ROOT / "models").rglob("*.py")]
    longest = max((lines(path), str(path.relative_to(ROOT))) for path in whole)
    return House(sum(map(lines, flow)), sum(map(lines, whole)), longest,
                 sum(map(_takes_config, [*whole, ROOT / "launch.py"])))


if __name__ == "__main__":
    house = measured()
    print(f"the flow, engine's own files: {house.flow:,} lines\n"
          f"engine and models: {house.whole:,} lines\n"
          f"the longest file: {house.longest[1]}, {house.longest[0]} lines\n"
          f"functions with a parameter `config`: {house.config}")
