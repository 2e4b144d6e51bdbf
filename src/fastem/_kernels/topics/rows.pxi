"""Rows of topics for the words that occur: a part of topics.pyx."""


def rows_of_words(
    const given[:, :] topics,           # IN   (K, V)
    const int32_t[::1] words,           # IN   (W,)  ascending
    real[:, ::1] out,                   # OUT  (W, width)
    int n_threads,
    bint digamma=False,
):
    """``out[:, :K] = topics[:, words].T; out[:, K:] = 0``, some words at a time.

    With `digamma` exp(digamma) of all that, which must be above 0 but for what is past K.
    """
    cdef Py_ssize_t n_topics = topics.shape[0], n_words = words.shape[0], block, w, k, last
    cdef Py_ssize_t width = out.shape[1]
    cdef const topics_ops *ops = fastem_topics_ops(runtime.level(), sizeof(real) == 8)
    cdef bint by_word = topics.strides[0] < topics.strides[1]  # how the topics lie in memory
    n_threads = worth(n_threads, (4.0 if digamma else 2.0) * n_words * n_topics)
    for block in prange((n_words + 63) // 64, nogil=True, num_threads=n_threads, schedule="static"):
        last = min(64 * block + 64, n_words)
        if topics.strides[0] == sizeof(given):
            for w in range(64 * block, last):
                _copy_row(&topics[0, words[w]], n_topics, &out[w, 0])
        elif by_word:
            for w in range(64 * block, last):
                for k in range(n_topics):
                    out[w, k] = <real> topics[k, words[w]]
        else:
            for k in range(n_topics):
                for w in range(64 * block, last):
                    out[w, k] = <real> topics[k, words[w]]
        for w in range(64 * block, last):
            for k in range(n_topics, width):
                out[w, k] = 0
        if digamma:
            w = 64 * block
            ops.exp_digamma(&out[w, 0], 0, (last - w) * width, &out[w, 0])


cdef inline void _copy_row(const given *row, Py_ssize_t n, real *out) noexcept nogil:
    """Copy what lies side by side."""
    cdef Py_ssize_t k
    for k in range(n):
        out[k] = <real> row[k]


def add_rows(real[:, ::1] total, const int32_t[::1] rows, const real[:, ::1] values):
    """``total[rows] += values``, without NumPy's copies of both."""
    cdef Py_ssize_t i, k
    cdef real *row
    with nogil:
        for i in range(rows.shape[0]):
            row = &total[rows[i], 0]
            for k in range(total.shape[1]):
                row[k] += values[i, k]


# ---- the layout of counts --------------------------------------------------------------------
