/* What would keep an encrypted root from booting, or have its plaintext written elsewhere. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "convert/host_tree.h"
#include "convert/initramfs.h"
#include "convert/root_parts.h"
#include "filesystem/kernel_release.h"

#define BOOT_HOOK "usr/share/initramfs-tools/hooks/husk"
#define BOOT_SCRIPT "usr/share/initramfs-tools/scripts/local-bottom/husk"
#define KERNEL_PREFIX "vmlinuz-"

/* What an initramfs may grow by when husk gets into it. */
#define INITRAMFS_GROWTH_BYTES ((uint64_t)3 << 20)

struct images {
    struct root_checking *checking;
    bool has_kernel;
    uint64_t largest_bytes;
};

static bool on_mount(const struct host_tree_mount *mount, void *context)
{
    struct root_checking *checking = context;
    if (!strcmp(mount->where, "/usr"))
        root_blocks(checking, "separate-usr", "/usr", "move /usr onto the root filesystem",
                    "the initramfs mounts it before anything can open the vault");
    if (!strcmp(mount->where, "/boot"))
        checking->boot_is_apart = true;
    return true;
}

/* /boot has to be what the loader reads. */
static enum error_code check_boot_mounted(struct root_checking *checking, struct error *reterr)
{
    struct stat root, boot;
    if (fstat(checking->at_fd, &root) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot look at %s", text_shown(checking->at));
    if (checking->boot_fd < 0 || fstat(checking->boot_fd, &boot) < 0)
        root_blocks(checking, "no-initramfs", "/boot", "install a kernel there", "there is no /boot");
    else if (checking->boot_is_apart && boot.st_dev == root.st_dev) {
        checking->boot_is_unmounted = true;
        root_blocks(checking, "boot-not-mounted", "/boot", "mount it there, then the same command again",
                    "it is a filesystem of its own and not mounted below %s", text_shown(checking->at));
    }
    return OK;
}

static void check_hook(struct root_checking *checking)
{
    if (!host_tree_has(checking->at_fd, "usr/share/initramfs-tools/hook-functions"))
        root_blocks(checking, "unknown-initramfs", "/boot", "install initramfs-tools on the host",
                    "nothing but initramfs-tools is known to open the vault at boot");
    else if (!host_tree_has(checking->at_fd, BOOT_HOOK) || !host_tree_has(checking->at_fd, BOOT_SCRIPT))
        root_blocks(checking, "no-boot-hook", "/" BOOT_HOOK, "install the package husk on the host",
                    "nothing would open the vault at boot");
}

static enum error_code check_image(struct images *images, const char *version, struct error *reterr)
{
    struct root_checking *checking = images->checking;
    char name[300];
    struct stat status;
    struct initramfs_mark mark = {0};
    snprintf(name, sizeof(name), "initrd.img-%s", version);
    _cleanup_(close_fdp) int fd = openat(checking->boot_fd, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0) {
        root_blocks(checking, "no-initramfs", text_shown(name), "on the host: update-initramfs -c -k all",
                    "the kernel %s has no initramfs: it could not open the vault", text_shown(version));
        return OK;
    }
    if ((uint64_t)status.st_size > images->largest_bytes)
        images->largest_bytes = (uint64_t)status.st_size;
    enum error_code code = initramfs_read_mark(fd, &mark, reterr);
    if (!code && !mark.found)
        root_blocks(checking, "initramfs-without-husk", text_shown(name),
                    "on the host: update-initramfs -u -k all",
                    "husk is not in this initramfs: it could not open the vault");
    else if (!code && mark.version < INITRAMFS_VERSION)
        root_blocks(
            checking, "initramfs-with-older-husk", text_shown(name),
            "on the host: update-initramfs -u -k all",
            "the husk in this initramfs is older than this one and could not read what this one writes");
    else if (!code && strcmp(mark.kernel, version) != 0)
        root_blocks(checking, "initramfs-without-husk", text_shown(name),
                    "on the host: update-initramfs -u -k all",
                    "it was built for another kernel (%s): what it has for that one does not open the vault",
                    text_shown(mark.kernel));
    return code;
}

static enum error_code on_boot_name(const char *name, void *context, struct error *reterr)
{
    struct images *images = context;
    const size_t prefix = strlen(KERNEL_PREFIX);
    if (strncmp(name, KERNEL_PREFIX, prefix) != 0)
        return OK;
    images->has_kernel = true;
    if (!kernel_release_will_do(name + prefix))
        root_blocks(images->checking, "old-kernel", text_shown(name),
                    "remove this kernel from the host, once it has a later one",
                    "a boot of it could not open the vault: husk needs Linux %d.%d or later",
                    KERNEL_LEAST_MAJOR, KERNEL_LEAST_MINOR);
    return check_image(images, name + prefix, reterr);
}

/* update-initramfs writes the new image beside the old one. */
static enum error_code check_room(const struct images *images, struct error *reterr)
{
    struct statvfs status;
    const struct root_checking *checking = images->checking;
    if (fstatvfs(checking->boot_fd, &status) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot ask for the room in /boot of the host");
    const uint64_t free_bytes = (uint64_t)status.f_bfree * status.f_frsize;
    const uint64_t needed_bytes = images->largest_bytes + INITRAMFS_GROWTH_BYTES;
    if (free_bytes < needed_bytes)
        root_blocks(checking, "no-room-in-boot", "/boot",
                    "make room there: remove old kernels, as by apt-get autoremove --purge",
                    "%" PRIu64 " MiB are free, a new initramfs beside the old one may need %" PRIu64,
                    free_bytes >> 20, (needed_bytes + ((uint64_t)1 << 20) - 1) >> 20);
    return OK;
}

static enum error_code check_images(struct root_checking *checking, struct error *reterr)
{
    struct images images = {.checking = checking};
    if (checking->boot_fd < 0)
        return OK;
    enum error_code code = directory_list(checking->boot_fd, on_boot_name, &images, reterr);
    if (!code && !images.has_kernel)
        root_blocks(checking, "no-initramfs", "/boot", "install a kernel of the distribution",
                    "there is no kernel in it that husk could look after");
    return code ? code : check_room(&images, reterr);
}

static bool on_kdump_line(char *line, void *context)
{
    struct root_checking *checking = context;
    line += strspn(line, " \t");
    if (!strncmp(line, "export ", 7))
        line += 7 + strspn(line + 7, " \t");
    if (!strncmp(line, "USE_KDUMP=", 10) && line[10 + strspn(line + 10, "\"'")] == '1')
        root_blocks(checking, "kdump", "/etc/default/kdump-tools", "set USE_KDUMP=0 in it",
                    "a crash would write all memory, keys too, where this host keeps its dumps");
    return true;
}

/* What has no mark is told by convert_root_check(). */
static enum error_code check_stacked(const char *name, void *context, struct error *reterr)
{
    struct root_checking *checking = context;
    const size_t prefix = strlen(KERNEL_PREFIX);
    char image[300];
    struct initramfs_mark mark = {0};
    if (strncmp(name, KERNEL_PREFIX, prefix) != 0)
        return OK;
    snprintf(image, sizeof(image), "initrd.img-%s", name + prefix);
    _cleanup_(close_fdp) int fd = openat(checking->boot_fd, image, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    enum error_code code = fd < 0 ? OK : initramfs_read_mark(fd, &mark, reterr);
    if (!code && mark.found && !mark.stacked)
        root_blocks(checking, "initramfs-without-links", text_shown(image),
                    "on the host: update-initramfs -u -k all",
                    "it was built before the host had VLANs or bonds, and has no modules for them: the boot "
                    "could not reach an authority over these");
    return code;
}

enum error_code convert_root_check_stacked(const char *at, struct finding_list *findings,
                                           struct error *reterr)
{
    _cleanup_(close_fdp) int at_fd = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (at_fd < 0)
        return error_set(reterr, ERR_NOT_FOUND, errno, "cannot open %s", text_shown(at));
    _cleanup_(close_fdp) int boot_fd = host_tree_open(at_fd, "boot", O_RDONLY | O_DIRECTORY);
    struct root_checking checking = {.at = at, .at_fd = at_fd, .boot_fd = boot_fd, .findings = findings};
    return boot_fd < 0 ? OK : directory_list(boot_fd, check_stacked, &checking, reterr);
}

enum error_code convert_root_check(const char *at, enum convert_root_swap swap, struct finding_list *findings,
                                   struct error *reterr)
{
    _cleanup_(close_fdp) int at_fd = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (at_fd < 0)
        return error_set(reterr, ERR_NOT_FOUND, errno, "cannot open %s", text_shown(at));
    _cleanup_(close_fdp) int boot_fd = host_tree_open(at_fd, "boot", O_RDONLY | O_DIRECTORY);
    struct root_checking checking = {
        .at = at, .at_fd = at_fd, .boot_fd = boot_fd, .swap = swap, .findings = findings};
    enum error_code code = host_tree_fstab(at_fd, on_mount, &checking, reterr);
    if (!code)
        code = check_boot_mounted(&checking, reterr);
    if (!code)
        check_hook(&checking);
    if (!code)
        code = check_images(&checking, reterr);
    if (!code)
        code = root_check_loader(&checking, reterr);
    if (!code)
        code = root_check_swap(&checking, reterr);
    if (!code)
        code = root_check_hibernation(&checking, reterr);
    if (!code)
        code = host_tree_lines(at_fd, "etc/default/kdump-tools", on_kdump_line, &checking, reterr);
    if (!code)
        code = root_tell_left(at_fd, findings, reterr);
    return code;
}
