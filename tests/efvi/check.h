/* What both test programs need. */
#ifndef TICKPATH_EFVI_CHECK_H
#define TICKPATH_EFVI_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(that)                                                                       \
	do {                                                                              \
		if (!(that)) {                                                            \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #that); \
			exit(1);                                                          \
		}                                                                         \
	} while (0)

#endif
