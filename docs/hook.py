"""mkdocs: the page of flags is what `--helpfull` prints."""

from typing import Any

from engine.command import flags

PLACE = "(flaxmill --helpfull)"


def on_page_markdown(markdown: str, **_: Any) -> str:
    return markdown.replace(PLACE, f"```text\n{flags.parse(['--helpfull'])}\n```")
