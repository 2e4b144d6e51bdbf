from libc.stdint cimport int64_t, uint32_t


cdef extern from "topics/gamma_stream.h":
    enum: MT_WORDS
    ctypedef struct gamma_stream:
        uint32_t key[MT_WORDS]
        int has_gauss
        double gauss, b, c, scale
    ctypedef struct gamma_rows:
        gamma_stream *stream
        void *values
        int is_double
        Py_ssize_t n_columns, width
        int64_t ready
    void mt_seek(gamma_stream *, int) noexcept nogil
    int mt_pos(const gamma_stream *) noexcept nogil
    int gamma_filled(gamma_rows *, int64_t end) noexcept nogil


cdef class GammaStream:
    cdef gamma_stream stream
    cdef double shape
