"""API pages list what fastem defines, not what its estimators inherit from scikit-learn."""


def _skip(app, what, name, member, skip, options):
    module = getattr(member, "__module__", None) or getattr(
        getattr(member, "fget", None), "__module__", ""
    )
    return True if not (module or "").startswith("fastem") and what == "class" else None


def setup(app):
    """Connect the filter."""
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True}
