/* ext4 features, and whether this kernel and filesystem can carry a vault. */
#include <endian.h>
#include <errno.h>
#include <ext2fs/ext2_fs.h>
#include <fcntl.h>
#include <linux/dqblk_xfs.h>
#include <linux/quota.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "filesystem/device.h"
#include "filesystem/filesystem.h"
#include "filesystem/mountinfo.h"

static enum error_code refuse_other_types(const struct filesystem *filesystem, struct error *reterr)
{
    if (!strcmp(filesystem->type, "ext4"))
        return OK;
    error_set(reterr, ERR_UNSUPPORTED, 0, "%s is %s, not ext4", text_shown(filesystem->mount_point),
              text_shown(filesystem->type));
    error_subject(reterr, "%s", text_shown(filesystem->mount_point));
    error_remedy(reterr, "husk encrypts directories on ext4 filesystems only");
    return ERR_UNSUPPORTED;
}

/* True when the kernel enforces limits of any kind now. Counting alone is no obstacle. */
static bool enforces_quota(const struct filesystem *filesystem, const char *device)
{
    struct fs_quota_statv state = {.qs_version = FS_QSTATV_VERSION1};
    unsigned command = (unsigned)Q_XGETQSTATV << SUBCMDSHIFT; /* QCMD overflows an int */
    if (syscall(SYS_quotactl_fd, filesystem->root_fd, command, 0, &state) < 0 &&
        (errno != ENOSYS || syscall(SYS_quotactl, command, device, 0, &state) < 0))
        return false; /* no quota on this filesystem, or in this kernel */
    return state.qs_flags & (FS_QUOTA_UDQ_ENFD | FS_QUOTA_GDQ_ENFD | FS_QUOTA_PDQ_ENFD);
}

/* The options of the superblock, as text owned by the caller; NULL without memory or mount. */
static char *read_super_options(dev_t device)
{
    struct mount_table table;
    if (mount_table_read("/proc/self/mountinfo", &table, NULL))
        return NULL;
    char *options = NULL;
    for (size_t i = 0; i < table.count && !options; i++)
        if (table.items[i].device == device)
            options = strdup(table.items[i].super_options);
    mount_table_done(&table);
    return options;
}

static void read_mount_options(const struct filesystem *filesystem, struct ext4_facts *facts)
{
    _cleanup_(freep) char *options = read_super_options(filesystem->device);
    if (!options)
        return;
    size_t length;
    /* "dax" alone is how kernels before 5.8 say "dax=always". */
    const char *dax = mount_option_find(options, "dax", &length);
    if (dax && (length == 0 || (length == 6 && !strncmp(dax, "always", 6))))
        facts->dax_always = true;
}

/* Behind the fields of an inode, with a header and an end of their own. */
static uint32_t get_xattr_room(const struct ext2_super_block *superblock)
{
    enum { HEADER_AND_END = 8 };
    const uint32_t inode_size = le16toh(superblock->s_inode_size);
    uint32_t fields = sizeof(struct ext2_inode_large) - EXT2_GOOD_OLD_INODE_SIZE;
    if (fields < le16toh(superblock->s_want_extra_isize))
        fields = le16toh(superblock->s_want_extra_isize);
    if (fields < le16toh(superblock->s_min_extra_isize))
        fields = le16toh(superblock->s_min_extra_isize);
    fields += EXT2_GOOD_OLD_INODE_SIZE + HEADER_AND_END;
    return inode_size > fields ? inode_size - fields : 0;
}

static void read_features(const struct ext2_super_block *superblock, struct ext4_facts *facts)
{
    uint32_t compat = le32toh(superblock->s_feature_compat);
    uint32_t incompat = le32toh(superblock->s_feature_incompat);
    uint32_t ro_compat = le32toh(superblock->s_feature_ro_compat);
    facts->encrypt = incompat & EXT4_FEATURE_INCOMPAT_ENCRYPT;
    facts->casefold = incompat & EXT4_FEATURE_INCOMPAT_CASEFOLD;
    facts->inline_data = incompat & EXT4_FEATURE_INCOMPAT_INLINE_DATA;
    facts->verity = ro_compat & EXT4_FEATURE_RO_COMPAT_VERITY;
    facts->quota = ro_compat & EXT4_FEATURE_RO_COMPAT_QUOTA;
    facts->project = ro_compat & EXT4_FEATURE_RO_COMPAT_PROJECT;
    facts->bigalloc = ro_compat & EXT4_FEATURE_RO_COMPAT_BIGALLOC;
    facts->has_errors = le16toh(superblock->s_state) & EXT2_ERROR_FS;
    facts->has_journal = compat & EXT3_FEATURE_COMPAT_HAS_JOURNAL;
    if (facts->has_journal && superblock->s_jnl_backup_type == EXT3_JNL_BACKUP_BLOCKS)
        facts->journal_bytes =
            (uint64_t)le32toh(superblock->s_jnl_blocks[15]) << 32 | le32toh(superblock->s_jnl_blocks[16]);
}

enum error_code filesystem_ext4_facts(const struct filesystem *filesystem, struct ext4_facts *ret_facts,
                                      struct error *reterr)
{
    struct ext2_super_block superblock;
    enum error_code code = refuse_other_types(filesystem, reterr);
    if (!code)
        code = device_read_superblock(filesystem, &superblock, reterr);
    if (code)
        return code;
    uint32_t log_block_size = le32toh(superblock.s_log_block_size);
    if (log_block_size > EXT2_MAX_BLOCK_LOG_SIZE - EXT2_MIN_BLOCK_LOG_SIZE)
        return error_set(reterr, ERR_CORRUPT, 0, "the superblock of %s has a wrong block size",
                         text_shown(filesystem->mount_point));
    struct ext4_facts facts = {.block_size = EXT2_MIN_BLOCK_SIZE << log_block_size,
                               .inode_size = le16toh(superblock.s_inode_size),
                               .xattr_room = get_xattr_room(&superblock)};
    read_features(&superblock, &facts);
    const uint32_t log_cluster_size =
        facts.bigalloc ? le32toh(superblock.s_log_cluster_size) : log_block_size;
    if (log_cluster_size < log_block_size ||
        log_cluster_size > EXT2_MAX_CLUSTER_LOG_SIZE - EXT2_MIN_CLUSTER_LOG_SIZE)
        return error_set(reterr, ERR_CORRUPT, 0, "the superblock of %s has a wrong cluster size",
                         text_shown(filesystem->mount_point));
    facts.cluster_size = EXT2_MIN_BLOCK_SIZE << log_cluster_size;
    read_mount_options(filesystem, &facts);

    struct statvfs space;
    if (fstatvfs(filesystem->root_fd, &space) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot ask for the free space of %s",
                         text_shown(filesystem->mount_point));
    facts.blocks_free = (uint64_t)space.f_bavail * space.f_frsize / facts.block_size;
    facts.inodes = space.f_files;
    facts.inodes_free = space.f_ffree;

    char device[DEVICE_PATH_SIZE];
    code = device_path(filesystem, device, reterr);
    if (code)
        return code;
    facts.quota_active = enforces_quota(filesystem, device);
    *ret_facts = facts;
    return OK;
}
