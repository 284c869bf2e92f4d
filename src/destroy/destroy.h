/*
 * Making bytes on this disk unreadable, as far as software above the block layer can: overwrite, re-read,
 * discard, zero the journal. Says what it did, never more: the result lists each step, and a failed one does
 * not keep the others from running, but for one: what could not be overwritten is not discarded and unlinked
 * by destroy_file. It does not reach snapshots, backups or a device's spare cells, and the callers say so.
 */
#pragma once
#include <stdint.h>

#include "base/finding.h"
#include "base/report.h"
#include "filesystem/filesystem.h"

/* What to do about free space that was left as it is: nothing overwrites it where all is encrypted already.
 */
#define DESTROY_FREE_SPACE_AGAIN                                                                             \
    "protect a further directory that has files, on the same filesystem and without --skip-free-space: "     \
    "that overwrites free space anew, and a new one with a small file in it will do (of an encrypted root: " \
    "one directly at its top, into the same vault)"

enum destroy_step {
    DESTROY_OVERWRITE, /* through the file with direct, synchronous I/O */
    DESTROY_REREAD,    /* past the cache, compared */
    DESTROY_DISCARD,   /* the extents */
    DESTROY_JOURNAL,   /* EXT4_IOC_CHECKPOINT with zero-out */
    DESTROY_UNLINK,    /* renamed, unlinked, directory synced */
    DESTROY_STEPS
};
enum destroy_outcome { DESTROY_NOT_TRIED, DESTROY_DONE, DESTROY_NOT_SUPPORTED, DESTROY_FAILED };

struct destroy_result {
    enum destroy_outcome outcome[DESTROY_STEPS];
    int os_errno[DESTROY_STEPS];
};

/* "overwritten", "re-read", "discarded", "unlinked", "journal zeroed". Static storage. */
const char *destroy_step_word(enum destroy_step step);

/* Destroy one small file in place (design §3). ERR_FAILED when overwriting, re-reading, renaming or unlinking
 * failed; after a failed overwriting the file stays, for the same call to try again; the other steps are told
 * in the result, which is set on failure too. ERR_CORRUPT, with nothing tried, when it is not a regular file.
 * A missing file is OK with nothing tried. Requests to stop are not heeded. Blocks on the disk. */
must_check enum error_code destroy_file(int directory_fd, const char *name, struct destroy_result *ret_result,
                                        struct error *reterr);

/* The same for a file whose name may stay in the journal: that is zeroed only where it can hold contents of
 * the file (inline data, data=journal, the attribute j; or a kernel before Linux 6.1, which does not tell).
 * Zeroing a large journal takes seconds, and stops all writing to the filesystem. */
must_check enum error_code destroy_contents(int directory_fd, const char *name,
                                            struct destroy_result *ret_result, struct error *reterr);

/* Zero the journal of the filesystem fd lies on; without a journal there is nothing to do. ERR_UNSUPPORTED
 * before Linux 5.14. Stops all writing to the filesystem while it lasts. */
must_check enum error_code destroy_journal(int fd, struct error *reterr);

/*
 * Overwrite and delete a whole plaintext tree below parent_fd/name, in batches. Resumable: run it again until
 * it is gone. Memory does not grow with the tree. Blocks for as long as the disk takes; ERR_INTERRUPTED
 * between two pieces. Symlinks are never followed, mount points never crossed, special files never opened.
 *
 * may_destroy is asked for every name of a regular file, from the calling thread, the file opened for
 * reading and writing (under fs-verity for reading only) and its immutable and append-only flags taken away,
 * before its bytes are touched. Anything but OK keeps that file as it was, flags included, and adds a
 * finding "kept-file" with that error's words. A lease may be taken on the descriptor: it is held until the
 * bytes are overwritten and re-read (the caller ignores SIGIO). shown_path begins with name. NULL allows all.
 *
 * may_unlink is asked the same of each name that is neither a regular file nor a directory; begins is called
 * after may_destroy allowed some hundred files and before the first of them is touched, and stops all by its
 * error.
 *
 * ERR_INCOMPLETE when something was kept ("kept-file", "mount-point", "not-opened", "not-removed"), was
 * removed without being overwritten for sure ("not-overwritten"), or came into the tree meanwhile
 * ("left-over"). Directories that hold what is kept stay where they are.
 *
 * On the device afterwards, once destroy_journal ran too: no contents, no names (from Linux 5.13 on), no
 * targets of short symlinks. Left to destroy_free_space: targets of 60 bytes and more and names on older
 * kernels (they stand in blocks that nothing can write to before they are free). Not covered: extended
 * attributes, sizes, times, owners.
 */
struct destroy_tree_options {
    enum error_code (*may_destroy)(int file_fd, const struct stat *status, const char *shown_path,
                                   void *context, struct error *reterr);
    enum error_code (*may_unlink)(int directory_fd, const char *name, const char *shown_path, void *context,
                                  struct error *reterr);
    enum error_code (*begins)(void *context, struct error *reterr);
    void *context;
    const struct report *report; /* advances by entries and by overwritten bytes; the stage is the caller's */
    struct finding_list *findings; /* may be NULL */
};
must_check enum error_code destroy_tree(int parent_fd, const char *name,
                                        const struct destroy_tree_options *options, struct error *reterr);

/* Overwrite free space of the filesystem below directory_fd (plain, private), then give it back and FITRIM.
 * What others may use never goes below a reserve of 1/64 of the filesystem, at least 16 MiB, by this; the
 * reserve itself is overwritten too, as far as the allocator lets it be had. *ret_overwritten_bytes says how
 * much was. Findings tell what stayed, counted in the map of free blocks: "free-space-left",
 * "free-space-withheld" (the kernel keeps it for files being written), "free-space-stopped" (others needed
 * it), "no-discard". Idle I/O priority. Begins a stage of its own. Leaves no file, however it ends. Not
 * covered: free inodes; the journal (destroy_journal). */
must_check enum error_code destroy_free_space(int directory_fd, const struct report *report,
                                              struct finding_list *findings, uint64_t *ret_overwritten_bytes,
                                              struct error *reterr);
