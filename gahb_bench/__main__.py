"""``python -m gahb_bench``: runs the command line, and turns errors into one clear paragraph and an exit code."""

import os
import sys

from gahb_bench.cli import app
from gahb_bench.core.errors import GahbError, MissingPackageError, StoreError, UsageError, printable, reason_of

_PROGRAM = "gahb-bench"  # as it is installed: shells complete a program's name
_PARAGRAPH = 4000  # longest error message, in characters


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 a check failed or the unexpected happened, 2 wrong usage."""
    os.environ["MPLBACKEND"] = "agg"  # figures are files here: no other backend has to be there, or to be spelt right
    debug = "--debug" in sys.argv[1:]
    sys.argv = [sys.argv[0], *(word for word in sys.argv[1:] if word != "--debug")]
    completion = {"--install-completion", "--show-completion"}.intersection(sys.argv[1:])
    try:
        app(prog_name=_PROGRAM if completion else None)
    except KeyboardInterrupt:
        print("interrupted.", file=sys.stderr)
        sys.exit(1)
    except GahbError as error:
        if debug:
            raise
        print(f"error: {printable(error, _PARAGRAPH)}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError | StoreError | MissingPackageError) else 1)
    except Exception as error:
        if debug:
            raise
        print(f"error: unexpected {reason_of(error)} (run with --debug for the traceback)", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
