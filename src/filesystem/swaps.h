/* The swap files in the text of /proc/swaps. Pure. */
#pragma once
#include "base/error.h"

/* Call each for every swap *file* (not for partitions), its path unescaped, until it returns something other
 * than OK. A file that was deleted has " (deleted)" at its end. */
must_check enum error_code
swaps_parse(const char *text, enum error_code (*each)(const char *path, void *context, struct error *reterr),
            void *context, struct error *reterr);
