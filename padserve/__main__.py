"""`python -m padserve` is `padserve`."""

from padserve.cli.app import app

if __name__ == "__main__":
    app(prog_name="padserve")
