"""How Sphinx builds these pages: `make docs`. Nothing is fetched: other projects' names are in inventories/."""

from __future__ import annotations

import re
import sys
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from setuptools.compat.py310 import tomllib

HERE = Path(__file__).resolve().parent
SETTINGS = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]
sys.path.insert(0, str(HERE.parent))

project = SETTINGS["name"]
version = release = SETTINGS["version"]
author = SETTINGS["authors"][0]["name"]
copyright = author

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosectionlabel",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
autosectionlabel_prefix_document = True
exclude_patterns = ["_build", "conf.py"]
default_role = "py:obj"
nitpicky = False  # a parameter in backticks is no name of the reference

html_theme = "furo"
html_static_path, html_css_files = ["static"], ["site.css"]
html_title = f"geventws {release}"
html_copy_source = False
html_show_copyright = False
html_theme_options = {"source_repository": SETTINGS["urls"].get("Source", ""), "source_directory": "docs/"}
pygments_style, pygments_dark_style = "friendly", "monokai"
copybutton_prompt_text = "$ "

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True
maximum_signature_line_length = 88

intersphinx_mapping = {
    "python": ("https://docs.python.org/3", "inventories/python.inv"),
    "gevent": ("https://www.gevent.org", "inventories/gevent.inv"),
}


PAGES_OF = {"CHANGES": "changes", "CONTRIBUTING": "contributing", "SECURITY": "reporting"}
"""The pages that files of the project's top are included in."""


def link_pages(_app: object, _relative: object, _parent: object, content: list[str]) -> None:
    """Make links between pages of what is included from the project's top, where they are paths of files."""
    link = re.compile(r"`([^`<]+?)\s+<(?:docs/)?([\w-]+)\.rst>`__")
    content[0] = link.sub(lambda found: f":doc:`{found[1]} <{PAGES_OF.get(found[2], found[2])}>`", content[0])


def setup(app: object) -> None:
    """Connect what Sphinx calls."""
    app.connect("include-read", link_pages)
