/* Whether this kernel and filesystem can carry a vault. */
#include <errno.h>
#include <fcntl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/text.h"
#include "filesystem/filesystem.h"
#include "filesystem/kernel_release.h"

static const char features_directory[] = "/sys/fs/ext4/features";

/* What the kernel's ext4 can do, as it says itself. Kernels too old to say have no such directory. */
static bool kernel_has_feature(const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", features_directory, name);
    return access(features_directory, F_OK) < 0 || access(path, F_OK) == 0;
}

static void check_kernel(const char *subject, struct finding_list *findings)
{
    struct utsname name = {.release = "unknown"};
    uname(&name);
    if (!kernel_release_will_do(name.release))
        finding_add(findings, FINDING_BLOCKS, "old-kernel", subject,
                    "boot Linux 5.7 or later; Debian 12 (6.1) is what husk is tested on",
                    "the running kernel is Linux %s; husk needs %d.%d or later", text_shown(name.release),
                    KERNEL_LEAST_MAJOR, KERNEL_LEAST_MINOR);
    if (!kernel_has_feature("encryption"))
        finding_add(findings, FINDING_BLOCKS, "no-kernel-encryption", subject,
                    "boot a kernel built with CONFIG_FS_ENCRYPTION=y, as the distributions' own are",
                    "the running kernel cannot encrypt files on ext4");
}

/* The directory /boot of this filesystem, when GRUB would read kernels from it. */
static bool holds_boot(const struct filesystem *filesystem)
{
    struct stat status;
    return fstatat(filesystem->root_fd, "boot", &status, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISDIR(status.st_mode) && status.st_dev == filesystem->device;
}

static void find_missing_feature(const struct filesystem *filesystem, const char *subject,
                                 struct finding_list *findings)
{
    char remedy[768];
    snprintf(
        remedy, sizeof(remedy),
        "husk protect with --enable-feature sets it, or: tune2fs -O encrypt %s. It takes effect at once, "
        "without unmounting. %s GRUB older than 2.04 cannot read a filesystem that has this feature%s",
        text_shown(filesystem->source),
        holds_boot(filesystem) ? "This filesystem holds /boot:" : "Where /boot lies on it:",
        holds_boot(filesystem) ? ", so run grub-install of a newer one first" : "");
    finding_add(findings, FINDING_BLOCKS, FILESYSTEM_NO_ENCRYPT_FEATURE, subject, remedy,
                "the ext4 feature \"encrypt\" is not set on this filesystem");
}

static void check_features(const struct filesystem *filesystem, const struct ext4_facts *facts,
                           const char *subject, struct finding_list *findings)
{
    long page_size = sysconf(_SC_PAGESIZE);
    if (facts->block_size > (unsigned long)page_size)
        finding_add(findings, FINDING_BLOCKS, "block-size", subject,
                    "use a filesystem with blocks of at most the page size",
                    "its blocks of %u bytes are larger than this machine's pages of %ld; the kernel does not "
                    "encrypt there",
                    facts->block_size, page_size);
    if (facts->dax_always)
        finding_add(findings, FINDING_BLOCKS, "dax", subject, "mount it with dax=never or dax=inode",
                    "it is mounted with DAX, which encrypted files cannot have");
    if (facts->has_errors)
        finding_add(findings, FINDING_BLOCKS, "damaged", subject,
                    "unmount it and run e2fsck -f (for the root: boot with fsck.mode=force)",
                    "errors were found on it and not mended yet");
    if (facts->casefold && !kernel_has_feature("encrypted_casefold"))
        finding_add(
            findings, FINDING_BLOCKS, "no-encrypted-casefold", subject, "boot Linux 5.13 or later",
            "it has the feature \"casefold\", and the running kernel does not mount a filesystem that "
            "has \"encrypt\" as well");
    if (!facts->encrypt)
        find_missing_feature(filesystem, subject, findings);
}

enum error_code filesystem_check_vault(const struct filesystem *filesystem, struct finding_list *findings,
                                       struct error *reterr)
{
    char subject[TEXT_SHOW_SIZE];
    text_show(subject, sizeof(subject), filesystem->mount_point);
    if (strcmp(filesystem->type, "ext4")) {
        finding_add(findings, FINDING_BLOCKS, "not-ext4", subject,
                    "husk encrypts directories on ext4 filesystems only", "it is %s, not ext4",
                    text_shown(filesystem->type));
        return OK;
    }
    struct ext4_facts facts;
    enum error_code code = filesystem_ext4_facts(filesystem, &facts, reterr);
    if (code)
        return code;
    if (filesystem->read_only)
        finding_add(findings, FINDING_BLOCKS, "read-only", subject, "remount it writable",
                    "it is mounted read-only");
    check_kernel(subject, findings);
    check_features(filesystem, &facts, subject, findings);
    return OK;
}
