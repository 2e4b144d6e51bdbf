"""The table of what the drop-in replaces, from the table that it works by."""

from sphinx.util.docutils import SphinxDirective

from fastem import _patch


class PatchTable(SphinxDirective):
    """One row for each class that is replaced and installed here."""

    def run(self):
        """Return the table."""
        lines = ["| From | Class | Methods that fastem runs |", "| --- | --- | --- |"]
        for original, ours in _patch._classes():
            home = next(m for m, name, _ in _patch.TABLE if name == original.__name__)
            methods = ", ".join(f"`{name}`" for name in _patch._Row(original, ours).exchanged)
            link = f"{{py:obj}}`{original.__name__} <fastem.{ours.__name__}>`"
            lines.append(f"| `{home}` | {link} | {methods} |")
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app):
    """Register the directive."""
    app.add_directive("patch-table", PatchTable)
    return {"parallel_read_safe": True}
