/* Paths inside a filesystem, for the files of this room. */
#pragma once
#include "filesystem/filesystem.h"

/* As filesystem_relative_path, where the filesystem is known already. */
must_check enum error_code filesystem_relative_path_in(const struct filesystem *filesystem, int directory_fd,
                                                       struct buffer *buffer, struct error *reterr);
