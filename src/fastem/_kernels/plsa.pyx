"""E-step of PLSA: one pass over the documents, one over the words.

Owner-computes: the pass over documents leaves one number per count, count / p(w|d); the pass over
words reads them through the transposed pattern and sums each word's row. Nothing is written by two
threads, nothing is copied per thread, and the bits of the result do not depend on the threads.
"""

from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport calloc, free

import numpy as np

from fastem._kernels import runtime


cdef extern from "fastem_omp.h":
    int omp_get_thread_num() noexcept nogil
    double omp_get_wtime() noexcept nogil
    int fastem_interrupted(double *last) noexcept nogil


cdef extern from "plsa_job.h":
    ctypedef struct plsa_job:
        Py_ssize_t n_topics, width
        const int64_t *doc_begin
        const int32_t *word
        const void *count
        const int64_t *word_begin
        const int32_t *doc
        const int32_t *position
        const double *doc_weight
        const void *doc_topic
        const void *word_topic
        void *ratio
        void *new_doc_topic
        void *sums
        double *log_likelihood
        double doc_prior
        Py_ssize_t max_sweeps
        double tol

    ctypedef struct plsa_ops:
        const char *name
        Py_ssize_t lanes
        Py_ssize_t (*scratch_bytes)(const plsa_job *) noexcept nogil
        void (*documents)(const plsa_job *, Py_ssize_t, Py_ssize_t, void *) noexcept nogil
        void (*words)(const plsa_job *, Py_ssize_t, Py_ssize_t, void *, double *) noexcept nogil

cdef extern from *:
    """
    #include "cpu.h"
    #include "plsa_job.h"
    static const plsa_ops *fastem_plsa_ops(int level, int is_double)
    {
    #if FASTEM_X86_LEVELS
        if (level == 4) return &fastem_plsa_v4[is_double];
        if (level == 3) return &fastem_plsa_v3[is_double];
    #endif
        return &fastem_plsa_base[is_double];
    }
    """
    const plsa_ops *fastem_plsa_ops(int level, int is_double) noexcept nogil

ctypedef fused real:
    float
    double

cdef Py_ssize_t LANES = 64


cdef const plsa_ops *choose(Py_ssize_t n_topics, bint is_double) except NULL:
    """Return the widest vectors that, below 64 topics, add no more padding than narrower ones."""
    cdef int level = runtime.level()
    cdef const plsa_ops *wide = fastem_plsa_ops(level, is_double)
    cdef const plsa_ops *narrow = fastem_plsa_ops(3, is_double)
    if level == 4 and n_topics < 64 and padded(n_topics, narrow) < padded(n_topics, wide):
        return narrow
    return wide


cdef Py_ssize_t padded(Py_ssize_t n, const plsa_ops *ops) noexcept:
    return (n + ops.lanes - 1) // ops.lanes * ops.lanes


def width(Py_ssize_t n_topics, dtype):
    """Return the length of a row of topics: n_topics rounded up to whole vectors."""
    return padded(n_topics, choose(n_topics, dtype == np.float64))


def transpose(const int64_t[::1] doc_begin, const int32_t[::1] word, Py_ssize_t n_words):
    """Return (word_begin, doc, position): the pattern by word; documents in order.

    Equivalent to ``scipy.sparse.csr_matrix((arange(nnz), word, doc_begin)).tocsc()``.
    """
    cdef Py_ssize_t n_docs = doc_begin.shape[0] - 1, nnz = word.shape[0], d, i, w
    word_begin_array = np.zeros(n_words + 1, dtype=np.int64)
    doc_array, position_array = np.empty(nnz, np.int32), np.empty(nnz, np.int32)
    cdef int64_t[::1] word_begin = word_begin_array, place
    cdef int32_t[::1] doc = doc_array, position = position_array
    with nogil:
        for i in range(nnz):
            word_begin[word[i] + 1] += 1
        for w in range(n_words):
            word_begin[w + 1] += word_begin[w]
    place = word_begin_array.copy()
    with nogil:
        for d in range(n_docs):
            for i in range(doc_begin[d], doc_begin[d + 1]):
                doc[place[word[i]]] = <int32_t> d
                position[place[word[i]]] = <int32_t> i
                place[word[i]] += 1
    return word_begin_array, doc_array, position_array


def pass_documents(
    const real[:, ::1] doc_topic,       # IN   (D, width)  p(z|d)
    const real[:, ::1] word_topic,      # IN   (V, width)  p(w|z)
    const int64_t[::1] doc_begin,       # IN   (D + 1,)
    const int32_t[::1] word,            # IN   (nnz,)
    const real[::1] count,              # IN   (nnz,)
    const double[::1] doc_weight,       # IN   (D,) or None
    real[:, ::1] new_doc_topic,         # OUT  (D, width) or None
    real[::1] ratio,                    # OUT  (nnz,) or None
    double[::1] log_likelihood,         # OUT  (D,) or None
    Py_ssize_t n_topics,                # IN
    double doc_prior,                   # IN   pseudo-count per topic
    int n_threads,                      # IN
    Py_ssize_t max_sweeps=1,            # IN   E-steps of a document after each other
    double tol=0.0,                     # IN   until its topics change by less than this in all
):
    """E-step by document.

    Equivalent to, with n the counts::

        ratio = n / (doc_topic @ word_topic.T)
        new_doc_topic = normalise(doc_topic * (ratio @ word_topic) + doc_prior)
        log_likelihood = sum(n * log(doc_topic @ word_topic.T), axis=1)
    """
    cdef plsa_job job
    cdef const plsa_ops *ops = choose(n_topics, real is double)
    cdef const int64_t[::1] cuts = _cuts(doc_begin)
    if word.shape[0] == 0:
        word = np.zeros(1, np.int32)
        count = np.zeros(1, np.float32 if real is float else np.float64)
    job.n_topics, job.width, job.doc_prior = n_topics, doc_topic.shape[1], doc_prior
    job.max_sweeps, job.tol = max_sweeps, tol
    job.doc_begin, job.word, job.count = &doc_begin[0], &word[0], &count[0]
    job.doc_weight = NULL if doc_weight is None else &doc_weight[0]
    job.doc_topic, job.word_topic = &doc_topic[0, 0], &word_topic[0, 0]
    job.new_doc_topic = NULL if new_doc_topic is None else &new_doc_topic[0, 0]
    job.ratio = NULL if ratio is None or ratio.shape[0] == 0 else &ratio[0]
    job.log_likelihood = NULL if log_likelihood is None else &log_likelihood[0]
    _run(&job, ops, cuts, NULL, 3.0 * count.shape[0] * n_topics, n_threads)


def pass_words(
    const real[:, ::1] doc_topic,       # IN   (D, width)
    const real[:, ::1] word_topic,      # IN   (V, width)
    const int64_t[::1] word_begin,      # IN   (V + 1,)
    const int32_t[::1] doc,             # IN   (nnz,)
    const int32_t[::1] position,        # IN   (nnz,)
    const real[::1] ratio,              # IN   (nnz,)
    real[:, ::1] sums,                  # OUT  (V, width)
    Py_ssize_t n_topics,                # IN
    int n_threads,                      # IN
):
    """Sums by word; returns their totals over words, (K,).

    Equivalent to ``sums = word_topic * (ratio.T @ doc_topic)``.
    """
    cdef plsa_job job
    cdef const plsa_ops *ops = choose(n_topics, real is double)
    cdef const int64_t[::1] cuts = _cuts(word_begin)
    totals = np.zeros((LANES, n_topics))
    cdef double[:, ::1] lanes = totals
    if doc.shape[0] == 0:
        sums[:] = 0
        return totals.sum(axis=0)
    job.n_topics, job.width = n_topics, doc_topic.shape[1]
    job.word_begin, job.doc, job.position = &word_begin[0], &doc[0], &position[0]
    job.doc_topic, job.word_topic = &doc_topic[0, 0], &word_topic[0, 0]
    job.ratio, job.sums = <void *> &ratio[0], &sums[0, 0]
    _run(&job, ops, cuts, &lanes[0, 0], 1.0 * doc.shape[0] * n_topics, n_threads)
    total = totals[0]
    for lane in range(1, LANES):  # in order, whatever the threads did
        total += totals[lane]
    return total


def _cuts(begin):
    """Return LANES + 1 row numbers that cut the rows into lanes of about equal nnz."""
    begin = np.asarray(begin)
    # A row costs something even if it is empty.
    cost = begin + 4 * np.arange(len(begin))
    return np.searchsorted(cost, np.linspace(0, cost[-1], LANES + 1)).astype(np.int64)


cdef _run(plsa_job *job, const plsa_ops *ops, const int64_t[::1] cuts, double *totals, double work,
          int n_threads):
    """Run one pass over all lanes: over words if totals is given, else over documents."""
    cdef Py_ssize_t scratch_bytes = (ops.scratch_bytes(job) + 127) // 64 * 64, lane
    cdef double clock = omp_get_wtime()
    cdef int stop = 0
    cdef char *scratch
    n_threads = 1 if work < 1e5 else max(1, min(n_threads, LANES))
    scratch = <char *> calloc(n_threads, scratch_bytes)
    if scratch == NULL:
        raise MemoryError(f"no {n_threads * scratch_bytes} bytes for buffers")
    try:
        for lane in prange(LANES, nogil=True, num_threads=n_threads, schedule="dynamic",
                           chunksize=1):
            _lane(job, ops, cuts[lane], cuts[lane + 1],
                  scratch + omp_get_thread_num() * scratch_bytes,
                  totals + lane * job.n_topics if totals != NULL else NULL, &stop, &clock)
    finally:
        free(scratch)
    if stop:
        _raise_pending()


cdef void _lane(
    const plsa_job *job,
    const plsa_ops *ops,
    Py_ssize_t first,           # IN     first row
    Py_ssize_t last,            # IN     one past the last
    char *scratch,              # INOUT  this thread's buffer
    double *totals,             # INOUT  this lane's totals, or NULL
    int *stop,                  # INOUT  set by an interrupt
    double *clock,              # INOUT  time of the last look for an interrupt
) noexcept nogil:
    cdef Py_ssize_t begin, end
    for begin in range(first, last, 64):
        end = min(begin + 64, last)
        if stop[0]:
            return
        if totals != NULL:
            ops.words(job, begin, end, scratch, totals)
        else:
            ops.documents(job, begin, end, scratch)
        if fastem_interrupted(clock):
            stop[0] = 1


cdef int _raise_pending() except -1:
    """Raise what a signal handler raised while the lanes ran: its exception is set already."""
    return -1
