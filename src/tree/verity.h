/* fs-verity: a file's digest, and giving a twin the same one. Kernels from 5.12 can tell the parameters
 * (salt, signature). */
#pragma once
#include "base/error.h"

/* Enable fs-verity on twin (open for reading, no writer left) with the parameters of source. ERR_UNSUPPORTED
 * where the kernel cannot tell or the digest comes out different. */
must_check enum error_code verity_copy(int source, int twin, struct error *reterr);

/* Whether both have the same digest. */
must_check enum error_code verity_compare(int source, int twin, bool *ret_same, struct error *reterr);
