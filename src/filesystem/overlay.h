/* The directories that overlay mounts are made of, out of their mount options. Pure. */
#pragma once
#include "base/error.h"

/*
 * Call each for every layer directory named in the (escaped) super options of an overlay mount until it
 * returns something other than OK: lower layers, upper and work directory. path is what was given to mount:
 * it may be relative to a working directory nobody remembers.
 */
must_check enum error_code overlay_layers_parse(const char *super_options,
                                                enum error_code (*each)(const char *path, void *context,
                                                                        struct error *reterr),
                                                void *context, struct error *reterr);
