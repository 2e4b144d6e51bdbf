"""The table of what the drop-in replaces, from the table that it works by."""

from sphinx.util.docutils import SphinxDirective

from fastem import _patch


class PatchTable(SphinxDirective):
    """One row for each class that is replaced."""

    def run(self):
        """Return the table."""
        lines = ["| From | Class | Methods that fastem runs |", "| --- | --- | --- |"]
        for entry in _patch.TABLE:
            try:
                methods = ", ".join(f"`{name}`" for name in _patch.row_of(entry).exchanged)
            except ModuleNotFoundError:  # the build of these pages does not need the library
                methods = "all public ones that both have"
            link = f"{{py:obj}}`{entry.name} <fastem.{entry.ours}>`"
            lines.append(f"| `{entry.module}` | {link} | {methods} |")
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app):
    """Register the directive."""
    app.add_directive("patch-table", PatchTable)
    return {"parallel_read_safe": True}
