/* What kernels_c674x.S leaves to the compiler: requantization for unusual scales. */
#define ct_gather ct_gather_portable
#define ct_matmul ct_matmul_portable
#define ct_requantize ct_requantize_portable
#define ct_requantize_tanh ct_requantize_tanh_portable
#include "../../kernels.c"
