"""`python -m examples.demo` is the demo; `python -m examples.demo.train` makes its models."""

import sys

from examples.demo.run import main

if __name__ == "__main__":
    sys.exit(main())
