"""`python -m padserve` is `padserve`, and `padserve` is `main`."""

import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command line of this process. A Ctrl-C while it is still being imported ends it without a word, too."""
    try:
        from padserve.cli.app import app  # noqa: PLC0415 - as said above

        app(prog_name="padserve")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
