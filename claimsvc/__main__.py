"""`python -m claimsvc` is the console command `claimsvc`."""

import sys

EXIT_INTERRUPTED = 130


def main() -> None:
    """Run the console command. Ctrl-C is no traceback from the first moment on, and loading takes a while."""
    try:
        from claimsvc.cli import load  # noqa: PLC0415 - inside the try
        from claimsvc.cli.console import app  # noqa: PLC0415

        load(next(iter(sys.argv[1:]), None))
        app()
    except KeyboardInterrupt:  # before the command itself begins
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
