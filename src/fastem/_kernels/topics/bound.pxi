"""Functions of Dirichlet distributions, and what the bound says of them: a part of topics.pyx."""


def inverse_digammas(const double[::1] totals, double least, double[::1] out):
    """``out[:K] = exp(-digamma(maximum(totals, least)))``; return whether one is less than that."""
    cdef Py_ssize_t k
    cdef bint any_less = False
    for k in range(totals.shape[0]):
        any_less = any_less or totals[k] < least
        out[k] = exp(-fastem_psi(max(totals[k], least)))
    return any_less


def documents_bound(
    gamma,                      # IN  (D, width)
    prior,                      # IN  (K,) float64
    log_likelihood,             # IN  (D,) at exp(digamma(gamma)), which is not normalised
    n_tokens,                   # IN  (D,) float64
    weight,                     # IN  (D,) float64, or None
    bint learn,
    int n_threads,
):
    """Return the documents' part of the ELBO; to learn, E[log theta] summed, (K,), and its weight.

    A document without words says nothing of the prior, whatever that is.
    """
    cdef topics_bounding own
    cdef fastem_pass one
    cdef Py_ssize_t n = len(prior), k, d = len(gamma)
    sums = np.empty(n + 2)
    own.ops = fastem_topics_ops(runtime.level(), True)
    own.n_topics, own.row, own.width = n, gamma.shape[1], padded(n, own.ops)
    rows = np.zeros((2, own.width))
    cdef double *alpha = <double *> address(rows, 8)
    own.prior, own.least, own.prior_total = alpha, alpha + own.width, 0
    own.is_double, own.learn, own.gamma = gamma.itemsize == 8, learn, address(gamma, gamma.itemsize)
    own.log_likelihood = <double *> address(log_likelihood, 8)
    own.n_tokens = <double *> address(n_tokens, 8)
    own.weight = <double *> address(weight, 8) if weight is not None else NULL
    for k in range(own.width):
        alpha[k] = prior[k] if k < n else 1
    for k in range(n):
        own.prior_total += alpha[k]
    own.ops.dirichlet_terms(alpha, alpha, own.width, alpha + own.width)
    memset(&one, 0, sizeof(one))
    one.job, one.step, one.n_rows, one.chunk = &own, topics_bound_documents, d, 64
    one.n_sums, one.scratch_bytes = n + 2, 2 * own.width * sizeof(double)
    one.n_threads, one.work = n_threads, (20.0 if learn else 4.0) * d * n
    run(&one, <double *> address(sums, 8))
    return sums.item(0), sums[2:], sums.item(1)


def dirichlet_terms(
    const real[:, ::1] sums,            # IN  (V, width)
    const double[:, :] added,           # IN  (V, K)  broadcast; sums + added is lambda
    const double[:, :] prior,           # IN  (V, K)  broadcast
    Py_ssize_t n_topics,
    int n_threads,
):
    """Return the sums over words of a topic's terms of the bound, (K,), and of lambda, (K,).

    Equivalent to, with ``x = sums[:, :K] + added``::

        ((prior - x) * digamma(x) + gammaln(x)).sum(axis=0), x.sum(axis=0)

    Words are summed in strips, which are added in order.
    """
    cdef const topics_ops *ops = fastem_topics_ops(runtime.level(), True)
    cdef Py_ssize_t n_words = sums.shape[0], width = padded(n_topics, ops), strip, k
    cdef Py_ssize_t bytes = 2 * width * sizeof(double)
    per_strip = np.zeros((2 * STRIPS, width))
    cdef double[:, ::1] totals = per_strip
    n_threads = worth(n_threads, 4.0 * n_words * width)
    cdef char *rows = fastem_buffers(n_threads, &bytes)
    for strip in prange(STRIPS, nogil=True, schedule="dynamic", num_threads=n_threads):
        _dirichlet_strip(ops, sums, added, prior, n_topics, n_words * strip // STRIPS,
                         n_words * (strip + 1) // STRIPS,
                         <double *> (rows + omp_get_thread_num() * bytes),
                         &totals[2 * strip, 0], &totals[2 * strip + 1, 0])
    fastem_free_buffers(rows)
    for strip in range(1, STRIPS):
        for k in range(width):
            totals[0, k] += totals[2 * strip, k]
            totals[1, k] += totals[2 * strip + 1, k]
    return per_strip[0, :n_topics].copy(), per_strip[1, :n_topics].copy()


cdef void _dirichlet_strip(
    const topics_ops *ops, const real[:, ::1] sums, const double[:, :] added,
    const double[:, :] prior, Py_ssize_t n_topics, Py_ssize_t first, Py_ssize_t last,
    double *row, double *terms, double *totals,
) noexcept nogil:
    """Add the terms and the lambda of words [first, last); `row` is room for a word's, twice."""
    cdef Py_ssize_t width = padded(n_topics, ops), w, k
    cdef double *eta = row + width
    for k in range(width):
        row[k] = eta[k] = 1
    for w in range(first, last):
        for k in range(n_topics):
            eta[k] = prior[w, k]
            row[k] = sums[w, k] + added[w, k]
            totals[k] += row[k]
        ops.dirichlet_terms(row, eta, width, terms)
