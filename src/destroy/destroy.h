/*
 * Making bytes on this disk unreadable, as far as software above the block layer can: overwrite, re-read,
 * discard, zero the journal. Every step runs even if an earlier one failed; the result lists each. Says what
 * it did, never more. It does not reach snapshots, backups or a device's spare cells, and the callers say so.
 */
#pragma once
#include <stdint.h>

#include "base/finding.h"
#include "base/report.h"
#include "filesystem/filesystem.h"

enum destroy_step {
    DESTROY_OVERWRITE, /* through the file with direct, synchronous I/O */
    DESTROY_REREAD,    /* past the cache, compared */
    DESTROY_DISCARD,   /* the extents */
    DESTROY_UNLINK,    /* renamed, unlinked, directory synced */
    DESTROY_JOURNAL,   /* EXT4_IOC_CHECKPOINT with zero-out */
    DESTROY_STEPS
};
enum destroy_outcome { DESTROY_NOT_TRIED, DESTROY_DONE, DESTROY_NOT_SUPPORTED, DESTROY_FAILED };

struct destroy_result {
    enum destroy_outcome outcome[DESTROY_STEPS];
    int os_errno[DESTROY_STEPS];
};

/* "overwritten", "re-read", "discarded", "unlinked", "journal zeroed". Static storage. */
const char *destroy_step_word(enum destroy_step step);

/* Destroy one small file in place (design §3). ERR_FAILED when overwriting, re-reading or unlinking failed;
 * the other steps are told in the result. A missing file is OK with nothing tried. Blocks on the disk. */
must_check enum error_code destroy_file(int directory_fd, const char *name, struct destroy_result *ret_result,
                                        struct error *reterr);

/* Zero the journal of the filesystem fd lies on. ERR_UNSUPPORTED before Linux 5.14 or without a journal. */
must_check enum error_code destroy_journal(int fd, struct error *reterr);

/*
 * Overwrite and delete a whole plaintext tree below parent_fd/name. Resumable: run it again until it is gone.
 * In batches: overwrite every extent (unwritten ones too) with direct I/O, flush, rename the entries, unlink.
 * may_destroy is asked for every regular file, opened for writing, before its bytes are touched: anything but
 * OK keeps that file and adds a finding. NULL allows all. Directories that still hold kept files stay. Memory
 * does not grow with the tree. ERR_INCOMPLETE when something was kept. Blocks for as long as the disk takes.
 */
struct destroy_tree_options {
    enum error_code (*may_destroy)(int file_fd, const struct stat *status, const char *shown_path,
                                   void *context, struct error *reterr);
    void *context;
    const struct report *report;
    struct finding_list *findings;
};
must_check enum error_code destroy_tree(int parent_fd, const char *name,
                                        const struct destroy_tree_options *options, struct error *reterr);

/* Overwrite free space of the filesystem below directory_fd (plain, private) down to a reserve of 1/64 of the
 * filesystem, at least 16 MiB, then give it back and FITRIM. *ret_overwritten_bytes says how much. Findings
 * tell what stayed. Idle I/O priority. A file it leaves after a crash (".free-space") is removed by the next
 * call. */
must_check enum error_code destroy_free_space(int directory_fd, const struct report *report,
                                              struct finding_list *findings, uint64_t *ret_overwritten_bytes,
                                              struct error *reterr);
