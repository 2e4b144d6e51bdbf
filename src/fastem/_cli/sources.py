"""Tables in files that are no text: .npy, .parquet, .xlsx.

A source has `name`, `names` of all columns, `unit` (what its places are counted in),
`label_column` (which names the rows, or None), ``pieces(keep, numbers)``, which yields (places,
rows, labels), and `array`, if the file is one.
"""

import numpy as np

from fastem._cli import CommandError, need, one_line

_ROWS = 20_000  # that are read at a time
_UNNAMED = "Unnamed: 0", "__index_level_"  # what pandas calls an index without a name


def cell_text(cell):
    """Return a cell's text: '' where it is missing, whole floats as integers."""
    text = "" if cell is None or cell != cell else str(cell).strip()
    return text.removesuffix(".0") if isinstance(cell, float | np.floating) else text


class ArraySource:
    """A source whose `read(keep)` yields arrays of some rows."""

    unit = "row"

    def __init__(self, path, names, read, label_column=None, array=None):
        self.name, self.names, self.read = str(path), names, read
        self.label_column, self.array = label_column, array
        if label_column is not None and names[label_column].startswith(_UNNAMED):
            names[label_column] = ""

    def pieces(self, keep, numbers=True):
        """Yield (places, rows, labels)."""
        begin, label = 1, self.label_column
        for rows in self.read([*keep, *([] if label is None else [label])]):
            labels, places = None, range(begin, begin + len(rows))
            if label is not None:
                rows, labels = rows[:, :-1], list(map(cell_text, rows[:, -1]))
            yield places, rows, labels
            begin += len(places)


def load_array(path):
    """Return what numpy.save wrote, mapped: a header that claims too much is found out first."""
    try:
        X = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # NumPy parses the header as Python: a damaged one raises anything
        raise CommandError(f"{path}: not a .npy file of numbers ({one_line(error)})") from error
    if not isinstance(X, np.ndarray):
        raise CommandError(f"{path}: is an .npz archive; save one array with numpy.save")
    if X.dtype.kind not in "fiub":
        raise CommandError(f"{path}: holds {X.dtype}; convert it to real numbers")
    return X


def _open_npy(path):
    """Open a NumPy array of one or two dimensions."""
    X = load_array(path)
    if X.ndim not in (1, 2):
        raise CommandError(f"{path}: holds an array of shape {X.shape}; make it one row a sample")
    X = X[:, None] if X.ndim == 1 else X
    if X.size == 0:
        raise CommandError(f"{path}: has {X.shape[0]} rows and {X.shape[1]} columns of numbers")

    def read(keep):
        return (X[begin : begin + _ROWS, keep] for begin in range(0, len(X), _ROWS))

    return ArraySource(path, [f"x{j + 1}" for j in range(X.shape[1])], read, array=X)


def _open_parquet(path):
    """Open an Apache Parquet table; the index that pandas keeps in it names the rows."""
    arrow = need("pyarrow", "parquet", f"{path}: reading .parquet")
    from pyarrow.parquet import ParquetFile

    try:
        file = ParquetFile(path, pre_buffer=False)  # or all of it would be in memory
        schema = file.schema_arrow
        index = (schema.pandas_metadata or {}).get("index_columns", ())
    except arrow.ArrowException as error:
        raise CommandError(f"{path}: not a Parquet file ({one_line(error)})") from error
    stored = list(schema.names)

    def read(keep):
        wanted = [stored[j] for j in keep]
        try:
            for batch in file.iter_batches(_ROWS, columns=wanted):
                yield _stacked([batch.column(n).to_numpy(zero_copy_only=False) for n in wanted])
        except (arrow.ArrowException, KeyError) as error:
            raise CommandError(f"{path}: cannot be read ({one_line(error)})") from error

    labels = [stored.index(name) for name in index if name in stored]
    return ArraySource(path, list(stored), read, labels[0] if len(labels) == 1 else None)


def _open_excel(path):
    """Open the first sheet of a workbook; a first column without a name names the rows."""
    pandas = need("pandas", "excel", f"{path}: reading .xlsx")
    need("openpyxl", "excel", f"{path}: reading .xlsx")
    try:
        frame = pandas.read_excel(path)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # damaged files raise anything
        raise CommandError(f"{path}: not a workbook ({one_line(error)})") from error
    names = [str(name) for name in frame.columns]
    label = 0 if len(names) > 1 and names[0].startswith(_UNNAMED) else None
    columns = [frame.iloc[:, j].to_numpy() for j in range(len(names))]
    return ArraySource(path, names, lambda keep: [_stacked([columns[j] for j in keep])], label)


def _stacked(columns):
    """Return columns as one array, of objects if one is no number."""
    if all(column.dtype.kind in "fiub" for column in columns):
        return np.column_stack(columns)
    X = np.empty((len(columns[0]), len(columns)), object)
    for j, column in enumerate(columns):
        X[:, j] = column
    return X


READERS = {".npy": _open_npy, ".parquet": _open_parquet, ".xlsx": _open_excel}
