"""Passes over documents whose words' topics are kept: collapsed variational Bayes, stochastic EM.

The documents come in chunks. Those of one chunk see the sums as they were when it began, in any
order and on any thread; then what they changed is added. Real changes are added word by word,
through the pattern of the chunk by word; counts are integers, which add in any order. So the bits
of the result do not depend on the threads.
"""

from cython.parallel cimport parallel, prange
from libc.stdint cimport int32_t, int64_t, uint16_t, uint64_t
from libc.string cimport memset

import numpy as np

from fastem._engine import arrays
from fastem._kernels import runtime

from fastem._kernels.strips cimport worth
from fastem._kernels.omp cimport (
    fastem_barrier, fastem_buffers, fastem_free_buffers, fastem_interrupted, omp_get_thread_num,
    omp_get_wtime, raise_pending,
)


cdef extern from "tokens/job.h":
    ctypedef struct cvb0_job:
        Py_ssize_t n_topics, width
        const int64_t *doc_begin
        const int32_t *word
        const void *count
        const double *doc_weight
        const void *doc_topic_prior
        double word_prior, word_prior_sum
        void *q
        int is_brief
        void *doc_topic
        void *word_topic
        double *log_likelihood
        void *change
        const int32_t *word_id
        const int64_t *word_begin
        const int32_t *position

    ctypedef struct draw_job:
        Py_ssize_t n_topics, width
        const int64_t *doc_begin
        const int32_t *word
        const int32_t *count
        const int64_t *token_begin
        const float *doc_topic_prior
        double word_prior, word_prior_sum, prior_sum
        uint64_t key
        const uint16_t *q
        int32_t *topic
        int32_t *next
        int32_t *word_topic
        int64_t *totals
        int32_t *histogram
        Py_ssize_t longest
        double *log_likelihood

    ctypedef struct tokens_ops:
        Py_ssize_t lanes
        Py_ssize_t (*scratch_bytes)(Py_ssize_t) noexcept nogil
        void (*cvb0_totals)(const cvb0_job *, double *, const void *, Py_ssize_t,
                            void *) noexcept nogil
        void (*cvb0_document)(const cvb0_job *, Py_ssize_t, int64_t, void *) noexcept nogil
        void (*cvb0_words)(const cvb0_job *, Py_ssize_t, Py_ssize_t, int64_t, void *) noexcept nogil
        void (*draw_totals)(const draw_job *, void *) noexcept nogil
        void (*draw_documents)(const draw_job *, Py_ssize_t, Py_ssize_t, void *) noexcept nogil
        void (*draw_words)(const draw_job *, Py_ssize_t, void *) noexcept nogil

    uint64_t fastem_mix(uint64_t) noexcept nogil
    float fastem_uniform(uint64_t, uint64_t) noexcept nogil

    const tokens_ops *fastem_tokens_ops(int level, int is_double) noexcept nogil

ctypedef fused real:
    float
    double

cdef enum:
    STRIPS = 16                          # in which the words of a chunk are summed
    DOCUMENTS = 16                      # that a thread takes at a time


cdef const tokens_ops *choose(Py_ssize_t width, bint is_double) except NULL:
    """Return the widest vectors of which a row is made."""
    cdef int level = runtime.level()
    if level == 4 and width % fastem_tokens_ops(4, is_double).lanes:
        level = 3
    return fastem_tokens_ops(level, is_double)


cdef class Chunks:
    """The words of documents in chunks, in the order in which they are visited.

    Attributes
    ----------
    n_docs, nnz, n_chunks : int
    """

    cdef readonly Py_ssize_t n_docs, nnz, n_chunks
    cdef readonly object doc_begin, word, cuts
    cdef const int64_t[::1] _doc_begin, _cuts, _words
    cdef const int32_t[::1] _word
    cdef int64_t[::1] word_begin
    cdef int32_t[::1] word_id, position
    cdef Py_ssize_t most
    cdef bint laid_by_word

    def __cinit__(
        self,
        doc_begin,              # IN  (D + 1,) int64
        word,                   # IN  (nnz,) int32; nnz is less than 2^31
        cuts,                   # IN  (n_chunks + 1,) int64  first document of each chunk, and D
    ):
        self.doc_begin, self.word, self.cuts = doc_begin, word, cuts
        self._doc_begin, self._word, self._cuts = doc_begin, word, cuts
        self.n_docs, self.nnz, self.n_chunks = len(doc_begin) - 1, len(word), len(cuts) - 1
        self.most = np.diff(doc_begin[cuts]).max(initial=0)

    def __reduce__(self):
        """Save what it was made of: an uninitialised memoryview cannot be saved."""
        return type(self), (self.doc_begin, self.word, self.cuts)

    cdef _lay_by_word(self, Py_ssize_t n_words):
        """Make the pattern of each chunk by word: by word all over, and then by chunk."""
        cdef Py_ssize_t c, i, w = 0, last = -1, place
        cdef int32_t[::1] by_word = np.empty(self.nnz, np.int32)
        cdef int32_t[::1] chunk_of = np.empty(self.nnz, np.int32)
        cdef int64_t[::1] begin = np.zeros(max(n_words, self.n_chunks) + 2, np.int64)
        cdef int64_t[::1] words = np.zeros(self.n_chunks + 1, np.int64)
        self.position = np.empty(self.nnz, np.int32)
        for c in range(self.n_chunks):
            for i in range(self._doc_begin[self._cuts[c]], self._doc_begin[self._cuts[c + 1]]):
                chunk_of[i] = <int32_t> c
                begin[self._word[i] + 2] += 1
        for i in range(2, n_words + 1):
            begin[i] += begin[i - 1]
        for i in range(self.nnz):
            by_word[begin[self._word[i] + 1]] = <int32_t> i
            begin[self._word[i] + 1] += 1
        begin[:] = 0
        for c in range(self.n_chunks - 1):
            begin[c + 2] = self._doc_begin[self._cuts[c + 1]]
        for i in range(self.nnz):
            place = begin[chunk_of[by_word[i]] + 1]
            begin[chunk_of[by_word[i]] + 1] += 1
            self.position[place] = by_word[i]
        word_id, word_begin = np.empty(self.nnz, np.int32), np.empty(self.nnz + 1, np.int64)
        self.word_id, self.word_begin = word_id, word_begin
        for c in range(self.n_chunks):
            last = -1
            for i in range(self._doc_begin[self._cuts[c]], self._doc_begin[self._cuts[c + 1]]):
                if self._word[self.position[i]] != last:
                    last = self._word[self.position[i]]
                    self.word_id[w], self.word_begin[w] = <int32_t> last, i
                    w += 1
            words[c + 1] = w
        self.word_begin[w] = self.nnz
        self.word_id, self.word_begin = word_id[:w].copy(), word_begin[:w + 1].copy()
        self._words, self.laid_by_word = words, True


cdef class Job:
    """Documents in chunks, and the sums of words by topic, which passes keep up to date."""

    cdef Chunks chunks
    cdef object count, doc_topic_prior
    cdef readonly object word_topic, totals
    cdef double word_prior, word_prior_sum

    def __cinit__(
        self,
        Chunks chunks,
        count,                          # IN     (nnz,) real; of draws int32
        doc_topic_prior,                # IN     (width,) real; of draws float32
        double word_prior,
        word_topic,                     # INOUT  (V, width) real; of draws int32
        totals,                         # INOUT  its sums: (K,) float64; of draws (width,) int64
        n_words=None,                   # V, if some words occur in no document and have no row
    ):
        self.chunks, self.count, self.doc_topic_prior = chunks, count, doc_topic_prior
        self.word_prior, self.word_topic, self.totals = word_prior, word_topic, totals
        self.word_prior_sum = word_prior * (len(word_topic) if n_words is None else n_words)


def cvb0_pass(
    Job given,
    Py_ssize_t first,                   # IN     first chunk
    Py_ssize_t last,                    # IN     one past the last
    q,                                  # INOUT  (nnz, width)  zeros before the first visit; real,
                                        #        or bfloat16 as uint16 where the rest is float32
    real[:, ::1] doc_topic,             # INOUT  (D, width)    zeros before the first visit
    double[::1] log_likelihood,         # OUT    (D,) or None: of each word, all others given
    int n_threads,
    *,
    const double[::1] doc_weight=None,  # IN     (D,) or None
):
    """Visit the documents of some chunks once.

    Equivalent to, for one count n of word w in document d after another::

        p = (doc_topic[d] - q + doc_topic_prior) * (word_topic[w] - q + word_prior)
        p /= totals - q + V * word_prior
        new = p / p.sum()
        doc_topic[d] += n * (new - q)
        q[:] = new

    with word_topic and totals following at the end of a chunk.
    """
    cdef cvb0_job job
    cdef Chunks chunks = given.chunks
    cdef const real[::1] count = given.count, doc_topic_prior = given.doc_topic_prior
    cdef real[:, ::1] word_topic = given.word_topic
    cdef double[::1] totals = given.totals
    cdef Py_ssize_t width = doc_topic.shape[1]
    cdef const tokens_ops *ops = choose(width, real is double)
    cdef Py_ssize_t scratch_bytes = ops.scratch_bytes(width)
    cdef real[:, ::1] full
    cdef uint16_t[:, ::1] brief
    cdef double clock = omp_get_wtime()
    cdef const int64_t *cuts = &chunks._cuts[0]
    cdef const int64_t *words
    cdef int stop = 0
    cdef Py_ssize_t c, d, strip, n
    cdef int64_t begin
    cdef char *scratch
    cdef char *mine
    if chunks.nnz == 0 or first == last:
        return
    if not chunks.laid_by_word:
        chunks._lay_by_word(word_topic.shape[0])
    change = arrays.empty((chunks.most, width), np.asarray(doc_topic).dtype)
    strips = arrays.empty((STRIPS, width), change.dtype)
    cdef real[:, ::1] _change = change, _strips = strips
    memset(&job, 0, sizeof(job))
    job.n_topics, job.width = totals.shape[0], width
    if real is float and q.dtype == np.uint16:
        brief = q
        job.q, job.is_brief = &brief[0, 0], True
    else:
        full = q
        job.q = &full[0, 0]
    job.doc_begin, job.word, job.count = &chunks._doc_begin[0], &chunks._word[0], &count[0]
    job.doc_weight = NULL if doc_weight is None else &doc_weight[0]
    job.doc_topic_prior = &doc_topic_prior[0]
    job.word_prior, job.word_prior_sum = given.word_prior, given.word_prior_sum
    job.doc_topic, job.word_topic = &doc_topic[0, 0], &word_topic[0, 0]
    job.log_likelihood = NULL if log_likelihood is None else &log_likelihood[0]
    job.change, job.position = &_change[0, 0], &chunks.position[0]
    job.word_id, job.word_begin = &chunks.word_id[0], &chunks.word_begin[0]
    words = &chunks._words[0]
    n_threads = _threads(chunks, totals.shape[0], n_threads)
    scratch = fastem_buffers(n_threads, &scratch_bytes)
    if scratch == NULL:
        raise MemoryError(f"no {n_threads * scratch_bytes} bytes for buffers")
    with nogil, parallel(num_threads=n_threads):
        mine = scratch + omp_get_thread_num() * scratch_bytes
        ops.cvb0_totals(&job, &totals[0], NULL, 0, mine)
        for c in range(first, last):
            begin = job.doc_begin[cuts[c]]
            for d in prange(cuts[c], cuts[c + 1], schedule="dynamic", chunksize=1):
                if not (&stop)[0]:
                    ops.cvb0_document(&job, d, begin, mine)
                    _look(&stop, &clock)
            fastem_barrier()
            n = words[c + 1] - words[c]
            for strip in prange(STRIPS, schedule="dynamic", chunksize=1):
                ops.cvb0_words(&job, words[c] + n * strip // STRIPS,
                               words[c] + n * (strip + 1) // STRIPS, begin, &_strips[strip, 0])
            fastem_barrier()
            # every thread for itself: nobody waits, and all have the same
            ops.cvb0_totals(&job, NULL, &_strips[0, 0], STRIPS, mine)
    ops.cvb0_totals(&job, &totals[0], &_strips[0, 0], 0, scratch)
    fastem_free_buffers(scratch)
    if stop:
        raise_pending()


def draw_pass(
    Job given,
    Py_ssize_t first,                   # IN     first chunk
    Py_ssize_t last,                    # IN     one past the last
    int32_t[::1] topic,                 # INOUT  (tokens,)  -1 before the first visit
    int32_t[::1] next_topic,            # OUT    (tokens,)
    int n_threads,
    *,
    Py_ssize_t n_topics,
    const int64_t[::1] token_begin,     # IN     (D + 1,)
    uint64_t key,                       # IN     of this pass: token i has uniform(key, i)
    int32_t[:, ::1] histogram=None,     # INOUT  (K, longest + 1) or None
    double[::1] log_likelihood=None,    # OUT    (D,) or None: of each word, all others given
    const uint16_t[:, ::1] q=None,      # IN     (nnz, width)  bfloat16, or None
):
    """Draw the topics of all tokens of some chunks once.

    Equivalent to, for one token i of word w in document d with topic z after another, the counts
    without it::

        p = (doc_topic[d] + doc_topic_prior) * (word_topic[w] + word_prior)
        p /= totals + V * word_prior
        z = searchsorted(cumsum(p), uniform(key, i) * p.sum(), "right")

    with word_topic and totals following at the end of a chunk; topics in another order than
    0, ..., K - 1 in the cumulative sum. With q, p is the row of a token's count.
    """
    cdef draw_job job
    cdef Chunks chunks = given.chunks
    cdef const int32_t[::1] count = given.count
    cdef const float[::1] doc_topic_prior = given.doc_topic_prior
    cdef int32_t[:, ::1] word_topic = given.word_topic
    cdef int64_t[::1] totals = given.totals
    cdef const tokens_ops *ops = choose(word_topic.shape[1], False)
    cdef Py_ssize_t scratch_bytes = ops.scratch_bytes(word_topic.shape[1])
    cdef double clock = omp_get_wtime()
    cdef const int64_t *cuts = &chunks._cuts[0]
    cdef int stop = 0
    cdef Py_ssize_t c, d
    cdef char *scratch
    cdef char *mine
    if chunks.nnz == 0 or first == last:
        return
    memset(&job, 0, sizeof(job))
    job.n_topics, job.width = n_topics, word_topic.shape[1]
    job.doc_begin, job.word, job.count = &chunks._doc_begin[0], &chunks._word[0], &count[0]
    job.token_begin, job.doc_topic_prior = &token_begin[0], &doc_topic_prior[0]
    job.word_prior, job.word_prior_sum = given.word_prior, given.word_prior_sum
    job.prior_sum, job.key = np.sum(doc_topic_prior, dtype=np.float64), key
    job.topic, job.next = &topic[0], &next_topic[0]
    job.word_topic, job.totals = &word_topic[0, 0], &totals[0]
    if q is not None and q.shape[0]:
        job.q = &q[0, 0]
    if histogram is not None:
        job.histogram, job.longest = &histogram[0, 0], histogram.shape[1] - 1
    job.log_likelihood = NULL if log_likelihood is None else &log_likelihood[0]
    n_threads = _threads(chunks, n_topics, n_threads)
    scratch = fastem_buffers(n_threads, &scratch_bytes)
    if scratch == NULL:
        raise MemoryError(f"no {n_threads * scratch_bytes} bytes for buffers")
    with nogil, parallel(num_threads=n_threads):
        mine = scratch + omp_get_thread_num() * scratch_bytes
        for c in range(first, last):
            ops.draw_totals(&job, mine)
            for d in prange(cuts[c], cuts[c + 1], DOCUMENTS, schedule="dynamic", chunksize=1):
                if not (&stop)[0]:
                    ops.draw_documents(&job, d, min(d + DOCUMENTS, cuts[c + 1]), mine)
                    _look(&stop, &clock)
            fastem_barrier()
            for d in prange(cuts[c], cuts[c + 1], schedule="dynamic", chunksize=16):
                if not (&stop)[0]:
                    ops.draw_words(&job, d, mine)
            fastem_barrier()
    fastem_free_buffers(scratch)
    if stop:
        raise_pending()


def random_key(seed, Py_ssize_t sweep):
    """Return the key of a pass's random numbers."""
    return fastem_mix(fastem_mix(<uint64_t> seed) + <uint64_t> sweep)


def uniforms(uint64_t key, Py_ssize_t first, Py_ssize_t last):
    """Return the random numbers of tokens [first, last): what `draw_pass` uses."""
    out = np.empty(last - first, np.float32)
    cdef float[::1] _out = out
    cdef Py_ssize_t i
    for i in range(first, last):
        _out[i - first] = fastem_uniform(key, i)
    return out


def lanes(Py_ssize_t width, dtype):
    """Return how many topics a vector of `draw_pass` or `cvb0_pass` holds."""
    return choose(width, dtype == np.float64).lanes


def column_sums(const real[:, ::1] rows, Py_ssize_t n_columns, int n_threads):
    """``rows[:, :n_columns].sum(axis=0, dtype=float64)``: NumPy converts before it adds."""
    cdef Py_ssize_t n = rows.shape[0], strip, i, k
    sums = np.zeros((STRIPS, n_columns))
    cdef double[:, ::1] _sums = sums
    cdef double *mine
    cdef const real *row
    n_threads = worth(n_threads, 1.0 * n * n_columns)
    for strip in prange(STRIPS, nogil=True, schedule="static", num_threads=n_threads):
        mine = &_sums[strip, 0]
        for i in range(n * strip // STRIPS, n * (strip + 1) // STRIPS):
            row = &rows[i, 0]
            for k in range(n_columns):
                mine[k] = mine[k] + row[k]
    return sums.sum(axis=0)


cdef void _look(int *stop, double *clock) noexcept nogil:
    """Set `stop` after an interrupt. Through pointers: a loop's own variables are private."""
    if fastem_interrupted(clock):
        stop[0] = 1


cdef int _threads(Chunks chunks, Py_ssize_t n_topics, int n_threads):
    """Return how many threads the chunks are worth.

    Threads meet twice a chunk, but awake, which takes an eighth of the time.
    """
    cdef double work = 1.0 * chunks.nnz * n_topics / max(1, chunks.n_chunks)
    return worth(n_threads, 8 * work)
