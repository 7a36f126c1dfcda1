/* What kernels_c674x.S leaves to the compiler: tanh, and requantization for unusual scales. */
#define ct_matmul ct_matmul_portable
#define ct_requantize ct_requantize_portable
#define ct_copy ct_copy_portable
#include "../../kernels.c"
