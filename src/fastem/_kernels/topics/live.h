/* Updates of a document's gamma in latent Dirichlet allocation. A template: see vec.h.
 *
 * After some updates most topics are dead in a document: what its words add to their gamma is lost in
 * rounding, of the prior and of the words' probabilities, and stays so. Updates leave them out. What
 * a dead topic would add, theta sum_w ratio_w phi_w, grows no faster than the ratios do; these are
 * watched, and once one is GROWTH times what it was when a topic died, all topics have their say
 * again. So the result is that of all topics, to rounding.
 *
 * Live topics stand one below the other, their words side by side: p(w|d) of VL words needs no sum
 * across lanes, and a topic that dies is a row that is read no more.
 */
#undef GROWTH
#undef LIVE_REALS
#undef LIVE_VECS
#undef SWEEPS_PAY
#undef HALF_ULP
#define GROWTH 16
#define LIVE_REALS ((ptrdiff_t)1 << 17) /* in a table: longer documents wait until few topics live */
#define SWEEPS_PAY 6 /* for laying out so many live topics: how many at most for each that is left */
#define LIVE_VECS (VEC_REGISTERS == 32 ? 8 : 4) /* vectors of words that are taken at a time */
#ifdef REAL_IS_FLOAT
#define HALF_ULP 5.9604645e-8f
#else
#define HALF_ULP 1.1102230246251565e-16
#endif

/* A document's shares of all topics, or of the live ones. Arrays are `width` long: n_topics rounded
 * up to whole vectors. */
typedef struct {
    ptrdiff_t n_topics, width, n_live;
    REAL *gamma, *theta, *scaled, *acc;
    const REAL *prior;
    REAL least_count; /* of a word */
    uint16_t *alive;  /* (width / VL,) a bit for each topic */
} FN(shares);

typedef struct {
    FN(shares) shares;
    ptrdiff_t n_dead;
    int32_t *topic; /* (n_topics,) which of all they are */
    REAL *prior, *scale;
    REAL **row;  /* (n_topics,) where a topic's phi / scale of all words stand */
    REAL *sums;  /* (width, VL) zero but within an update, as the scratch is at first */
    REAL *least; /* (padded n,) ratios, the least of those at which topics died */
    REAL *table;
} FN(live);

/* Words of a topic in the table: an odd number of vectors, so that topics do not meet in few sets of the
 * cache. */
ALWAYS_INLINE ptrdiff_t FN(live_stride)(ptrdiff_t n_words)
{
    return (((n_words + VL - 1) / VL) | 1) * VL;
}

static ptrdiff_t FN(table_reals)(const topics_job *job)
{
    ptrdiff_t stride = FN(live_stride)(job->longest), all = stride * job->n_topics;
    return (all < LIVE_REALS ? all : LIVE_REALS) + stride; /* what is not kept is written as well */
}

/* The end of a document's scratch is for its live topics. */
static ptrdiff_t FN(live_bytes)(const topics_job *job)
{
    ptrdiff_t width = job->width;
    return ((6 + VL) * width + FN(live_stride)(job->longest) + FN(table_reals)(job)) *
               sizeof(REAL) +
           (width + 1) * (sizeof(REAL *) + sizeof(int32_t) + 2 * sizeof(uint16_t));
}

static void FN(lay_live)(const topics_job *job, REAL *scratch, FN(shares) * all, FN(live) * live)
{
    ptrdiff_t width = job->width;
    live->sums = scratch;
    live->shares.gamma = live->sums + width * VL;
    live->shares.theta = live->shares.gamma + width;
    live->shares.scaled = live->shares.theta + width;
    live->shares.acc = live->shares.scaled + width;
    live->shares.prior = live->prior = live->shares.acc + width;
    live->shares.least_count = all->least_count;
    live->scale = live->prior + width;
    live->least = live->scale + width;
    live->table = live->least + FN(live_stride)(job->longest);
    live->row = (REAL **)(live->table + FN(table_reals)(job));
    live->topic = (int32_t *)(live->row + width + 1);
    live->shares.alive = (uint16_t *)(live->topic + width);
    all->alive = live->shares.alive + width;
}

/* theta = exp(digamma(gamma)), least_theta at least. */
static void FN(expected_theta)(const topics_job *job, const FN(shares) * shares)
{
    REAL *theta = shares->theta, least = (REAL)job->least_theta;
    FN(exp_digamma_row)(shares->gamma, 0, shares->width, theta); /* 0 of 0, past the topics */
    for (ptrdiff_t k = 0; least > 0 && k < shares->n_topics; k++)
        theta[k] = theta[k] > least ? theta[k] : least;
}

ALWAYS_INLINE int FN(count_bits)(unsigned mask)
{
#if defined(__GNUC__)
    return __builtin_popcount(mask);
#else
    int n = 0;
    for (; mask; mask &= mask - 1)
        n++;
    return n;
#endif
}

/* gamma = prior + scaled * acc, and which topics live. Returns the sum of |changes| of gamma. */
static double FN(update_gamma)(FN(shares) * shares)
{
    double change = 0;
    vec total = FN(fill)(0);
    shares->n_live = 0;
    for (ptrdiff_t k = 0; k < shares->width; k += VL) {
        vec prior = FN(load)(shares->prior + k), old = FN(load)(shares->gamma + k);
        vec more = FN(load)(shares->scaled + k) * FN(load)(shares->acc + k), gamma = prior + more;
        vec lost = HALF_ULP * FN(min)(prior, FN(fill)(shares->least_count));
        /* theta of a gamma that was less than the prior was less than it will be */
        unsigned alive = FN(mask_greater)(more, lost) | FN(mask_greater)(prior, old);
        total += FN(max)(gamma - old, old - gamma);
        FN(store)(shares->gamma + k, gamma);
        shares->alive[k / VL] = (uint16_t)alive;
        shares->n_live += FN(count_bits)(alive);
    }
    FN(add_sums)(&total, 1, &change);
    return change;
}

/* Copies gamma and theta of topic k of `from` to topic `to` of others. */
ALWAYS_INLINE void FN(copy_share)(const FN(shares) * from, ptrdiff_t k, FN(shares) * others,
                                  ptrdiff_t to)
{
    others->gamma[to] = from->gamma[k];
    others->theta[to] = from->theta[k];
}

/* n topics are left. */
static void FN(end_live)(FN(live) * live, ptrdiff_t n)
{
    FN(shares) *shares = &live->shares;
    shares->n_topics = n;
    shares->width = (n + VL - 1) / VL * VL;
    for (; n < shares->width; n++)
        shares->gamma[n] = shares->theta[n] = live->prior[n] = live->scale[n] = 0;
}

/* Lays out the live topics of a document. */
static void FN(gather_live)(const topics_job *job, const FN(view) * view, const FN(shares) * all,
                            FN(live) * live)
{
    const REAL *prior = job->doc_topic_prior, *scale = job->scale;
    ptrdiff_t stride = FN(live_stride)(view->n), n = 0;
    for (ptrdiff_t k = 0; k < all->n_topics; k++) { /* no branches, for nobody can predict them */
        FN(copy_share)(all, k, &live->shares, n);
        live->prior[n] = prior[k];
        live->scale[n] = scale[k];
        live->topic[n] = (int32_t)k;
        n += (all->alive[k / VL] >> (k % VL)) & 1;
    }
    live->n_dead = all->n_topics - n;
    FN(end_live)(live, n);
    for (ptrdiff_t k = 0; k <= n; k++)
        live->row[k] = live->table + k * stride;
    for (ptrdiff_t i = 0; i < view->n; i += VL) {
        FN(store)(live->least + i, live->n_dead ? FN(load)(view->ratio + i) : FN(fill)(INFINITY));
        for (ptrdiff_t k = 0, to = 0; k < all->width; k += VL) {
            unsigned alive = all->alive[k / VL];
            vec square[ROWS];
            if (!alive)
                continue;
            UNROLL
            for (ptrdiff_t l = 0; l < VL; l++)
                square[l] = FN(load)(view->rows[i + l] + k);
            FN(transpose)(square);
            for (ptrdiff_t l = 0; l < VL; l++) {
                FN(store)(live->row[to] + i, square[l]);
                to += (alive >> l) & 1;
            }
        }
    }
}

/* Gives the live topics' shares back. */
static void FN(scatter_live)(const FN(live) * live, FN(shares) * all)
{
    for (ptrdiff_t k = 0; k < live->shares.n_topics; k++)
        FN(copy_share)(&live->shares, k, all, live->topic[k]);
}

/* Leaves out the topics that have died. */
static void FN(drop_dead)(const FN(view) * view, FN(shares) * all, FN(live) * live)
{
    FN(shares) *shares = &live->shares;
    ptrdiff_t n = 0;
    FN(scatter_live)(live, all);
    for (ptrdiff_t k = 0; k < shares->n_topics; k++) {
        FN(copy_share)(shares, k, shares, n);
        live->prior[n] = live->prior[k];
        live->scale[n] = live->scale[k];
        live->row[n] = live->row[k];
        live->topic[n] = live->topic[k];
        n += (shares->alive[k / VL] >> (k % VL)) & 1;
    }
    live->n_dead += shares->n_topics - n;
    FN(end_live)(live, n);
    for (ptrdiff_t i = 0; i < view->n; i += VL)
        FN(store)(live->least + i, FN(min)(FN(load)(live->least + i), FN(load)(view->ratio + i)));
}

/* `vecs` vectors of words from `at` on: their ratios, and with_sums what they add to the sums. */
ALWAYS_INLINE double FN(live_block)(const int vecs, ptrdiff_t at, FN(view) * view, FN(live) * live,
                                    int with_sums, int with_logs)
{
    const FN(shares) *shares = &live->shares;
    double log_likelihood = 0;
    vec dots[LIVE_VECS];
    UNROLL
    for (int v = 0; v < vecs; v++)
        dots[v] = FN(fill)(0);
    for (ptrdiff_t k = 0; k < shares->n_topics; k++) {
        const REAL *row = live->row[k] + at;
        UNROLL
        for (int v = 0; v < vecs; v++)
            dots[v] += shares->scaled[k] * FN(load)(row + v * VL);
    }
    UNROLL
    for (int v = 0; v < vecs; v++) {
        vec counts = FN(load)(view->count + at + v * VL);
        if (with_logs)
            log_likelihood += FN(log_likelihood)(counts, dots[v]);
        dots[v] = FN(ratios)(counts, dots[v]);
        FN(store)(view->ratio + at + v * VL, dots[v]);
    }
    for (ptrdiff_t k = 0; with_sums && k < shares->n_topics; k++) {
        const REAL *row = live->row[k] + at;
        vec sum = FN(load)(live->sums + k * VL);
        UNROLL
        for (int v = 0; v < vecs; v++)
            sum += dots[v] * FN(load)(row + v * VL);
        FN(store)(live->sums + k * VL, sum);
    }
    return log_likelihood;
}

/* As FN(document) for the live topics. */
static double FN(live_document)(FN(view) * view, FN(live) * live, int with_sums, int with_logs)
{
    FN(shares) *shares = &live->shares;
    double log_likelihood = 0;
    for (ptrdiff_t k = 0; k < shares->width; k += VL)
        FN(store)(shares->scaled + k, FN(load)(shares->theta + k) * FN(load)(live->scale + k));
    for (ptrdiff_t at = 0; at < view->n; at += LIVE_VECS * VL)
        switch ((view->n - at + VL - 1) / VL) {
#define CALL(vecs) log_likelihood += FN(live_block)(vecs, at, view, live, with_sums, with_logs)
        case 1: CALL(1); break;
        case 2: CALL(2); break;
        case 3: CALL(3); break;
#if VEC_REGISTERS == 32
        case 4: CALL(4); break;
        case 5: CALL(5); break;
        case 6: CALL(6); break;
        case 7: CALL(7); break;
#endif
        default: CALL(LIVE_VECS); break;
#undef CALL
        }
    for (ptrdiff_t k = 0; with_sums && k < shares->width; k += VL) {
        vec group[ROWS];
        UNROLL
        for (ptrdiff_t l = 0; l < VL; l++) {
            group[l] = FN(load)(live->sums + (k + l) * VL);
            FN(store)(live->sums + (k + l) * VL, FN(fill)(0));
        }
        FN(store)(shares->acc + k, FN(sum_lanes)(group));
    }
    return log_likelihood;
}

static REAL FN(least_count)(const FN(view) * view)
{
    REAL least = INFINITY;
    for (ptrdiff_t i = 0; i < view->n; i++)
        least = view->count[i] < least ? view->count[i] : least;
    return least;
}

/* Whether a ratio has grown so much that a dead topic may matter. */
static int FN(may_revive)(const FN(view) * view, const FN(live) * live)
{
    unsigned grown = 0;
    for (ptrdiff_t i = 0; live->n_dead && i < view->n; i += VL)
        grown |= FN(mask_greater)(FN(load)(view->ratio + i),
                                  GROWTH * FN(load)(live->least + i));
    return grown != 0;
}

/* E-steps of document d of LDA (Blei, Ng & Jordan 2003, figure 6), in which gamma is
 * prior + theta * acc; the last one only for the ratios and the logarithms. */
static void FN(lda_document)(const topics_job *job, ptrdiff_t d, FN(view) * view)
{
    ptrdiff_t row = d * job->width;
    FN(shares) all = {.n_topics = job->n_topics, .width = job->width,
                      .gamma = (REAL *)job->gamma + row, .theta = (REAL *)job->doc_topic + row,
                      .scaled = view->scaled, .acc = view->acc, .prior = job->doc_topic_prior,
                      .least_count = FN(least_count)(view)};
    FN(live) live;
    FN(shares) *shares = &all; /* or those of the live topics */
    int last = job->ratio || job->log_likelihood, with_logs = job->log_likelihood != NULL;
    double change = INFINITY, log_likelihood = 0;
    FN(lay_live)(job, view->rest, &all, &live);
    FN(expected_theta)(job, &all);
    for (ptrdiff_t left = job->max_sweeps; left > 0 && !(change < job->tol); left--) {
        if (shares != &all) {
            FN(live_document)(view, &live, 1, 0);
            if (FN(may_revive)(view, &live)) {
                FN(scatter_live)(&live, &all);
                shares = &all;
            }
        }
        if (shares == &all)
            FN(document)(job, all.theta, view, 1, 0);
        change = FN(update_gamma)(shares);
        FN(expected_theta)(job, shares);
        if (shares != &all) {
            if (shares->n_live <= shares->n_topics - shares->n_topics / 8)
                FN(drop_dead)(view, &all, &live);
        } else if (all.n_live <= SWEEPS_PAY * left &&
                   all.n_live * FN(live_stride)(view->n) <= LIVE_REALS) {
            FN(gather_live)(job, view, &all, &live);
            shares = &live.shares;
        }
    }
    if (shares != &all) {
        FN(scatter_live)(&live, &all);
        if (last)
            log_likelihood = FN(live_document)(view, &live, 0, with_logs);
        last = last && FN(may_revive)(view, &live);
    }
    if (last)
        log_likelihood = FN(document)(job, all.theta, view, 0, with_logs);
    if (job->log_likelihood)
        job->log_likelihood[d] = log_likelihood;
    if (job->ratio)
        FN(write_ratios)(job, d, view);
}
