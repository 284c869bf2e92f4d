/*
 * tune2fs writes the superblock past the journal. A committed but not yet checkpointed transaction may hold
 * an older copy of that block, and replaying it after a power cut takes the feature off again, with encrypted
 * directories on the disk. Emptying the journal afterwards closes that: every later copy has the feature.
 */
#pragma once
#include "filesystem/filesystem.h"

/* What filesystem_settle does before Linux 5.14, for itself: all writers wait for a moment. */
must_check enum error_code filesystem_settle_by_freezing(const struct filesystem *filesystem,
                                                         struct error *reterr);
