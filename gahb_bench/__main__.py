"""``python -m gahb_bench``: runs the command line, and turns errors into one clear paragraph and an exit code."""

import sys

from gahb_bench.cli import app
from gahb_bench.errors import GahbError, MissingPackageError, StoreError, UsageError


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 a check failed, 2 wrong usage."""
    try:
        app()
    except GahbError as error:
        if "--debug" in sys.argv:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError | StoreError | MissingPackageError) else 1)


if __name__ == "__main__":
    main()
