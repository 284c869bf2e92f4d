/*
 * A twin takes what the old file takes, and more where encryption does not fit into what there was:
 *
 *   names        padded, and in directories whose blocks are half empty when the names come in any order
 *   symlinks     a target that lay in the inode gets a block of its own once it is padded
 *   attributes   the encryption's own lies in the inode and pushes others out into a block, or, where inodes
 *                have no room for any, gets a block itself
 *   inline data  what lay in the inode gets a block
 *
 * Taking the encryption off needs none of this but the directories.
 */
#include "convert/space.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "tree/attributes.h"
#include "tree/records.h"

/* Beside all this: the vault, its journal, extents that are more than they were, room to breathe. */
enum { SLACK_BYTES = 16 << 20, SLACK_INODES = 64 };

enum {
    NAME_PADDING = 32,    /* of the policy that husk gives */
    TARGET_IN_INODE = 60, /* length and NUL, 2 and 1 bytes of an encrypted one, have to fit too */
    CONTEXT_BYTES = 60,   /* the encryption's attribute, as ext4 stores it: 40 bytes under a name of one */
    LONGEST_NAME_BYTES = 272,
    XATTR_BLOCK_HEADER = 36,
    /* The kernel lets files with the same attributes share a block, 1024 at most. */
    SHARE_BLOCK = 64,
    SETS = 4096
};

struct space_need {
    const struct ext4_facts *facts;
    enum convert_direction direction;
    atomic_ullong bytes, inodes;
    atomic_ullong sets[SETS];     /* digests of attributes met lately */
    atomic_ullong *record_blocks; /* owned; a bit for each that will hold a record */
    size_t record_block_count;
};

enum error_code space_need_new(const struct ext4_facts *facts, enum convert_direction direction,
                               struct space_need **ret_need, struct error *reterr)
{
    struct space_need *need = calloc(1, sizeof(*need));
    const size_t blocks = facts->inodes * sizeof(struct tree_record) / facts->cluster_size + 1;
    if (!need || !(need->record_blocks = calloc(blocks / 64 + 1, sizeof(*need->record_blocks)))) {
        free(need);
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    }
    need->facts = facts;
    need->direction = direction;
    need->record_block_count = blocks;
    *ret_need = need;
    return OK;
}

void space_need_free(struct space_need *need)
{
    if (!need)
        return;
    free(need->record_blocks);
    free(need);
}

static uint64_t round_up(uint64_t bytes, uint64_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

static void add_record(struct space_need *need, uint64_t inode)
{
    const uint64_t block = inode * sizeof(struct tree_record) / need->facts->cluster_size;
    const unsigned long long bit = 1ULL << (block % 64);
    if (block < need->record_block_count && !(atomic_fetch_or(&need->record_blocks[block / 64], bit) & bit))
        atomic_fetch_add(&need->bytes, need->facts->cluster_size);
}

/* In its directory. */
static void add_name(const struct space_need *need, struct tree_directory *directory, const char *name)
{
    enum { ENTRY = 8, HASH = 8 }; /* the hash where names are case-insensitive and encrypted */
    const uint64_t length = need->direction == CONVERT_PROTECT
                                ? round_up(strlen(name), NAME_PADDING) + (need->facts->casefold ? HASH : 0)
                                : round_up(strlen(name), 4);
    atomic_fetch_add(&directory->known, ENTRY + length);
}

/* Whether a set of attributes was met lately. */
static bool was_met(struct space_need *need, uint64_t digest)
{
    return atomic_exchange(&need->sets[digest % SETS], digest) == digest;
}

static void measure(int directory_fd, const char *name, struct attribute_sizes *sizes)
{
    char path[32 + 256];
    snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", directory_fd, name);
    if (llistxattr(path, NULL, 0) <= 0)
        return;
    _cleanup_(close_fdp) int fd = openat(directory_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0)
        (void)!attributes_measure((struct attribute_target){.fd = fd, .path_only = true}, sizes, NULL);
}

/* What the attributes of a twin take beside what those of the old file do, which is in its blocks. */
static uint64_t get_attributes(struct space_need *need, int directory_fd, const char *name)
{
    const uint64_t room = need->facts->xattr_room, cluster = need->facts->cluster_size;
    const uint64_t context = need->direction == CONVERT_PROTECT ? CONTEXT_BYTES : 0;
    struct attribute_sizes sizes = {0};
    measure(directory_fd, name, &sizes);
    if (sizes.stored_bytes + context > room + need->facts->block_size - XATTR_BLOCK_HEADER) {
        /* Values in inodes of their own (ea_inode), which are in nobody's blocks. */
        atomic_fetch_add(&need->inodes, sizes.count);
        return round_up(sizes.stored_bytes, cluster) + sizes.count * cluster;
    }
    if (sizes.stored_bytes + context <= room || sizes.stored_bytes > room)
        return 0;
    return room >= context && was_met(need, sizes.digest) ? cluster / SHARE_BLOCK : cluster;
}

void space_enter_directory(struct space_need *need, struct tree_directory *directory)
{
    if (directory->parent)
        add_name(need, directory->parent, directory->name);
    add_record(need, directory->status.stx_ino);
    atomic_fetch_add(&need->inodes, 1);
    atomic_fetch_add(&need->bytes, get_attributes(need, directory->fd, "."));
}

/* A block is split in two halves when it is full. */
void space_leave_directory(struct space_need *need, const struct tree_directory *directory)
{
    enum { DOTS_AND_CHECKSUM = 36, INDEX_ENTRY = 8 };
    const uint64_t block_size = need->facts->block_size;
    const uint64_t names = atomic_load(&directory->known);
    uint64_t blocks = 1;
    if (names + DOTS_AND_CHECKSUM > block_size) {
        blocks = names / (block_size / 2 - LONGEST_NAME_BYTES) + 1;
        blocks += blocks / (block_size / INDEX_ENTRY / 2) + 2;
    }
    atomic_fetch_add(&need->bytes, round_up(blocks * block_size, need->facts->cluster_size));
}

/* Each of a file's names has its part of it. */
void space_add_entry(struct space_need *need, struct tree_directory *directory, const char *name,
                     const struct statx *status)
{
    const uint64_t cluster = need->facts->cluster_size, size = status->stx_size;
    const bool protect = need->direction == CONVERT_PROTECT;
    uint64_t bytes = status->stx_blocks * 512;
    if (protect && S_ISREG(status->stx_mode) && need->facts->inline_data && size > 0 && bytes < cluster)
        bytes = cluster;
    if (protect && S_ISLNK(status->stx_mode) && size < TARGET_IN_INODE &&
        round_up(size, NAME_PADDING) + 3 > TARGET_IN_INODE)
        bytes += cluster;
    if (S_ISREG(status->stx_mode) || S_ISLNK(status->stx_mode))
        bytes += get_attributes(need, directory->fd, name);
    add_name(need, directory, name);
    add_record(need, status->stx_ino);
    atomic_fetch_add(&need->inodes, 1);
    atomic_fetch_add(&need->bytes, round_up(bytes, status->stx_nlink) / status->stx_nlink);
}

static void block(struct convert_plan *plan, const char *kind, const char *remedy, const char *one_by_one,
                  const char *what, uint64_t needed, uint64_t free)
{
    finding_add(&plan->findings, FINDING_BLOCKS, kind, text_shown(plan->filesystem->mount_point),
                one_by_one ? one_by_one : remedy, "the copies need %llu %s and %llu %s are free",
                (unsigned long long)needed, what, (unsigned long long)free, what);
}

void space_check(const struct space_need *need, struct convert_plan *plan)
{
    const uint64_t bytes = atomic_load(&need->bytes), inodes = atomic_load(&need->inodes);
    plan->bytes_free = need->facts->blocks_free * need->facts->block_size;
    plan->inodes_free = need->facts->inodes_free;
    if (inodes == 0)
        return;
    plan->bytes_needed = bytes + bytes / 50 + SLACK_BYTES;
    plan->inodes_needed = inodes + SLACK_INODES;
    const bool is_divisible = need->direction == CONVERT_PROTECT && plan->directory_count > 1;
    if (plan->bytes_needed > plan->bytes_free)
        block(plan, "no-space", "free space or grow the filesystem",
              is_divisible
                  ? "free space or grow the filesystem; or protect the directories one after the other"
                  : NULL,
              "MiB", plan->bytes_needed >> 20, plan->bytes_free >> 20);
    if (plan->inodes_needed > plan->inodes_free)
        block(plan, "no-inodes", "delete files",
              is_divisible ? "delete files, or protect the directories one after the other" : NULL, "inodes",
              plan->inodes_needed, plan->inodes_free);
}
