"""E-step of topic models: one pass over the documents, one over the words.

Owner-computes: the pass over documents leaves one number per count, count / p(w|d); the pass over
words reads them through the transposed pattern and sums each word's row. Nothing is written by two
threads, nothing is copied per thread, and the bits of the result do not depend on the threads.
"""

from cython.parallel cimport parallel, prange
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

import numpy as np

from fastem._kernels import runtime

from fastem._kernels.gamma_stream cimport GammaStream, gamma_filled, gamma_rows
from fastem._kernels.omp cimport (
    fastem_barrier, fastem_buffers, fastem_flush_subnormals, fastem_free_buffers,
    fastem_interrupted, fastem_restore_subnormals, omp_get_thread_num, omp_get_wtime,
    raise_pending,
)


cdef extern from "topics/job.h":
    ctypedef struct topics_job:
        Py_ssize_t n_topics, width
        const int64_t *doc_begin
        Py_ssize_t longest
        const int32_t *word
        const void *count
        const int64_t *word_begin
        const int32_t *doc
        const int32_t *position
        const int32_t *word_id
        const double *doc_weight
        void *doc_topic
        const void *topics
        const void *scale
        double word_prior
        double doc_prior
        double power
        void *gamma
        const void *doc_topic_prior
        double least_theta
        Py_ssize_t max_sweeps
        double tol
        double relax
        double momentum
        const void *last_doc_topic
        void *unrelaxed
        void *ratio
        void *new_doc_topic
        void *sums
        int all_words
        void *total
        double *log_likelihood

    ctypedef struct topics_ops:
        const char *name
        Py_ssize_t lanes
        Py_ssize_t (*scratch_bytes)(const topics_job *) noexcept nogil
        void (*documents)(const topics_job *, Py_ssize_t, Py_ssize_t, void *) noexcept nogil
        void (*exp_digamma)(const void *, double, Py_ssize_t, void *) noexcept nogil
        void (*words)(const topics_job *, Py_ssize_t, Py_ssize_t, void *, double *) noexcept nogil
        void (*dirichlet_terms)(const double *, const double *, Py_ssize_t, double *) noexcept nogil

    const topics_ops *fastem_topics_ops(int level, int is_double) noexcept nogil

ctypedef fused real:
    float
    double

cdef enum:
    STRIPS = 64

# Below this many multiply-adds, a tenth of a millisecond, waking a second thread does not pay.
cdef double LEAST_WORK = 3e5


cdef const topics_ops *choose(Py_ssize_t n_topics, bint is_double) except NULL:
    """Return the widest vectors, unless narrower ones make rows a fifth shorter."""
    cdef int level = runtime.level()
    cdef const topics_ops *wide = fastem_topics_ops(level, is_double)
    cdef const topics_ops *narrow = fastem_topics_ops(3, is_double)
    if level == 4 and 5 * padded(n_topics, narrow) < 4 * padded(n_topics, wide):
        return narrow
    return wide


cdef Py_ssize_t padded(Py_ssize_t n, const topics_ops *ops) noexcept nogil:
    return (n + ops.lanes - 1) // ops.lanes * ops.lanes


def width(Py_ssize_t n_topics, dtype):
    """Return the length of a row of topics: n_topics rounded up to whole vectors."""
    return padded(n_topics, choose(n_topics, dtype == np.float64))


cdef class Counts:
    """Counts of words in documents, laid out for many passes: by document, and by word.

    Attributes
    ----------
    word_id : ndarray of shape (W,), int32
        The words that occur, ascending: rows of the topics.
    n_docs, nnz : int
    """

    cdef topics_job job                     # the pattern and the counts; a pass fills in the rest
    cdef readonly Py_ssize_t n_docs, nnz
    cdef object _word_id
    cdef Py_ssize_t doc_cuts[STRIPS + 1]
    cdef Py_ssize_t word_cuts[STRIPS + 1]
    cdef list held

    def __cinit__(
        self,
        doc_begin,              # IN  (D + 1,) int64
        word,                   # IN  (nnz,) int32  rows of the topics, ascending within a document
        count,                  # IN  (nnz,) float32 or float64; nnz is less than 2^31
        doc_weight=None,        # IN  (D,) float64, or None
    ):
        memset(&self.job, 0, sizeof(topics_job))
        self.n_docs, self.nnz = len(doc_begin) - 1, len(word)
        self.held = [doc_begin, word, count, doc_weight]
        self.job.doc_begin = _int64(doc_begin)
        self.job.longest = np.diff(doc_begin).max(initial=0)
        if self.nnz:
            self.job.word, self.job.count = _int32(word), _reals(count)
        if doc_weight is not None:
            self.job.doc_weight = <const double *> _reals(doc_weight)
        _cut(doc_begin, self.doc_cuts)

    def __reduce__(self):
        """Save what it was made of: the rest is addresses, and the layout by word."""
        return type(self), tuple(self.held[:4])

    @property
    def word_id(self):
        """The words that occur."""
        if self._word_id is None:
            self._lay_by_word()
        return self._word_id

    cdef _lay_by_word(self):
        """Make the layout by word, which the topics of known documents do not need."""
        doc_begin, word, count = self.held[:3]
        self._word_id, word_begin, doc, position = _transpose(doc_begin, word)
        ratio = np.empty(self.nnz, count.dtype)
        self.held += [word_begin, doc, position, ratio]
        self.job.word_begin = _int64(word_begin)
        if self.nnz:
            self.job.doc, self.job.position = _int32(doc), _int32(position)
            self.job.word_id, self.job.ratio = _int32(self._word_id), _reals(ratio)
        _cut(word_begin, self.word_cuts)


def documents(
    Counts counts,
    real[:, ::1] doc_topic,             # INOUT  (D, width)  theta; before the last sweep
    const real[:, ::1] topics,          # IN     (V, width)  S
    const real[::1] scale,              # IN     (width,)
    real[:, ::1] new_doc_topic,         # OUT    (D, width)  after the last sweep; or None
    double[::1] log_likelihood,         # OUT    (D,) or None
    Py_ssize_t n_topics,
    double word_prior,
    double doc_prior,
    int n_threads,
    Py_ssize_t max_sweeps=1,            # E-steps of a document after each other, at most
    double tol=0.0,                     # until its topics change by less than this in all
    double power=1.0,                   # in (0, 1]
):
    """E-step by document, topics held fixed.

    Equivalent to, with n the counts and phi = (topics + word_prior) * scale::

        seen = doc_topic ** power
        ratio = n / (seen @ phi.T)
        new_doc_topic = normalise(seen * (ratio @ phi) + doc_prior)
        log_likelihood = sum(n * log(seen @ phi.T), axis=1)

    Each document stops by its own change: what is in the others does not matter.
    """
    cdef topics_job job = counts.job
    _documents(&job, n_topics, doc_topic, topics, scale, new_doc_topic, log_likelihood, word_prior,
               doc_prior)
    job.ratio, job.max_sweeps, job.tol, job.power = NULL, max_sweeps, tol, power
    _run(&job, choose(n_topics, real is double), counts, None,
         2.0 * max_sweeps * counts.nnz * n_topics, n_threads)


def e_step(
    Counts counts,
    real[:, ::1] doc_topic,             # IN     (D, width)  theta
    const real[:, ::1] topics,          # IN     (V, width)  S
    const real[::1] scale,              # IN     (width,)
    real[:, ::1] new_doc_topic,         # OUT    (D, width)
    double[::1] log_likelihood,         # OUT    (D,) or None
    real[:, ::1] sums,                  # INOUT  (W, width)  of the words that occur, or (V, width)
    Py_ssize_t n_topics,
    double word_prior,
    double doc_prior,
    int n_threads,
    real[:, ::1] total=None,            # INOUT  (V, width)  or None
    double relax=0.0,                   # over-relaxation of what rises
    double momentum=0.0,                # of documents' topics
    const real[:, ::1] last_doc_topic=None,  # IN  (D, width)  `unrelaxed` of the last visit
    real[:, ::1] unrelaxed=None,        # OUT    (D, width)  new topics before both; with a total
):
    """E-step by document and by word; returns the sums' totals over words, (K,).

    Equivalent to `documents`, and then ``sums = phi * (ratio.T @ doc_topic)``.

    With a total, which may be `topics`, the old sums are replaced in it, ``total += sums - old``;
    what comes back are the changes of the totals, and ``relax * maximum(sums - old, 0)`` is added
    to the new sums. To new topics of documents ``relax * maximum(new - doc_topic, 0) + momentum *
    maximum(new - last_doc_topic, 0)`` is added before they are normalised again.
    """
    if counts._word_id is None:
        counts._lay_by_word()
    cdef topics_job job = counts.job
    _documents(&job, n_topics, doc_topic, topics, scale, new_doc_topic, log_likelihood, word_prior,
               doc_prior)
    if counts.nnz:
        job.sums, job.all_words = &sums[0, 0], sums.shape[0] == topics.shape[0]
    if total is not None:
        job.total, job.relax = &total[0, 0], relax
        job.last_doc_topic, job.unrelaxed = &last_doc_topic[0, 0], &unrelaxed[0, 0]
        job.momentum = momentum
    return _run_with_words(&job, choose(n_topics, real is double), counts, 2.0, n_threads)


def dirichlet_e_step(
    Counts counts,
    real[:, ::1] gamma,                 # INOUT  (D, width)  Dirichlet parameters of the documents
    const real[::1] doc_topic_prior,    # IN     (width,)
    const real[:, ::1] topics,          # IN     (V, width)
    const real[::1] scale,              # IN     (width,)
    real[:, ::1] doc_topic,             # OUT    (D, width)  theta = exp(digamma(gamma))
    double[::1] log_likelihood,         # OUT    (D,) or None
    real[:, ::1] sums,                  # OUT    (W, width) or (V, width); or None: documents alone
    Py_ssize_t n_topics,
    int n_threads,
    Py_ssize_t max_sweeps,              # updates of gamma, at most
    double tol,                         # until it changes by less than this on average
    real[:, ::1] total=None,            # INOUT  (V, width)  where old sums are replaced, or None
    double least_theta=0.0,             # what theta is at least
    GammaStream first=None,             # INOUT  where every gamma comes from at first, or None
):
    """E-step of latent Dirichlet allocation; returns the sums' totals over words, (K,), or None.

    Equivalent to, for a document, with n its counts and phi = topics * scale, until gamma stays::

        gamma = doc_topic_prior + theta * (n / (theta @ phi.T) @ phi)

    then, with the last theta, ``log_likelihood = sum(n * log(theta @ phi.T))`` and
    ``sums = phi * ((n / (theta @ phi.T)).T @ theta)``. A total is as in `e_step`.

    Where a word's phi may underflow in all topics but one (densities of vectors do), theta must not
    underflow in that one: `least_theta` keeps the word in the document.
    """
    if sums is not None and counts._word_id is None:
        counts._lay_by_word()
    cdef topics_job job = counts.job
    cdef const topics_ops *ops = choose(n_topics, real is double)
    cdef gamma_rows drawn
    cdef gamma_rows *rows = NULL
    if first is not None:
        drawn.stream, drawn.values, drawn.is_double = &first.stream, &gamma[0, 0], real is double
        drawn.n_columns, drawn.width, drawn.ready = n_topics, gamma.shape[1], 0
        rows = &drawn
    _documents(&job, n_topics, doc_topic, topics, scale, doc_topic, log_likelihood, 0, 0)
    job.gamma, job.doc_topic_prior = &gamma[0, 0], &doc_topic_prior[0]
    job.max_sweeps, job.tol, job.least_theta = max_sweeps, tol * n_topics, least_theta
    if sums is None:
        job.ratio = NULL
        _run(&job, ops, counts, None, 8.0 * counts.nnz * n_topics, n_threads, rows)
        return None
    if counts.nnz:
        job.sums, job.all_words = &sums[0, 0], sums.shape[0] == topics.shape[0]
    if total is not None:
        job.total = &total[0, 0]
    return _run_with_words(&job, ops, counts, 8.0, n_threads, rows)


def exp_digamma_rows(const real[:, ::1] sums, const int32_t[::1] rows, double prior,
                     real[:, ::1] out, int n_threads):
    """``out[rows] = exp(digamma(sums[rows] + prior))``."""
    cdef const topics_ops *ops = fastem_topics_ops(runtime.level(), real is double)
    cdef Py_ssize_t width = sums.shape[1], n = rows.shape[0], i
    for i in prange(n, nogil=True, schedule="static",
                    num_threads=n_threads if n * width > 100_000 else 1):
        ops.exp_digamma(&sums[rows[i], 0], prior, width, &out[rows[i], 0])


def exp_digamma(const real[:, ::1] sums, double prior, real[:, ::1] out, int n_threads):
    """``out = exp(digamma(sums + prior))``, elementwise, for sums + prior > 0."""
    cdef const topics_ops *ops = fastem_topics_ops(runtime.level(), real is double)
    cdef Py_ssize_t n = sums.shape[0] * sums.shape[1], begin
    cdef const real *from_ = &sums[0, 0]
    cdef real *to = &out[0, 0]
    for begin in prange(0, n, 8192, nogil=True, num_threads=n_threads if n > 100_000 else 1):
        ops.exp_digamma(from_ + begin, prior, min(8192, n - begin), to + begin)


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
    n_threads = 1 if 40.0 * n_words * width < LEAST_WORK else n_threads
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


def add_rows(real[:, ::1] total, const int32_t[::1] rows, const real[:, ::1] values):
    """``total[rows] += values``, without NumPy's copies of both."""
    cdef Py_ssize_t i, k
    cdef real *row
    with nogil:
        for i in range(rows.shape[0]):
            row = &total[rows[i], 0]
            for k in range(total.shape[1]):
                row[k] += values[i, k]


cdef void _documents(topics_job *job, Py_ssize_t n_topics, real[:, ::1] doc_topic,
                     const real[:, ::1] topics, const real[::1] scale,
                     real[:, ::1] new_doc_topic, double[::1] log_likelihood, double word_prior,
                     double doc_prior):
    job.n_topics, job.width = n_topics, topics.shape[1]
    job.doc_topic, job.topics, job.scale = &doc_topic[0, 0], &topics[0, 0], &scale[0]
    job.word_prior, job.doc_prior, job.max_sweeps, job.power = word_prior, doc_prior, 1, 1
    job.new_doc_topic = NULL if new_doc_topic is None else &new_doc_topic[0, 0]
    job.log_likelihood = NULL if log_likelihood is None else &log_likelihood[0]


cdef _run_with_words(topics_job *job, const topics_ops *ops, Counts counts, double sweeps,
                     int n_threads, gamma_rows *drawn=NULL):
    """Run both passes; return the sums' totals over words."""
    cdef Py_ssize_t strip, k
    totals = np.zeros((STRIPS, job.n_topics))
    cdef double[:, ::1] strips = totals
    _run(job, ops, counts, strips, (sweeps + 1) * counts.nnz * job.n_topics, n_threads, drawn)
    for strip in range(1, STRIPS):  # in order, whatever the threads did
        for k in range(job.n_topics):
            strips[0, k] += strips[strip, k]
    return totals[0].copy()


cdef _run(topics_job *job, const topics_ops *ops, Counts counts, double[:, ::1] totals,
          double work, int n_threads, gamma_rows *drawn=NULL):
    """Run the pass over documents, and the pass over words if there are totals to add to."""
    cdef Py_ssize_t scratch_bytes = ops.scratch_bytes(job), strip
    cdef double clock = omp_get_wtime()
    cdef double *sums = NULL if totals is None else &totals[0, 0]
    cdef const Py_ssize_t *docs = counts.doc_cuts
    cdef const Py_ssize_t *words = counts.word_cuts
    cdef int stop = 0
    cdef unsigned mode
    cdef char *scratch
    n_threads = 1 if work < LEAST_WORK else max(1, min(n_threads, STRIPS))
    scratch = fastem_buffers(n_threads, &scratch_bytes)
    if scratch == NULL:
        raise MemoryError(f"no {n_threads * scratch_bytes} bytes for buffers")
    with nogil, parallel(num_threads=n_threads):
        mode = fastem_flush_subnormals(1)
        for strip in prange(STRIPS, schedule="dynamic", chunksize=1):
            _strip(job, ops, docs[strip], docs[strip + 1],
                   scratch + omp_get_thread_num() * scratch_bytes, NULL, drawn, &stop, &clock)
        if sums != NULL:
            fastem_barrier()
            for strip in prange(STRIPS, schedule="dynamic", chunksize=1):
                _strip(job, ops, words[strip], words[strip + 1],
                       scratch + omp_get_thread_num() * scratch_bytes, sums + strip * job.n_topics,
                       NULL, &stop, &clock)
        fastem_restore_subnormals(mode)
    fastem_free_buffers(scratch)
    if stop:
        raise_pending()


cdef void _strip(
    const topics_job *job,
    const topics_ops *ops,
    Py_ssize_t first,           # IN     first row
    Py_ssize_t last,            # IN     one past the last
    char *scratch,              # INOUT  this thread's buffer
    double *totals,             # INOUT  this strip's totals, or NULL
    gamma_rows *drawn,          # INOUT  what the rows need, or NULL
    int *stop,                  # INOUT  set by an interrupt
    double *clock,              # INOUT  time of the last look for an interrupt
) noexcept nogil:
    cdef Py_ssize_t begin, end
    for begin in range(first, last, 64):
        end = min(begin + 64, last)
        while drawn != NULL and not stop[0] and not gamma_filled(drawn, end):
            if fastem_interrupted(clock):
                stop[0] = 1
        if stop[0]:
            return
        if totals != NULL:
            ops.words(job, begin, end, scratch, totals)
        else:
            ops.documents(job, begin, end, scratch)
        if fastem_interrupted(clock):
            stop[0] = 1


# ---- the layout of counts --------------------------------------------------------------------


cdef const int64_t *_int64(const int64_t[::1] array):
    return &array[0]


cdef const int32_t *_int32(const int32_t[::1] array):
    return &array[0]


cdef void *_reals(array) except? NULL:
    """Return the address of contiguous reals."""
    cdef const float[::1] singles
    cdef const double[::1] doubles
    if array.dtype == np.float32:
        singles = array
        return <void *> &singles[0]
    doubles = array
    return <void *> &doubles[0]


cdef _cut(const int64_t[::1] begin, Py_ssize_t *cuts):
    """Cut rows into strips of about equal cost; a row costs something even if it is empty."""
    cdef Py_ssize_t n = begin.shape[0] - 1, strip, row = 0
    cdef double total = begin[n] + 4.0 * n
    for strip in range(STRIPS):
        while row < n and begin[row] + 4.0 * row < total * strip / STRIPS:
            row += 1
        cuts[strip] = row
    cuts[STRIPS] = n


cdef _transpose(const int64_t[::1] doc_begin, const int32_t[::1] word):
    """Return (word_id, word_begin, doc, position): the pattern by word; documents in order.

    Equivalent to ``scipy.sparse.csr_matrix((arange(nnz), word, doc_begin)).tocsc()``, without the
    words that do not occur.
    """
    cdef Py_ssize_t n_docs = doc_begin.shape[0] - 1, nnz = word.shape[0], d, i
    n_counts = np.zeros(np.max(word, initial=-1) + 1, np.int64)
    doc_array, position_array = np.empty(nnz, np.int32), np.empty(nnz, np.int32)
    cdef int64_t[::1] place = n_counts
    cdef int32_t[::1] doc = doc_array, position = position_array
    with nogil:
        for i in range(nnz):
            place[word[i]] += 1
    word_id = np.flatnonzero(n_counts).astype(np.int32)
    word_begin = np.zeros(len(word_id) + 1, np.int64)
    np.cumsum(n_counts[word_id], out=word_begin[1:])
    n_counts[word_id] = word_begin[:-1]
    with nogil:
        for d in range(n_docs):
            for i in range(doc_begin[d], doc_begin[d + 1]):
                doc[place[word[i]]] = <int32_t> d
                position[place[word[i]]] = <int32_t> i
                place[word[i]] += 1
    return word_id, word_begin, doc_array, position_array
