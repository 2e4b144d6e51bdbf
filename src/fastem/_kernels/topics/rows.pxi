"""Rows of topics for the words that occur: a part of topics.pyx."""


def rows_of_words(
    const given[:, :] topics,           # IN   (K, V)
    const int32_t[::1] words,           # IN   (W,)  ascending
    real[:, ::1] out,                   # OUT  (W, width)
    int n_threads,
):
    """``out[:, :K] = topics[:, words].T; out[:, K:] = 0``, some words at a time."""
    cdef Py_ssize_t n_topics = topics.shape[0], n_words = words.shape[0], block, w, k, last
    cdef bint by_word = topics.strides[0] < topics.strides[1]  # how the topics lie in memory
    n_threads = worth(n_threads, 2.0 * n_words * n_topics)
    for block in prange((n_words + 63) // 64, nogil=True, num_threads=n_threads, schedule="static"):
        last = min(64 * block + 64, n_words)
        if by_word:
            for w in range(64 * block, last):
                for k in range(n_topics):
                    out[w, k] = <real> topics[k, words[w]]
        else:
            for k in range(n_topics):
                for w in range(64 * block, last):
                    out[w, k] = <real> topics[k, words[w]]
        for w in range(64 * block, last):
            for k in range(n_topics, out.shape[1]):
                out[w, k] = 0


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
