# What dense data hold, and how they are packed: a part of discrete.pyx.

def pack(X, int n_threads=1):
    """Return the bits of binary data, or None if a value is none of 0, 1 and NaN.

    Returns
    -------
    ones, known : ndarray of shape (n, ceil(D / 32)), uint32
        Which values are 1, and which are not NaN.
    """
    cdef const discrete_ops *ops = fastem_discrete_ops(runtime.level(), 0)
    cdef Py_ssize_t n = X.shape[0], d = X.shape[1], begin, some, words = (d + 31) // 32, part
    cdef Py_ssize_t step = _rows_of_part(X), n_parts = (n + step - 1) // step
    cdef int is_float = X.dtype == np.float32, failed = 0
    cdef uint32_t[:, ::1] ones = np.empty((n, words), dtype=np.uint32)
    cdef uint32_t[:, ::1] known = np.empty((n, words), dtype=np.uint32)
    X = np.require(X, requirements=["C", "A"])
    cdef const char *x = <const char *> address_of(X)
    cdef Py_ssize_t row = X.strides[0] if n > 1 else 0
    if n * d < MOST_SERIAL:
        n_threads = 1
    for part in prange(n_parts, nogil=True, num_threads=n_threads, schedule="static"):
        begin = part * step
        some = min(step, n - begin)
        if not ops.pack(x + begin * row, is_float, some, d, &ones[begin, 0], &known[begin, 0]):
            failed += 1
    return None if failed else (np.asarray(ones), np.asarray(known))


def turned(const uint32_t[:, ::1] bits, Py_ssize_t n_columns):
    """Return bits of samples (n, W) as words of 32 samples, (ceil(n / 32) + 1, n_columns)."""
    cdef Py_ssize_t n = bits.shape[0], row, word, c, i, some, words = (bits.shape[0] + 31) // 32
    cdef uint32_t[:, ::1] columns = np.zeros((words + 1, n_columns), dtype=np.uint32)
    cdef uint32_t tile[32]
    with nogil:
        for row in range(words):
            some = min(32, n - 32 * row)
            for word in range((n_columns + 31) // 32):
                for i in range(32):
                    tile[i] = bits[32 * row + i, word] if i < some else 0
                _transpose(tile)
                for c in range(min(32, n_columns - 32 * word)):
                    columns[row, 32 * word + c] = tile[c]
    return np.asarray(columns)


cdef inline void _transpose(uint32_t *tile) noexcept nogil:
    """Exchange rows and columns of 32 x 32 bits, by halves of ever smaller squares."""
    cdef uint32_t mask = 0x0000FFFF, swap
    cdef int half = 16, i
    while half:
        i = 0
        while i < 32:
            swap = ((tile[i] >> half) ^ tile[i + half]) & mask
            tile[i] ^= swap << half
            tile[i + half] ^= swap
            i = (i + half + 1) & ~half
        half >>= 1
        mask ^= mask << half


def inspect(X, sample_weight, int n_threads=1):
    """Return what each feature holds.

    Returns
    -------
    lowest, highest : ndarray of shape (D,)
        0 is there, whether it occurs or not; NaN is left out.
    whole : ndarray of shape (D,), bool
        Whether all values are integers.
    missing : ndarray of shape (D,), bool
        Whether some are NaN.
    observed : ndarray of shape (D,), bool
        Whether some are not, in rows of positive weight.
    """
    cdef const discrete_ops *ops = fastem_discrete_ops(runtime.level(), 0)
    cdef Py_ssize_t n = X.shape[0], d = X.shape[1], t, step = _rows_of_part(X)
    cdef int is_float = X.dtype == np.float32
    cdef const double *weight = NULL
    X = np.require(X, requirements=["C", "A"])
    cdef const char *x = <const char *> address_of(X)
    cdef Py_ssize_t row = X.strides[0] if n > 1 else 0
    if n * d < MOST_SERIAL:
        n_threads = 1
    reals, flags = np.zeros((n_threads, 2, d)), np.zeros((n_threads, 3, d), dtype=np.uint8)
    flags[:, 0] = 1
    cdef double[:, :, ::1] r = reals
    cdef uint8_t[:, :, ::1] f = flags
    if sample_weight is not None:
        weight = <const double *> address_of(sample_weight)
    for t in prange(n_threads, nogil=True, num_threads=n_threads, schedule="static", chunksize=1):
        _inspect_rows(ops, x, row, is_float, n * t // n_threads, n * (t + 1) // n_threads, d, step,
                      weight, &r[t, 0, 0], &f[t, 0, 0])
    if n_threads == 1:
        whole, missing, observed = flags[0].view(bool)
        return reals[0, 0], reals[0, 1], whole, missing, observed
    whole, missing, observed = flags.view(bool).swapaxes(0, 1)
    return (
        reals[:, 0].min(axis=0), reals[:, 1].max(axis=0), whole.all(axis=0), missing.any(axis=0),
        observed.any(axis=0),
    )


cdef void _inspect_rows(
    const discrete_ops *ops, const char *x, Py_ssize_t row, int is_float, Py_ssize_t begin,
    Py_ssize_t end, Py_ssize_t d, Py_ssize_t step, const double *weight, double *reals,
    uint8_t *flags
) noexcept nogil:
    """Widen what is known of each feature by rows [begin, end), a near cache full at a time."""
    cdef discrete_contents found
    found.lowest, found.highest = reals, reals + d
    found.whole, found.missing, found.observed = flags, flags + d, flags + 2 * d
    while begin < end:
        ops.inspect(x + begin * row, is_float, min(step, end - begin), d,
                    weight + begin if weight != NULL else NULL, &found)
        begin += step


cdef Py_ssize_t _rows_of_part(X) except -1:
    """Return how many rows of X fit a near cache."""
    return max(32, INSPECTED_BYTES // max(1, X.itemsize * X.shape[1]))


def constants(const uint8_t[:, ::1] values, const double[:, ::1] of_value):
    """Return the sums over features of what each value stands for.

    `of_value` is (D, M), or (1, M) for all features: ``of_value[j, values[:, j]]`` summed over j.
    """
    cdef Py_ssize_t i, j, step = of_value.shape[0] > 1
    cdef double total
    cdef double[::1] out = np.empty(values.shape[0])
    with nogil:
        for i in range(values.shape[0]):
            total = 0
            for j in range(values.shape[1]):
                total += of_value[step * j, values[i, j]]
            out[i] = total
    return np.asarray(out)


def encode(
    X,                                  # IN   (n, D) integers from 0, or NaN
    const int32_t[::1] group,           # IN   (D,) which code a feature is part of, ascending
    const int32_t[::1] stride,          # IN   (D,) what one more of its value adds to the code
    const int32_t[::1] missing,         # IN   (D,) what stands for NaN in place of a value
    uint8_t[:, ::1] codes,              # OUT  (n, G)
):
    """Write the codes of groups of features: sum_j value_j * stride_j."""
    X = np.require(X, requirements=["C", "A"])
    if X.dtype == np.float32:
        _encode[float](X, group, stride, missing, codes)
    else:
        _encode[double](X, group, stride, missing, codes)


cdef void _encode(
    const real[:, ::1] X,
    const int32_t[::1] group,
    const int32_t[::1] stride,
    const int32_t[::1] missing,
    uint8_t[:, ::1] codes,
) noexcept:
    cdef Py_ssize_t i, j, g, n_groups = codes.shape[1]
    cdef int32_t digit
    cdef real x
    with nogil:
        for i in range(X.shape[0]):
            for g in range(n_groups):
                codes[i, g] = 0
            for j in range(X.shape[1]):
                x = X[i, j]
                digit = missing[j] if x != x else <int32_t> x
                codes[i, group[j]] += <uint8_t> (digit * stride[j])
