/*
 * tune2fs writes the superblock past the journal. A committed but not yet checkpointed transaction may hold
 * an older copy of that block, and replaying it after a power cut takes the feature off again, with encrypted
 * directories on the disk. Emptying the journal afterwards closes that: every later copy has the feature.
 */
#pragma once
#include "filesystem/filesystem.h"

/* Empty the journal: by checkpoint, and before Linux 5.14 by freezing. Without a journal or on a read-only
 * mount there is nothing to do. Blocks until the disk has it. */
must_check enum error_code journal_settle(const struct filesystem *filesystem, struct error *reterr);

/* The second way, for itself: all writers wait for a moment. */
must_check enum error_code journal_settle_by_freezing(const struct filesystem *filesystem,
                                                      struct error *reterr);
