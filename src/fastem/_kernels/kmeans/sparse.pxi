"""K-means of sparse rows, see sparse.h: a part of kmeans.pyx."""

cdef double FAR = 2.0 ** 40  # scaled: the squares of such centers, and less, float32 can hold


cdef int _each_feature(Job job, fastem_step step, int n_threads, Py_ssize_t chunk,
                       double nanoseconds, Py_ssize_t n_sums=0, double *total=NULL) except -1:
    """Run a step on some features at a time."""
    cdef fastem_pass one
    memset(&one, 0, sizeof(one))
    one.job, one.step, one.n_rows, one.chunk = &job.c, step, job.c.n_features, chunk
    one.n_sums, one.n_threads, one.work = n_sums, n_threads, nanoseconds
    return run(&one, total)


cdef int _measure_centers(Job job, int n_threads, bint screen=False) except -1:
    """Find out how long centers are, and make the screen if that is wanted."""
    cdef kmeans_job *c = &job.c
    norms = np.empty(c.n_clusters)
    cdef double[::1] view = norms
    if screen:
        c.screen_out = <float *> job.address(arrays.empty((c.n_features, c.width), np.float32))
    _each_feature(job, job.ops.screen_features, n_threads, KMEANS_FEATURES,
                  1.0 * c.n_clusters * c.n_features, c.n_clusters, &view[0])
    return _take_norms(job, norms)


cdef int _take_norms(Job job, norms) except -1:
    """Let the job know the squared lengths of its centers, (K,) and scaled."""
    cdef kmeans_job *c = &job.c
    cdef double longest = sqrt(norms.max())
    c.norms = <const double *> job.address(norms)
    c.longest, c.screen = longest, NULL
    if c.screen_out != NULL and longest < FAR:
        single = np.full(c.width, np.inf, np.float32)
        single[: c.n_clusters] = norms
        c.screen, c.screen_norms = c.screen_out, <const float *> job.address(single)
    return 0


cdef double _entries(Job job):
    """Return how many entries the rows have."""
    return job.c.row_begin[job.c.n_samples]


cdef int _label(Job job, int n_threads) except -1:
    """Label sparse rows; return how many labels changed."""
    cdef double changed = 0
    cdef double pairs = job.c.width * (_entries(job) + job.c.n_samples)
    _pass(job, job.ops.label_sparse, n_threads, 0.1 * pairs, 1, &changed)
    return <int> changed


cdef int _add_entries(Job job, double n_rows, int n_threads) except -1:
    """Add rows to the sums of their clusters, about so many."""
    cdef Py_ssize_t chunk = job.c.n_features
    cdef double nanoseconds = 2 * n_rows * _entries(job) / max(1, job.c.n_samples)
    if worth(n_threads, nanoseconds) > 1:  # features are shared out, in parts that are not alike
        chunk = max(1, chunk // (4 * n_threads))
    return _each_feature(job, job.ops.add_entries, n_threads, chunk, nanoseconds)


cdef _weigh(Job job, double[::1] weights, bint moves):
    """Add the rows' weights to those of their clusters; with `moves` the changes."""
    cdef kmeans_job *c = &job.c
    cdef double weight = 1
    cdef Py_ssize_t row
    for row in range(c.n_samples):
        if c.sample_weight != NULL:
            weight = c.sample_weight[row]
        if moves and c.before[row] == c.labels[row]:
            continue
        if moves and c.before[row] >= 0:
            weights[c.before[row]] -= weight
        weights[c.labels[row]] += weight


cdef _assign_sparse(Job job, int n_threads, bint sums):
    """Do what `assign` does."""
    cdef kmeans_job *c = &job.c
    cdef Py_ssize_t k = c.n_clusters, d = c.n_features
    # To make a screen takes longer than to compare few entries without.
    _measure_centers(job, n_threads, 4 * _entries(job) > d)
    if sums:
        c.before = <int32_t *> job.address(np.empty(c.n_samples, np.int32))
    changed = _label(job, n_threads)
    if not sums:
        return None, None, None, None, None
    rows, weights = np.zeros((k, d)), np.zeros(k)
    c.sums, c.sum_center_step, c.sum_feature_step = <double *> job.address(rows), d, 1
    _add_entries(job, c.n_samples, n_threads)
    _weigh(job, weights, c.moves)
    return rows, weights, changed, 0, 0


def lloyd_sparse(
    Job job,                    # IN     of sparse rows, with the first centers
    labels,                     # INOUT  (n,) int32
    double squares,             # IN     sum of w |x|^2
    double total_weight,        # IN     by which bounds are divided
    double tol,                 # IN     of the sum of squared shifts
    int max_iter,               # IN
    double length,              # IN     largest length of a row
    int n_threads,              # IN
):
    """Run k-means on sparse rows until it converges; on weights that are not negative.

    Equivalent to the E-steps and M-steps that `fastem.em` makes, but for the rounding of sums.
    Returns what `lloyd` does.
    """
    cdef kmeans_job *c = &job.c
    cdef Py_ssize_t k = c.n_clusters, width = c.width
    cdef double changed, inertia
    total = np.empty((3, width))
    cdef double[:, ::1] view = total
    lower_bounds, converged = [], False
    c.reach = length * c.scale * (1 + 1e-12)
    c.labels = <int32_t *> job.address(labels)
    sums, weights, norms = _lay_table(job, n_threads)
    while len(lower_bounds) < max_iter and not converged:
        _take_norms(job, norms)
        changed = _label(job, n_threads)
        c.moves = 2 * changed < c.n_samples  # else to add all rows is faster, and rounds less
        if not c.moves:
            sums.fill(0)
        _add_entries(job, 2 * changed if c.moves else c.n_samples, n_threads)
        weights[:k] = 0
        _weigh(job, weights, False)
        if not (weights[:k] > 0).all():
            return None
        _each_feature(job, job.ops.move_centers, n_threads, 4 * KMEANS_FEATURES,
                      _cells(job), 3 * width, &view[0, 0])
        inertia = squares - 2 * total[1].sum() + weights[:k] @ norms / c.scale ** 2
        lower_bounds.append(-max(0.0, inertia) / total_weight)
        converged = changed == 0 or float(total[2].sum()) <= tol
        norms = total[0, :k].copy()
    return _turn_back(job, n_threads), int(changed), lower_bounds, converged, 0


cdef double _cells(Job job):
    """Return how many nanoseconds it takes to go through a table, about."""
    return 2.0 * job.c.n_features * job.c.width


cdef _lay_table(Job job, int n_threads):
    """Make a table of the job's centers; return places for sums and weights, and |c|^2."""
    cdef kmeans_job *c = &job.c
    sums = arrays.zeros((c.n_features, c.width), np.float64)
    weights, norms = np.ones(c.width), np.empty(c.n_clusters)
    cdef double[::1] view = norms
    c.before = <int32_t *> job.address(np.empty(c.n_samples, np.int32))
    c.sums, c.sum_center_step, c.sum_feature_step = <double *> job.address(sums), 1, c.width
    c.cluster_weights = <const double *> job.address(weights)
    c.screen_out = <float *> job.address(arrays.zeros((c.n_features, c.width), np.float32))
    c.centers_out = <double *> job.address(arrays.zeros((c.n_features, c.width), np.float64))
    c.out_center_step, c.out_feature_step = 1, c.width
    _each_feature(job, job.ops.turn_centers, n_threads, KMEANS_FEATURES, _cells(job))
    c.centers, c.center_step, c.feature_step = c.centers_out, 1, c.width
    _each_feature(job, job.ops.screen_features, n_threads, KMEANS_FEATURES, _cells(job),
                  c.n_clusters, &view[0])
    return sums, weights, norms


cdef _turn_back(Job job, int n_threads):
    """Return the centers of a table, (K, D)."""
    cdef kmeans_job *c = &job.c
    centers = np.empty((c.n_clusters, c.n_features))
    c.centers_out = <double *> job.address(centers)
    c.out_center_step, c.out_feature_step = c.n_features, 1
    _each_feature(job, job.ops.turn_centers, n_threads, KMEANS_FEATURES, _cells(job))
    return centers
