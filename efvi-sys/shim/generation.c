/* Preprocessed, never compiled: which releases the headers are of. */
#include <etherfabric/ef_vi.h>

#if defined(ef_vi_start_transmit_warm)
generation 9
#elif __has_include(<etherfabric/efct_vi.h>)
generation 8
#else
generation 7
#endif
