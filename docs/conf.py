"""Sphinx's settings. ``python -m sphinx -W -b html docs docs/_build/html`` builds the site.

Nothing here needs a network, at build time or when the pages are read: equations are MathML, which
browsers set themselves, and no other site's inventory is asked for.
"""

import sys
from pathlib import Path

import fastem

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "fastem"
author = "The fastem developers"
copyright = author
version = release = fastem.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "bench_tables",
    "mathml",
    "own_methods",
    "patch_table",
]
exclude_patterns = ["_build", "examples"]
templates_path = ["_templates"]
default_role = "literal"  # `name` in docstrings
highlight_language = "none"  # what has no language is no Python
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!fastem).*")]  # others' names need others' inventories

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's types say more
numpydoc_show_class_members = False  # the template lists them

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "backreferences_dir": "generated/examples",
    "doc_module": ("fastem",),
    "reference_url": {"fastem": None},
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "min_reported_time": 1,
    "download_all_examples": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "fastem"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["fastem.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "fastem"},
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "show_toc_level": 2,
    "show_version_warning_banner": False,
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}
_ALONE = (
    "start",
    "command_line",
    "drop_in",
    "own_model",
    "more_models",
    "performance",
    "bench_results",
    "determinism",
)
_ALONE += ("contributing", "changelog")
html_sidebars = {page: [] for page in _ALONE}


def _close_fences(app, docname, source):
    """Drop the empty line that ends an example: doctest needs it, readers do not."""
    source[0] = source[0].replace("\n\n```\n", "\n```\n")


def setup(app):
    """Connect the above."""
    app.connect("source-read", _close_fences)
