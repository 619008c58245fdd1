"""`python -m examples.real_demo [MODEL]`: on SmolLM2, or on a model folder of your own."""

import sys

from examples.real_demo.run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
