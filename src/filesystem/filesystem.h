/*
 * What lies under a path: mounts, the ext4 below and its features, and who uses it. Reads only, except
 * filesystem_enable_encrypt. Knows nothing of vaults.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "base/finding.h"

/* One mounted filesystem, seen at its own root. */
struct filesystem {
    char *mount_point; /* owned; absolute, where the root of the filesystem is visible */
    char *source;      /* owned; e.g. /dev/vda1 */
    char *type;        /* owned; "ext4", ... */
    dev_t device;
    int root_fd;      /* the root directory of the filesystem, open; -1 when not opened */
    bool read_only;   /* the mount that root_fd came through is */
    uint8_t uuid[16]; /* ext4 only; zero when it cannot be told */
};

/* The filesystem that the file behind fd lies on. ERR_UNSUPPORTED when its own root is mounted nowhere
 * reachable (only bind mounts of subdirectories are). Free with filesystem_free. */
must_check enum error_code filesystem_of(int fd, struct filesystem **ret_filesystem, struct error *reterr);

/* Whether the filesystem itself is read-only, so that nobody can change it. Through a mount that is read-only
 * others may still write by another one. False where it is not told. */
bool filesystem_is_unchangeable(const struct filesystem *filesystem);

/* Every ext4 filesystem whose root is mounted at or below directory (a resolved absolute path), each once. */
struct filesystem_list {
    struct filesystem **items; /* owned */
    size_t count;
};
must_check enum error_code filesystem_list_below(const char *directory, struct filesystem_list *ret_list,
                                                 struct error *reterr);
void filesystem_list_done(struct filesystem_list *list);
void filesystem_free(struct filesystem *filesystem);
static inline void filesystem_freep(struct filesystem **filesystem)
{
    filesystem_free(*filesystem);
    *filesystem = NULL;
}

/* Open a directory by the path that somebody gave. A symlink on the way is followed only where it is root's:
 * who may write to a directory above could lead root to any other. ERR_DENIED, ERR_NOT_FOUND, ERR_USAGE when
 * it is no directory. */
must_check enum error_code filesystem_open_named(const char *path, int *ret_fd, struct error *reterr);

/* The path of the directory behind fd relative to the root of its filesystem ("" for the root itself, else
 * "srv/data"), found through ".." so that bind mounts do not matter. Appended to buffer. */
must_check enum error_code filesystem_relative_path(int directory_fd, struct buffer *buffer,
                                                    struct error *reterr);

/* ext4 facts read from the superblock of the mounted device. */
struct ext4_facts {
    bool encrypt, verity, casefold, quota, project, inline_data, has_journal, bigalloc, dax_always;
    bool has_errors;       /* the kernel or e2fsck has noted that it is damaged */
    bool quota_active;     /* limits by user, group or project are enforced now */
    uint32_t block_size;   /* bytes */
    uint32_t cluster_size; /* bytes: what is allocated at least, a block without bigalloc */
    uint32_t inode_size;   /* bytes; with 128 there are no nanoseconds */
    uint32_t xattr_room;   /* bytes for extended attributes in an inode that is made now */
    uint64_t blocks_free;  /* for everybody: without what is kept for root */
    uint64_t inodes, inodes_free;
    uint64_t journal_bytes;
};
/* ERR_UNSUPPORTED for anything but ext4 (names the type), with what would do. */
must_check enum error_code filesystem_ext4_facts(const struct filesystem *filesystem,
                                                 struct ext4_facts *ret_facts, struct error *reterr);

/* tune2fs -O encrypt on the mounted device, then checks that the feature is there and settles it. Nothing but
 * the settling is done where it is there already. Blocks on the disk. */
must_check enum error_code filesystem_enable_encrypt(const struct filesystem *filesystem,
                                                     struct error *reterr);

/* Empty the journal, so that an older copy of the superblock in it cannot take a feature off again at a power
 * cut. Needed before the first policy is set: somebody may have just run tune2fs by hand. Blocks on the disk.
 */
must_check enum error_code filesystem_settle(const struct filesystem *filesystem, struct error *reterr);

#define FILESYSTEM_NO_ENCRYPT_FEATURE "no-encrypt-feature"

/* Findings (blocking) where this kernel or filesystem cannot carry a vault: "not-ext4", "read-only",
 * "old-kernel" (below 5.7), "no-kernel-encryption", "block-size" (above the page size), "dax" (mounted so),
 * "damaged", "no-encrypted-casefold", and "no-encrypt-feature", whose remedy explains GRUB and
 * --enable-feature. */
must_check enum error_code filesystem_check_vault(const struct filesystem *filesystem,
                                                  struct finding_list *findings, struct error *reterr);

/*
 * Who uses inodes of one filesystem right now, as a set that a tree walk can ask: open files, mappings,
 * working and root directories and programs of every process; loop backing files; swap files; layers of
 * overlay mounts of every mount namespace; listening or bound unix sockets. Compared by inode, so other mount
 * namespaces and chroots hide nothing.
 */
struct busy_set;
struct busy_use {
    uint64_t inode;
    pid_t pid;          /* 0 when it is not a process */
    const char *what;   /* "postgres (pid 812) has it open", "loop device /dev/loop3", "swap file" */
    const char *remedy; /* the strings belong to the set */
    const char *path;   /* opens the inode as long as the use lasts ("/proc/812/fd/7", a loop device's backing
                         * file); NULL where there is none */
    const char *kind;   /* of the finding: "busy-process", "busy-loop", "busy-swap", "busy-overlay",
                         * "busy-socket" */
};
must_check enum error_code busy_set_new(dev_t device, struct busy_set **ret_set, struct error *reterr);
/* The uses of one inode; *ret_count 0 for none, and no more than 8 are kept for one inode. Thread-safe, no
 * system calls. The array belongs to the set.
 */
const struct busy_use *busy_set_find(const struct busy_set *set, uint64_t inode, size_t *ret_count);
/* All uses, sorted by inode. */
const struct busy_use *busy_set_all(const struct busy_set *set, size_t *ret_count);
void busy_set_free(struct busy_set *set);

/* Blocking findings for what is mounted inside a directory ("busy-mount"), bind-mounted out of it in any
 * mount namespace ("busy-bind"), below an overlay mount's layer ("busy-overlay"; layers inside the directory
 * are in the busy set), or exported by NFS ("nfs-export"). Told, not blocking: "hidden-processes", which the
 * kernel does not let us look at. relative_path as of filesystem_relative_path. */
must_check enum error_code filesystem_check_mounts(const struct filesystem *filesystem,
                                                   const char *relative_path, struct finding_list *findings,
                                                   struct error *reterr);
