/* Gaussian mixtures: weights, means and second moments of a chunk, added to the strip's sums. A
 * template: see vec.h. */
/* out[4 i + j] += sum_t a[i][t] b[j][t] for 4 + 4 columns of t values, n a multiple of VL. */
NOINLINE static void FN(cross_sums)(const REAL *a, const REAL *b, ptrdiff_t column, ptrdiff_t n,
                                    double *out)
{
    enum { WIDTH = VEC_REGISTERS == 32 ? 4 : 2 }; /* columns of b that fit in the registers */
    for (int j0 = 0; j0 < 4; j0 += WIDTH) {
        vec acc[4][WIDTH];
        memset(acc, 0, sizeof acc);
        for (ptrdiff_t t = 0; t < n; t += VL) {
            vec x[4];
            UNROLL
            for (int i = 0; i < 4; i++)
                x[i] = FN(load)(a + i * column + t);
            UNROLL
            for (int j = 0; j < WIDTH; j++) {
                vec y = FN(load)(b + (j0 + j) * column + t);
                UNROLL
                for (int i = 0; i < 4; i++)
                    acc[i][j] += x[i] * y;
            }
        }
        if (WIDTH == 4)
            FN(add_sums)(acc[0], 16, out);
        else
            for (int i = 0; i < 4; i++)
                FN(add_sums)(acc[i], WIDTH, out + 4 * i + j0);
    }
}

/* The first vectors of rows with a responsibility above the threshold, from `row` on, at most
 * `most`; returns their number and moves `row` on. */
ALWAYS_INLINE ptrdiff_t FN(list_vectors)(const REAL *r, REAL threshold, ptrdiff_t padded,
                                         ptrdiff_t most, ptrdiff_t *row, int32_t *list)
{
    ptrdiff_t count = 0;
    for (; *row < padded && count < most; *row += VL) {
        list[count] = (int32_t)*row;
        count += FN(mask_greater)(FN(load)(r + *row), FN(fill)(threshold)) != 0;
    }
    return count;
}

/* z = x - mean of 4 features and rz = r z for the listed vectors of rows, side by side; adds their
 * first moments to out. */
ALWAYS_INLINE void FN(center_weighted)(const REAL *x, ptrdiff_t cap, const REAL *mean,
                                       const REAL *r, const int32_t *list, ptrdiff_t count,
                                       REAL *z, REAL *rz, double *out)
{
    vec sums[4], center[4];
    UNROLL
    for (int i = 0; i < 4; i++) {
        sums[i] = FN(fill)(0);
        center[i] = FN(fill)(mean[i]);
    }
    for (ptrdiff_t l = 0; l < count; l++) {
        vec weight = FN(load)(r + list[l]);
        UNROLL
        for (int i = 0; i < 4; i++) {
            vec zi = FN(load)(x + i * cap + list[l]) - center[i], rzi = weight * zi;
            FN(store)(z + i * TILE_COLUMN + l * VL, zi);
            FN(store)(rz + i * TILE_COLUMN + l * VL, rzi);
            sums[i] += rzi;
        }
    }
    FN(add_sums)(sums, 4, out);
}

static void FN(full_sums)(const gaussian_job *job, const tables_t *t, const scratch_t *s,
                          ptrdiff_t padded, double *out, const fastem_turn *turn)
{
    ptrdiff_t d4 = FN(up)(job->n_features, 4);
    /* With few features, x and z of half a tile fit into the first cache together. */
    ptrdiff_t most = (d4 <= 32 ? TILE / 2 : TILE) / VL;
    REAL threshold = job->prune ? (REAL)1e-17 : 0;
    int32_t list[TILE + 1];
    for (ptrdiff_t k = 0; k < job->n_components; k++, out += gaussian_component(job)) {
        const REAL *r = s->r + k * s->cap;
        fastem_await(turn, k);
        for (ptrdiff_t row = 0; row < padded;) {
            ptrdiff_t count = FN(list_vectors)(r, threshold, padded, most, &row, list);
            double *block = out + 1 + d4;
            vec total = FN(fill)(0);
            if (count == 0)
                continue;
            for (ptrdiff_t l = 0; l < count; l++)
                total += FN(load)(r + list[l]);
            FN(add_sums)(&total, 1, out);
            for (ptrdiff_t i = 0; i < d4; i += 4) { /* rz of 4 features stays in the first cache */
                FN(center_weighted)(s->x + i * s->cap, s->cap, t->means + k * d4 + i, r, list, count,
                                    s->z + i * TILE_COLUMN, s->rz, out + 1 + i);
                for (ptrdiff_t j = 0; j <= i; j += 4, block += 16)
                    FN(cross_sums)(s->rz, s->z + j * TILE_COLUMN, TILE_COLUMN, count * VL, block);
            }
        }
        fastem_added(turn, k);
    }
}

/* Diagonal: per component and feature, sums of r z and r z^2, z = x - mean. Responsibilities are those
 * in s->r, times `part` where that is not NULL, of which `n_mix` components in turn share a column.
 * Components are innermost: each reads its responsibilities again, and no sample. */
static void FN(diag_sums)(const gaussian_job *job, const tables_t *t, const scratch_t *s,
                          const REAL *part, ptrdiff_t n_mix, ptrdiff_t padded, double *out)
{
    ptrdiff_t d4 = FN(up)(job->n_features, 4), cap = s->cap, size = gaussian_component(job);
    for (ptrdiff_t i0 = 0; i0 < d4; i0 += 4)
        for (ptrdiff_t k = 0; k < job->n_components; k++) {
            const REAL *x = s->x + i0 * cap, *mean = t->means + k * d4 + i0;
            const REAL *r = s->r + k * cap, *share = part ? part + k / n_mix * cap : NULL;
            double *own = out + k * size, both[8] = {0};
            vec sums[8], total = FN(fill)(0);
            memset(sums, 0, sizeof sums);
            for (ptrdiff_t row = 0; row < padded; row += VL) {
                vec weight = FN(load)(r + row);
                if (share)
                    weight *= FN(load)(share + row);
                total += weight;
                UNROLL
                for (int i = 0; i < 4; i++) {
                    vec z = FN(load)(x + i * cap + row) - mean[i], rz = weight * z;
                    sums[i] += rz;
                    sums[4 + i] += rz * z;
                }
            }
            if (i0 == 0)
                FN(add_sums)(&total, 1, own);
            FN(add_sums)(sums, 8, both);
            for (int i = 0; i < 4; i++) {
                own[1 + i0 + i] += both[i];
                own[1 + d4 + i0 + i] += both[4 + i];
            }
        }
}

/* Spherical and tied: weights and first moments about the shift, 4 components x 4 features at a
 * time; spherical: sum of r q / 2, q the squared distance in units of the precision. */
static void FN(mean_sums)(const gaussian_job *job, const tables_t *t, const scratch_t *s,
                          ptrdiff_t padded, double *out)
{
    ptrdiff_t d4 = FN(up)(job->n_features, 4), cap = s->cap, size = gaussian_component(job);
    for (ptrdiff_t k = 0; k < job->n_components; k++) {
        const REAL *r = s->r + k * cap, *lp = s->lp + k * cap;
        vec sums[2];
        memset(sums, 0, sizeof sums);
        for (ptrdiff_t row = 0; row < padded; row += VL) {
            vec rv = FN(load)(r + row);
            sums[0] += rv;
            if (job->kind == GAUSSIAN_SPHERICAL && t->log_norm[k] > (REAL)-INFINITY) {
                vec half = t->log_norm[k] - FN(load)(lp + row); /* infinite where r is 0, maybe */
                sums[1] += FN(select)((ivec)(rv > 0), rv * half, FN(fill)(0));
            }
        }
        double two[2] = {0, 0};
        FN(add_sums)(sums, 2, two);
        out[k * size] += two[0];
        out[k * size + 1 + d4] += two[1];
    }
    for (ptrdiff_t k = 0; k < job->n_components; k += 4)
        for (ptrdiff_t i = 0; i < d4; i += 4) {
            double block[16] = {0};
            FN(cross_sums)(s->r + k * cap, s->x + i * cap, cap, padded, block);
            for (int c = 0; c < 4; c++)
                for (int j = 0; j < 4; j++)
                    out[(k + c) * size + 1 + i + j] += block[4 * c + j];
        }
}

/* Adds the chunk's weight * log-density, and the weight of its noise, to the sums. */
static void FN(add_bound)(const gaussian_job *job, const scratch_t *s, ptrdiff_t padded, double *sums,
                          const fastem_turn *turn)
{
    double partial[8] = {0}, bound = 0; /* partial sums: no chain of dependent additions */
    for (ptrdiff_t row = 0; row < padded; row += 8)
        for (int l = 0; l < 8; l++) {
            double weight = s->weight[row + l], log_prob = s->row[row + l];
            /* a weight of 0 leaves the sample out, whatever its density */
            partial[l] += weight != 0 ? weight * log_prob : 0;
        }
    for (int l = 0; l < 8; l++)
        bound += partial[l];
    fastem_await(turn, job->n_components);
    sums[gaussian_bound(job)] += bound;
    for (ptrdiff_t row = 0; s->noise && row < padded; row++)
        sums[gaussian_noise(job)] += s->noise[row];
    for (ptrdiff_t i = 0; job->df && i < 2 * job->n_components; i++)
        sums[gaussian_student(job) + i] += s->student[i];
    fastem_added(turn, job->n_components);
}

static void FN(add_to_sums)(const gaussian_job *job, const tables_t *t, const scratch_t *s,
                            ptrdiff_t padded, double *sums, const fastem_turn *turn)
{
    if (gaussian_is_small(job))
        FN(small_sums)(job->n_features, s->x, s->cap, padded, job->n_components, t->means, s->r, sums);
    else if (job->kind == GAUSSIAN_FULL)
        FN(full_sums)(job, t, s, padded, sums, turn);
    else if (job->kind == GAUSSIAN_DIAG)
        FN(diag_sums)(job, t, s, NULL, 1, padded, sums);
    else
        FN(mean_sums)(job, t, s, padded, sums);
    FN(add_bound)(job, s, padded, sums, turn);
}
