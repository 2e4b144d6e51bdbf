# How a pass over all chunks runs: in strips with sums of their own, or by threads in turn.

cdef Py_ssize_t _up(Py_ssize_t n, Py_ssize_t to) noexcept nogil:
    """Return the smallest multiple of `to` that is at least n."""
    return (n + to - 1) // to * to


cdef char *_buffers(int n_threads, Py_ssize_t *bytes) except NULL:
    """Return buffers for the threads: see fastem_buffers."""
    cdef char *memory = fastem_buffers(n_threads, bytes)
    if memory == NULL:
        raise MemoryError(f"no {n_threads * bytes[0]} bytes for buffers")
    return memory


cdef class _Buffers:
    """What a pass needs beside its sums: the tables, and scratch for every thread."""

    cdef char *scratch
    cdef char *tables
    cdef Py_ssize_t scratch_bytes

    def __cinit__(self, Job job, int n_threads):
        cdef Py_ssize_t tables_bytes = job.ops.tables_bytes(&job.c), k
        cdef const gaussian_job *c = &job.c
        cdef const gaussian_ops *ops = job.ops
        cdef char *tables
        self.scratch_bytes = job.ops.scratch_bytes(&job.c)
        self.scratch = _buffers(n_threads, &self.scratch_bytes)
        self.tables = tables = _buffers(1, &tables_bytes)
        ops.prepare(c, tables)
        n_threads = _useful(n_threads, tables_bytes // 8)
        for k in prange(c.n_components, nogil=True, num_threads=n_threads):
            ops.prepare_component(c, k, tables)
        job.c.tables = tables

    def __dealloc__(self):
        fastem_free_buffers(self.scratch)
        fastem_free_buffers(self.tables)


cdef _run(Job job, Py_ssize_t n_strips, int n_threads, Py_ssize_t size):
    """Run all strips; return their sums, (n_strips, size)."""
    cdef gaussian_job *c = &job.c
    cdef const gaussian_ops *ops = job.ops
    # A block may have no rows: then there is one chunk, of none.
    cdef Py_ssize_t rows = ops.chunk_rows(c), n_chunks = max(1, _up(c.n_samples, rows) // rows)
    cdef Py_ssize_t strip
    cdef double clock = omp_get_wtime()
    cdef int64_t stop = 0
    n_strips = max(1, min(n_strips, n_chunks))
    n_threads = max(1, min(n_threads, n_strips))
    # The same number of chunks in every strip: with few, one more would be waited for.
    n_chunks = _up(n_chunks, n_strips)
    rows = min(rows, _up(_up(max(1, c.n_samples), n_chunks) // n_chunks, 64))
    n_chunks = _up(c.n_samples, rows) // rows
    sums = np.zeros((n_strips, size))
    cdef double[:, ::1] strips = sums
    cdef _Buffers buffers = _Buffers(job, n_threads)
    cdef char *scratch = buffers.scratch
    cdef Py_ssize_t scratch_bytes = buffers.scratch_bytes
    for strip in prange(n_strips, nogil=True, num_threads=n_threads, schedule="dynamic",
                        chunksize=1):
        _strip(c, ops, n_chunks * strip // n_strips, n_chunks * (strip + 1) // n_strips, rows,
               scratch + omp_get_thread_num() * scratch_bytes,
               &strips[strip, 0] if size else NULL, &stop, &clock)
    if stop:
        raise_pending()
    return sums


cdef void _strip(
    const gaussian_job *job,
    const gaussian_ops *ops,
    Py_ssize_t first,           # IN     first chunk
    Py_ssize_t last,            # IN     one past the last chunk
    Py_ssize_t rows,            # IN     rows in a chunk
    char *scratch,              # INOUT  this thread's buffers
    double *sums,               # INOUT  this strip's sums, or NULL
    int64_t *stop,              # INOUT  set by an interrupt
    double *clock,              # INOUT  time of the last look for an interrupt
) noexcept nogil:
    cdef Py_ssize_t chunk, begin
    cdef int dense = 0
    for chunk in range(first, last):
        if stop[0]:
            return
        begin = chunk * rows
        ops.chunk(job, begin, min(rows, job.n_samples - begin), scratch, sums, &dense, NULL)
        if fastem_interrupted(clock):
            stop[0] = 1


cdef _run_in_turn(Job job, int n_threads, Py_ssize_t size):
    """Run chunks that add to the same sums, a component after the other; return (1, size).

    A chunk adds to a component when the chunk before it has, and otherwise does not wait: the
    threads follow each other through the components. For sums so large that strips of their own
    would fill the caches, and the memory.
    """
    cdef gaussian_job *c = &job.c
    cdef const gaussian_ops *ops = job.ops
    cdef Py_ssize_t rows = ops.chunk_rows(c), n_chunks = _up(c.n_samples, rows) // rows
    cdef double clock = omp_get_wtime()
    cdef int64_t stop = 0, next_chunk = 0
    # An even number, which two threads or more share out better: of few, one more is waited for.
    n_chunks = _up(n_chunks, 2) if n_chunks > 1 else 1
    rows = min(rows, _up(_up(max(1, c.n_samples), n_chunks) // n_chunks, 64))
    n_chunks = _up(c.n_samples, rows) // rows
    cdef int thread
    cdef int dense[TURN_STRIPS]
    memset(dense, 0, sizeof(dense))
    # At most TURN_STRIPS chunks are under way at once, so a counter of `dense` has one user.
    n_threads = max(1, min(n_threads, n_chunks, TURN_STRIPS))
    sums, counts = np.zeros((1, size)), np.zeros(n_chunks + 1, dtype=np.int64)
    counts[0] = c.n_components + 1  # before the first chunk there is nothing to wait for
    cdef double[:, ::1] total = sums
    cdef int64_t[::1] added = counts
    cdef _Buffers buffers = _Buffers(job, n_threads)
    cdef char *scratch = buffers.scratch
    cdef Py_ssize_t scratch_bytes = buffers.scratch_bytes
    for thread in prange(n_threads, nogil=True, num_threads=n_threads, schedule="static",
                         chunksize=1):
        _take_turns(c, ops, rows, n_chunks, scratch + thread * scratch_bytes, &total[0, 0],
                    &dense[0], &added[0], &next_chunk, &stop, &clock)
    if stop:
        raise_pending()
    return sums


cdef void _take_turns(
    const gaussian_job *job,
    const gaussian_ops *ops,
    Py_ssize_t rows,            # IN     rows in a chunk
    Py_ssize_t n_chunks,
    char *scratch,              # INOUT  this thread's buffers
    double *sums,               # INOUT  everybody's sums
    int *dense,                 # INOUT  (TURN_STRIPS,) see chunk()
    int64_t *added,             # INOUT  (n_chunks + 1,) parts that the chunk before has added
    int64_t *next_chunk,        # INOUT  the first that no thread has taken
    int64_t *stop,              # INOUT  set by an interrupt
    double *clock,              # INOUT  time of the last look for an interrupt
) noexcept nogil:
    cdef fastem_turn turn
    cdef Py_ssize_t chunk, begin
    turn.stop = stop
    while True:
        chunk = fastem_next(next_chunk)
        if chunk >= n_chunks or fastem_read(stop):
            return
        turn.before, turn.added = added + chunk, added + chunk + 1
        begin = chunk * rows
        ops.chunk(job, begin, min(rows, job.n_samples - begin), scratch, sums,
                  dense + chunk % TURN_STRIPS, &turn)
        if fastem_interrupted(clock):
            fastem_write(stop, 1)
