"""The program ``tangente``: the host's command line, and the boards' and studies' beside it."""

from __future__ import annotations

from collections.abc import Sequence

from tangente.boards import command as boards
from tangente.host import cli
from tangente.study import command as study

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """As :func:`tangente.host.cli.main`, with every command."""
    return cli.main(argv, [boards, study])


if __name__ == "__main__":
    raise SystemExit(main())
