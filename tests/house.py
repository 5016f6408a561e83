"""The house in numbers: python tests/house.py. test_house.py holds its bounds."""

import ast
from collections.abc import Callable
from graphlib import CycleError, TopologicalSorter
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


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports() -> dict[str, set[str]]:
    """Of each module of ours the others that it imports, wherever it does: also within a function,
    and for its types alone."""
    modules = {_module(path): path for folder in ("engine", "models", "flaxmill")
               for path in (ROOT / folder).rglob("*.py")} | {"launch": ROOT / "launch.py"}
    found: dict[str, set[str]] = {name: set() for name in modules}
    for name, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                named = {f"{node.module}.{alias.name}" for alias in node.names} & modules.keys()
                found[name] |= named or {node.module} & modules.keys()
            elif isinstance(node, ast.Import):
                found[name] |= {alias.name for alias in node.names} & modules.keys()
        found[name].discard(name)
    return found


def room(module: str) -> str:
    """A wing, or a file of the flow: engine.optim of engine.optim.groups, engine.loop itself."""
    return ".".join(module.split(".")[:2 if module.startswith("engine") else 1])


def circle(within: Callable[[str], str] = str) -> list[str]:
    """Modules, or by `room` rooms, that import each other, in a round; [] where there are none."""
    graph: dict[str, set[str]] = {}
    for name, others in imports().items():
        graph.setdefault(within(name), set()).update({within(x) for x in others} - {within(name)})
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


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
          f"functions with a parameter `config`: {house.config}\n"
          f"wings and files that import each other: {circle(room) or 'none'}")
