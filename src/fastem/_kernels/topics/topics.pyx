"""E-step of topic models: one pass over the documents, one over the words.

Owner-computes: the pass over documents leaves one number per count, count / p(w|d); the pass over
words reads them through the transposed pattern and sums each word's row. Nothing is written by two
threads, nothing is copied per thread, and the bits of the result do not depend on the threads.
"""

from cython.parallel cimport prange
from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBuffer_Release, PyObject_GetBuffer
from libc.math cimport exp
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

import numpy as np

from fastem._kernels import runtime

from fastem._kernels.gamma_stream cimport GammaStream, gamma_rows
from fastem._kernels.omp cimport (
    fastem_buffers, fastem_free_buffers, omp_get_thread_num,
)
from fastem._kernels.strips cimport fastem_pass, fastem_step, fastem_strip, run, worth


cdef extern from "shared/psi.h":
    double fastem_psi(double) noexcept nogil

cdef extern from "topics/passes.h":
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
        fastem_step documents, words
        void (*exp_digamma)(const void *, double, Py_ssize_t, void *) noexcept nogil
        void (*dirichlet_terms)(const double *, const double *, Py_ssize_t, double *) noexcept nogil

    ctypedef struct topics_drawing:
        const topics_job *job
        fastem_step documents
        gamma_rows *drawn
        double *clock

    ctypedef struct topics_digammas:
        const topics_ops *ops
        const char *sums
        char *out
        double prior
        Py_ssize_t width, size
        const int32_t *list

    ctypedef struct topics_bounding:
        const topics_ops *ops
        const void *gamma
        int is_double, learn
        Py_ssize_t n_topics, row, width
        const double *prior
        const double *least
        double prior_total
        const double *log_likelihood
        const double *n_tokens
        const double *weight

    void topics_bound_documents(const void *, Py_ssize_t, Py_ssize_t,
                                const fastem_strip *) noexcept nogil
    void topics_draw(const void *, Py_ssize_t, Py_ssize_t, const fastem_strip *) noexcept nogil
    void topics_exp_digamma(const void *, Py_ssize_t, Py_ssize_t,
                            const fastem_strip *) noexcept nogil
    const topics_ops *fastem_topics_ops(int level, int is_double) noexcept nogil

ctypedef fused real:
    float
    double

ctypedef fused given:
    float
    double

cdef enum:
    STRIPS = 64
    LEAST_COUNTS = 64                   # of a strip: what a strip costs beside them


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
    cdef Py_ssize_t n_strips
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
        self.job.doc_begin = <const int64_t *> address(doc_begin, 8)
        self.job.longest = np.diff(doc_begin).max(initial=0)
        self.job.word = <const int32_t *> address(word, 4)
        self.job.count = address(count, count.itemsize)
        if doc_weight is not None:
            self.job.doc_weight = <const double *> address(doc_weight, 8)
        self.n_strips = min(max(self.nnz // LEAST_COUNTS, 1), STRIPS)
        _cut(doc_begin, self.doc_cuts, self.n_strips)

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
        self.job.word_begin = <const int64_t *> address(word_begin, 8)
        self.job.doc = <const int32_t *> address(doc, 4)
        self.job.position = <const int32_t *> address(position, 4)
        self.job.word_id = <const int32_t *> address(self._word_id, 4)
        self.job.ratio = address(ratio, ratio.itemsize)
        _cut(word_begin, self.word_cuts, self.n_strips)


cdef void *address(array, Py_ssize_t itemsize) except? NULL:
    """Return the address of a contiguous array of such items, which somebody keeps alive."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS)
    cdef void *begin = view.buf
    cdef Py_ssize_t found = view.itemsize
    PyBuffer_Release(&view)
    if found != itemsize:
        raise TypeError(f"items of {itemsize} bytes are needed, got {array.dtype}")
    return begin


cdef class Job:
    """A topics_job: some counts, and topics, which the E-steps below hold fixed."""

    cdef topics_job c
    cdef const topics_ops *ops
    cdef Counts counts
    cdef Py_ssize_t itemsize            # of the topics and all that goes with them
    cdef list held

    def __cinit__(
        self,
        Counts counts,
        Py_ssize_t n_topics,
        topics,                 # IN  (V, width)  S
        scale,                  # IN  (width,)
        double word_prior=0.0,  # phi = (S + word_prior) * scale
    ):
        self.counts, self.c, self.itemsize, self.held = counts, counts.job, topics.itemsize, []
        self.ops = choose(n_topics, self.itemsize == 8)
        self.c.n_topics, self.c.width = n_topics, topics.shape[1]
        self.c.topics, self.c.scale = self.reals(topics), self.reals(scale)
        self.c.word_prior, self.c.max_sweeps, self.c.power = word_prior, 1, 1

    cdef void *reals(self, array) except? NULL:
        self.held.append(array)
        return address(array, self.itemsize)

    cdef double *doubles(self, array) except? NULL:
        self.held.append(array)
        return <double *> address(array, 8) if array is not None else NULL

    cdef sum_words(self, sums, total):
        """Ask for sums of words: (W, width) of those that occur, or (V, width)."""
        cdef topics_job *laid = &self.counts.job
        if self.counts._word_id is None:
            self.counts._lay_by_word()
        self.c.word_begin, self.c.word_id = laid.word_begin, laid.word_id
        self.c.doc, self.c.position, self.c.ratio = laid.doc, laid.position, laid.ratio
        self.c.sums, self.c.all_words = self.reals(sums), len(sums) == len(self.held[0])
        if total is not None:
            self.c.total = self.reals(total)


def documents(
    Job job,
    doc_topic,                  # IN   (D, width)  theta
    new_doc_topic,              # OUT  (D, width)  after the last sweep; or None
    log_likelihood,             # OUT  (D,) or None
    int n_threads,
    *,
    double doc_prior=0.0,
    Py_ssize_t max_sweeps=1,    # E-steps of a document after each other, at most
    double tol=0.0,             # until its topics change by less than this in all
    double power=1.0,           # in (0, 1]
):
    """E-step by document, topics held fixed. With several sweeps `doc_topic` is written over.

    Equivalent to, with n the counts and phi = (topics + word_prior) * scale::

        seen = doc_topic ** power
        ratio = n / (seen @ phi.T)
        new_doc_topic = normalise(seen * (ratio @ phi) + doc_prior)
        log_likelihood = sum(n * log(seen @ phi.T), axis=1)

    Each document stops by its own change: what is in the others does not matter.
    """
    cdef topics_job *c = &job.c
    c.doc_topic, c.log_likelihood = job.reals(doc_topic), job.doubles(log_likelihood)
    if new_doc_topic is not None:
        c.new_doc_topic = job.reals(new_doc_topic)
    c.doc_prior, c.max_sweeps, c.tol, c.power = doc_prior, max_sweeps, tol, power
    c.ratio = NULL
    _run_documents(job, max_sweeps, n_threads)


def e_step(
    Job job,
    doc_topic,                  # IN     (D, width)  theta
    new_doc_topic,              # OUT    (D, width)
    log_likelihood,             # OUT    (D,) or None
    sums,                       # INOUT  (W, width)  of the words that occur, or (V, width)
    int n_threads,
    *,
    double doc_prior=0.0,
    total=None,                 # INOUT  (V, width)  or None
    double relax=0.0,           # over-relaxation of what rises
    double momentum=0.0,        # of documents' topics
    last_doc_topic=None,        # IN     (D, width)  `unrelaxed` of the last visit
    unrelaxed=None,             # OUT    (D, width)  new topics before both; with a total
):
    """E-step by document and by word; returns the sums' totals over words, (K,).

    Equivalent to `documents`, and then ``sums = phi * (ratio.T @ doc_topic)``.

    With a total, which may be `topics`, the old sums are replaced in it, ``total += sums - old``;
    what comes back are the changes of the totals, and ``relax * maximum(sums - old, 0)`` is added
    to the new sums. To new topics of documents ``relax * maximum(new - doc_topic, 0) + momentum *
    maximum(new - last_doc_topic, 0)`` is added before they are normalised again.
    """
    cdef topics_job *c = &job.c
    job.sum_words(sums, total)
    c.doc_topic, c.log_likelihood = job.reals(doc_topic), job.doubles(log_likelihood)
    c.new_doc_topic, c.doc_prior = job.reals(new_doc_topic), doc_prior
    if total is not None:
        c.last_doc_topic, c.unrelaxed = job.reals(last_doc_topic), job.reals(unrelaxed)
        c.relax, c.momentum = relax, momentum
    _run_documents(job, 1, n_threads)
    return _run_words(job, n_threads)


def dirichlet_e_step(
    Job job,
    gamma,                      # INOUT  (D, width)  Dirichlet parameters of the documents
    doc_topic_prior,            # IN     (width,)
    doc_topic,                  # OUT    (D, width)  theta = exp(digamma(gamma))
    log_likelihood,             # OUT    (D,) or None
    sums,                       # OUT    (W, width) or (V, width); or None: documents alone
    int n_threads,
    *,
    Py_ssize_t max_sweeps,      # updates of gamma, at most
    double tol,                 # until it changes by less than this on average
    total=None,                 # INOUT  (V, width)  where old sums are replaced, or None
    double least_theta=0.0,     # what theta is at least
    GammaStream first=None,     # INOUT  where every gamma comes from at first, or None
):
    """E-step of latent Dirichlet allocation; returns the sums' totals over words, (K,), or None.

    Equivalent to, for a document, with n its counts and phi = topics * scale, until gamma stays::

        gamma = doc_topic_prior + theta * (n / (theta @ phi.T) @ phi)

    then, with the last theta, ``log_likelihood = sum(n * log(theta @ phi.T))`` and
    ``sums = phi * ((n / (theta @ phi.T)).T @ theta)``. A total is as in `e_step`.

    Where a word's phi may underflow in all topics but one (densities of vectors do), theta must not
    underflow in that one: `least_theta` keeps the word in the document.
    """
    cdef topics_job *c = &job.c
    cdef gamma_rows drawn
    c.ratio = NULL
    if sums is not None:
        job.sum_words(sums, total)
    c.doc_topic = c.new_doc_topic = job.reals(doc_topic)
    c.gamma, c.doc_topic_prior = job.reals(gamma), job.reals(doc_topic_prior)
    c.log_likelihood = job.doubles(log_likelihood)
    c.max_sweeps, c.tol, c.least_theta = max_sweeps, tol * c.n_topics, least_theta
    if first is not None:
        drawn.stream, drawn.values, drawn.ready = &first.stream, c.gamma, 0
        drawn.is_double = job.itemsize == 8
        drawn.n_columns, drawn.width = c.n_topics, gamma.shape[1]
    _run_documents(job, 4, n_threads, NULL if first is None else &drawn)
    return None if sums is None else _run_words(job, n_threads)


cdef _run_documents(Job job, double sweeps, int n_threads, gamma_rows *drawn=NULL):
    """Run the pass over documents."""
    cdef fastem_pass one
    cdef topics_drawing drawing
    cdef double nothing
    memset(&one, 0, sizeof(one))
    one.job, one.step = &job.c, job.ops.documents
    if drawn != NULL:
        drawing.job, drawing.documents, drawing.drawn = &job.c, job.ops.documents, drawn
        drawing.clock = &one.clock
        one.job, one.step = &drawing, topics_draw
    one.n_rows, one.chunk = job.counts.n_docs, 64
    one.n_strips, one.cuts = job.counts.n_strips, job.counts.doc_cuts
    one.scratch_bytes, one.n_threads = job.ops.scratch_bytes(&job.c), n_threads
    one.work = sweeps * job.counts.nnz * job.c.n_topics
    run(&one, &nothing)


cdef _run_words(Job job, int n_threads):
    """Run the pass over words; return the sums' totals over words."""
    cdef fastem_pass one
    totals = np.empty(job.c.n_topics)
    memset(&one, 0, sizeof(one))
    one.job, one.step, one.n_sums = &job.c, job.ops.words, job.c.n_topics
    one.n_rows, one.chunk = len(job.counts._word_id), 64
    one.n_strips, one.cuts = job.counts.n_strips, job.counts.word_cuts
    one.scratch_bytes, one.n_threads = job.ops.scratch_bytes(&job.c), n_threads
    one.work = 0.5 * job.counts.nnz * job.c.n_topics
    run(&one, <double *> address(totals, 8))
    return totals


# ---- functions of topics ---------------------------------------------------------------------


def exp_digamma(sums, double prior, out, int n_threads, rows=None):
    """``out = exp(digamma(sums + prior))``, elementwise, for sums + prior > 0; or of some rows."""
    cdef topics_digammas own
    cdef fastem_pass one
    cdef double nothing
    own.ops = fastem_topics_ops(runtime.level(), sums.itemsize == 8)
    own.prior, own.size, own.width, own.list = prior, sums.itemsize, 1, NULL
    own.sums, own.out = <const char *> address(sums, own.size), <char *> address(out, own.size)
    memset(&one, 0, sizeof(one))
    one.job, one.step, one.n_threads = &own, topics_exp_digamma, n_threads
    one.n_rows, one.chunk = sums.size, 8192
    if rows is not None:
        own.width, own.list = sums.shape[1], <const int32_t *> address(rows, 4)
        one.n_rows, one.chunk = len(rows), 64
    one.work = 2.0 * one.n_rows * own.width
    run(&one, &nothing)


cdef _cut(const int64_t[::1] begin, Py_ssize_t *cuts, Py_ssize_t n_strips):
    """Cut rows into strips of about equal cost; a row costs something even if it is empty."""
    cdef Py_ssize_t n = begin.shape[0] - 1, strip, row = 0
    cdef double total = begin[n] + 4.0 * n
    for strip in range(n_strips):
        while row < n and begin[row] + 4.0 * row < total * strip / n_strips:
            row += 1
        cuts[strip] = row
    cuts[n_strips] = n


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


include "bound.pxi"
include "rows.pxi"
