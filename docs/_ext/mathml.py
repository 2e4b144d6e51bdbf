"""Equations as MathML, by docutils' own converter: no script, no font and no network to read them.

An equation that the converter cannot read ends a build in which warnings are errors.
"""

import re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

_log = logging.getLogger(__name__)


def _mathml(node, as_block):
    try:
        mathml = tex2mathml(node.astext(), as_block=as_block)
        return re.sub(r"<mo([^>]*)>‖", r'<mo\1 stretchy="false">‖', mathml)  # as in TeX
    except MathError as error:
        _log.warning("equation %r: %s", node.astext(), error, location=node)
        return ""


def _inline(translator, node):
    translator.body.append(_mathml(node, as_block=False))
    raise nodes.SkipNode


def _block(translator, node):
    math = _mathml(node, as_block=True)
    translator.body.append(translator.starttag(node, "div", CLASS="math-block") + math + "</div>")
    raise nodes.SkipNode


def setup(app):
    """Register the renderer that conf.py chooses."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
