/*
 * Paths that this machine gives away over NFS, out of the text of /etc/exports, /var/lib/nfs/etab or
 * /proc/fs/nfsd/exports. Pure.
 */
#pragma once
#include "base/error.h"

/* Call each for every exported path, unquoted and unescaped, until it returns something other than OK. */
must_check enum error_code exports_parse(const char *text,
                                         enum error_code (*each)(const char *path, void *context,
                                                                 struct error *reterr),
                                         void *context, struct error *reterr);
