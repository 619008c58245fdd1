"""`python -m worker.engine.follower <pipe> <leader>`: one more device of a model that several hold together."""

import sys
from multiprocessing.connection import Connection

from worker.engine.followers import follow
from worker.engine.loading import load_shares

if __name__ == "__main__":
    follow(Connection(int(sys.argv[1])), int(sys.argv[2]), load_shares)
