"""The dashboard: server-rendered pages at `/`, each showing what the API's own functions answer to its signed-in key.

One file per group of pages, `templates/` for what they look like, `static/` for one stylesheet and a little script.
"""
