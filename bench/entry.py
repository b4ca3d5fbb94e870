"""How a measurement is run as a program."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from tangente.host.data import DataError

__all__ = ["as_program"]


def as_program(main: Callable[[], int | None]) -> NoReturn:
    """End the process with ``main``'s code.

    Data or an extra that is missing is one line on standard error and code 1; Ctrl-C is code 130.
    """
    name = Path(sys.argv[0]).stem
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        sys.exit(130)
    except ImportError as error:
        sys.exit(f"{name}: {error}; `tangente doctor` says how to install what is missing")
    except DataError as error:
        sys.exit(f"{name}: {error}")
