/* One step of k-means++ on one block of rows.
 *
 * A template on DATA, the type of the rows; vectors are of float whatever it is, because they only
 * find the rows that a trial might be nearest to, with a proven margin: a hundredth of all pairs of
 * a row and a trial, later less. What is known of these is then computed in double. measure() below
 * is the whole algorithm.
 */
#define ON(name) FASTEM_CAT(name, DATA, SUFFIX)
#define PANEL (2 * VL) /* rows */

ALWAYS_INLINE const DATA *ON(row)(const seeding_job *job, ptrdiff_t row)
{
    return (const DATA *)(job->x + row * job->x_row);
}

static void ON(center)(const seeding_job *job, ptrdiff_t row, double *out)
{
    const DATA *x = ON(row)(job, row), *origin = job->origin;
    for (ptrdiff_t i = 0; i < job->n_features; i++)
        out[i] = origin ? (DATA)(x[i] - origin[i]) : x[i];
}

/* The job; where it has an origin, one whose rows [begin, begin + n) are about that, in this thread's
 * scratch after the panel. */
static const seeding_job *ON(about)(const seeding_job *job, ptrdiff_t begin, ptrdiff_t n,
                                    const fastem_strip *strip, seeding_job *moved)
{
    ptrdiff_t d = job->n_features;
    DATA *rows = (DATA *)((float *)strip->scratch + PANEL * d);
    const DATA *restrict origin = job->origin;
    if (!origin)
        return job;
    for (ptrdiff_t r = 0; r < n; r++) {
        const DATA *restrict x = ON(row)(job, begin + r);
        for (ptrdiff_t i = 0; i < d; i++)
            rows[r * d + i] = x[i] - origin[i];
    }
    *moved = *job;
    moved->origin = NULL;
    moved->x_row = d * (ptrdiff_t)sizeof(DATA);
    moved->x = (const char *)rows - begin * moved->x_row;
    return moved;
}

/* Squared distance of a row to a center, scaled. */
ALWAYS_INLINE double ON(distance)(const seeding_job *job, ptrdiff_t row,
                                  const double *restrict center)
{
    const DATA *restrict x = ON(row)(job, row);
    ptrdiff_t d = job->n_features, i = 0;
    double parts[8] = {0}, sum = 0;
    for (; i + 8 <= d; i += 8)
        for (int l = 0; l < 8; l++) {
            double gap = x[i + l] - center[i + l];
            parts[l] += gap * gap;
        }
    for (; i < d; i++)
        sum += (x[i] - center[i]) * (x[i] - center[i]);
    for (int half = 4; half; half /= 2)
        for (int l = 0; l < half; l++)
            parts[l] += parts[l + half];
    return (sum + parts[0]) * job->scale * job->scale;
}

ALWAYS_INLINE double ON(weight)(const seeding_job *job, ptrdiff_t row)
{
    return job->weight ? job->weight[row] : 1;
}

static void ON(pack_panel)(const seeding_job *job, ptrdiff_t panel, float *out)
{
    for (ptrdiff_t r = 0; r < PANEL; r++) {
        ptrdiff_t row = panel * PANEL + r;
        const DATA *x = ON(row)(job, row < job->n_samples ? row : job->n_samples - 1);
        for (ptrdiff_t i = 0; i < job->n_features; i++)
            out[i * PANEL + r] = (float)((x[i] - job->shift[i]) * job->scale);
    }
}

static void ON(pack)(const void *given, ptrdiff_t begin, ptrdiff_t n, const fastem_strip *strip)
{
    seeding_job moved;
    const seeding_job *job = ON(about)(given, begin, n, strip, &moved);
    for (ptrdiff_t panel = begin / PANEL; panel * PANEL < begin + n; panel++)
        ON(pack_panel)(job, panel, job->panels + panel * job->n_features * PANEL);
}

/* A center c is nearer than `closest` only if x.c > |c|^2 / 2 + threshold(x). */
ALWAYS_INLINE void ON(know)(const seeding_job *job, ptrdiff_t row, double closest)
{
    double length = ON(distance)(job, row, job->shift);
    ((DATA *)job->closest)[row] = (DATA)closest;
    job->threshold[row] = (float)(0.5 * (length - closest) - job->margin);
}

static void ON(sum_block)(const seeding_job *job, ptrdiff_t begin, ptrdiff_t n)
{
    ptrdiff_t r = 0;
    const DATA *restrict closest = (const DATA *)job->closest + begin;
    const double *restrict weight = job->weight + begin;
    double parts[32] = {0};
    if (job->weight)
        for (; r + 32 <= n; r += 32)
            for (int l = 0; l < 32; l++)
                parts[l] += weight[r + l] * closest[r + l];
    else
        for (; r + 32 <= n; r += 32)
            for (int l = 0; l < 32; l++)
                parts[l] += closest[r + l];
    for (; r < n; r++)
        parts[r % 32] += ON(weight)(job, begin + r) * closest[r];
    for (int half = 16; half; half /= 2)
        for (int l = 0; l < half; l++)
            parts[l] += parts[l + half];
    job->sums[begin / SEEDING_BLOCK] = parts[0];
}

static void ON(begin)(const void *given, ptrdiff_t begin, ptrdiff_t n, const fastem_strip *strip)
{
    seeding_job moved;
    const seeding_job *job = ON(about)(given, begin, n, strip, &moved);
    ptrdiff_t row = begin;
    for (; row < begin + n; row++)
        ON(know)(job, row, ON(distance)(job, row, job->trial));
    for (; row % PANEL; row++)
        job->threshold[row] = INFINITY;
    ON(sum_block)(job, begin, n);
}

/* The number of the lowest bit that is set. */
ALWAYS_INLINE int ON(lowest)(uint32_t bits)
{
#if defined(__GNUC__)
    return __builtin_ctz(bits);
#else
    int place = 0;
    while (!(bits >> place & 1))
        place++;
    return place;
#endif
}

/* Which rows of a panel four trials may be nearer to: a bit mask for each. */
ALWAYS_INLINE void ON(screen)(const seeding_job *job, const float *x, const float *threshold,
                              ptrdiff_t first, uint32_t *hits)
{
    vec dot[4][2];
    const float *coef = job->coef + first;
    for (int j = 0; j < 4; j++)
        dot[j][0] = dot[j][1] = FN(fill)(0);
    for (ptrdiff_t i = 0; i < job->n_features; i++, x += PANEL, coef += job->width) {
        vec low = FN(load)(x), high = FN(load)(x + VL);
        UNROLL
        for (int j = 0; j < 4; j++) {
            dot[j][0] += low * coef[j];
            dot[j][1] += high * coef[j];
        }
    }
    for (int j = 0; j < 4; j++) {
        float half = job->half_norm[first + j];
        hits[j] = FN(mask_greater)(dot[j][0], FN(load)(threshold) + half);
        hits[j] |= FN(mask_greater)(dot[j][1], FN(load)(threshold + VL) + half) << VL;
    }
}

/* Asks for a row that will be read soon. */
ALWAYS_INLINE void ON(fetch)(const seeding_job *job, ptrdiff_t row)
{
    const char *x = job->x + row * job->x_row;
    ptrdiff_t bytes = job->n_features * (ptrdiff_t)sizeof(DATA);
    for (ptrdiff_t at = 0; at < bytes && at < 1024; at += 64)
        PREFETCH(x + at);
    PREFETCH(x + bytes - 1);
}

/* Keeps the bits of the rows that a trial is nearer to; returns what it gains there. */
ALWAYS_INLINE double ON(confirm)(const seeding_job *job, ptrdiff_t panel, ptrdiff_t trial,
                                 uint32_t *hits)
{
    const double *center = job->trial + trial * job->n_features;
    double gain = 0;
    for (uint32_t open = *hits; open; open &= open - 1) {
        int place = ON(lowest)(open);
        ptrdiff_t row = panel * PANEL + place;
        DATA before = ((const DATA *)job->closest)[row];
        DATA after = (DATA)ON(distance)(job, row, center);
        if (after < before)
            gain += ON(weight)(job, row) * ((double)before - after);
        else
            *hits &= ~((uint32_t)1 << place);
    }
    return gain;
}

static void ON(measure)(const void *given, ptrdiff_t begin, ptrdiff_t n,
                        const fastem_strip *strip)
{
    seeding_job moved;
    const seeding_job *job = ON(about)(given, begin, n, strip, &moved);
    ptrdiff_t first_panel = begin / PANEL, end = (begin + n + PANEL - 1) / PANEL;
    ptrdiff_t width = job->width;
    double *gain = job->gain + begin / SEEDING_BLOCK * width;
    memset(gain, 0, width * sizeof(double));
    for (ptrdiff_t panel = first_panel; panel < end; panel++) {
        uint32_t *hits = job->hits + panel * width, some = 0;
        const float *x = job->panels + panel * job->n_features * PANEL;
        if (!job->panels) {
            ON(pack_panel)(job, panel, strip->scratch);
            x = strip->scratch;
        }
        for (ptrdiff_t first = 0; first < width; first += 4)
            ON(screen)(job, x, job->threshold + panel * PANEL, first, hits + first);
        for (ptrdiff_t l = 0; l < width; l++)
            some |= hits[l];
        for (; some; some &= some - 1) /* they are far apart in memory */
            ON(fetch)(job, panel * PANEL + ON(lowest)(some));
    }
    for (ptrdiff_t panel = first_panel; panel < end; panel++)
        for (ptrdiff_t l = 0; l < width; l++)
            if (job->hits[panel * width + l])
                gain[l] += ON(confirm)(job, panel, l, job->hits + panel * width + l);
}

static void ON(take)(const void *given, ptrdiff_t begin, ptrdiff_t n, const fastem_strip *strip)
{
    seeding_job moved;
    const seeding_job *job = given;
    ptrdiff_t trial = job->chosen, width = job->width;
    const double *center = job->trial + trial * job->n_features;
    if (job->gain[begin / SEEDING_BLOCK * width + trial] == 0)
        return;
    job = ON(about)(job, begin, n, strip, &moved);
    for (ptrdiff_t panel = begin / PANEL; panel * PANEL < begin + n; panel++)
        for (uint32_t open = job->hits[panel * width + trial]; open; open &= open - 1) {
            ptrdiff_t row = panel * PANEL + ON(lowest)(open);
            ON(know)(job, row, ON(distance)(job, row, center));
        }
    ON(sum_block)(job, begin, n);
}

static void ON(preview)(const void *given, ptrdiff_t begin, ptrdiff_t n,
                        const fastem_strip *strip)
{
    seeding_job moved;
    const seeding_job *job = ON(about)(given, begin, n, strip, &moved);
    ptrdiff_t trial = job->chosen;
    const double *center = job->trial + trial * job->n_features;
    DATA *out = job->preview;
    memcpy(out + begin, (const DATA *)job->closest + begin, n * sizeof(DATA));
    for (ptrdiff_t panel = begin / PANEL; panel * PANEL < begin + n; panel++)
        for (uint32_t open = job->hits[panel * job->width + trial]; open; open &= open - 1) {
            ptrdiff_t row = panel * PANEL + ON(lowest)(open);
            out[row] = (DATA)ON(distance)(job, row, center);
        }
}
#undef PANEL
#undef ON
