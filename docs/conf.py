"""How Sphinx builds these pages: Markdown in, HTML that needs nothing from outside out."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

project = "padserve"
author = "the padserve project"
version = release = installed_version("padserve")

extensions = ["myst_parser", "docs.extension"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["extension", "images/*.md"]
nitpicky = True  # a link to nowhere is a warning, and warnings are errors

myst_heading_anchors = 4
myst_links_external_new_tab = False

html_theme = "furo"
html_title = "padserve"
html_show_sphinx = False
html_copy_source = False
suppress_warnings = ["toc.empty_glob"]  # pages that a build may lack
pygments_style = "friendly"
pygments_dark_style = "native"
