/* What would keep an encrypted root from booting, or have its plaintext written elsewhere. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "convert/host_tree.h"
#include "convert/initramfs.h"
#include "convert/root.h"

#define BOOT_HOOK "usr/share/initramfs-tools/hooks/husk"
#define BOOT_SCRIPT "usr/share/initramfs-tools/scripts/local-bottom/husk"
#define KERNEL_PREFIX "vmlinuz-"

struct checking {
    const char *at;
    int at_fd, boot_fd;
    struct finding_list *findings;
    bool has_kernel, boot_is_mounted_apart;
    /* Of the loader's entries, while they are read. */
    bool has_linux, has_initrd;
    char title[160];
};

#define block(checking, kind, subject, remedy, ...)                                                          \
    finding_add((checking)->findings, FINDING_BLOCKS, kind, subject, remedy, __VA_ARGS__)

static bool is_encrypted_swap(const char *device)
{
    return !strncmp(device, "/dev/mapper/", 12) || !strncmp(device, "/dev/zram", 9);
}

static bool on_mount(const struct host_tree_mount *mount, void *context)
{
    struct checking *checking = context;
    if (!strcmp(mount->where, "/usr"))
        block(checking, "separate-usr", "/usr", "move /usr onto the root filesystem",
              "the initramfs mounts it before anything can open the vault");
    if (!strcmp(mount->where, "/boot"))
        checking->boot_is_mounted_apart = true;
    if (!strcmp(mount->type, "swap") && !is_encrypted_swap(mount->device))
        block(checking, "swap", text_shown(mount->device),
              "take it out of /etc/fstab, or encrypt it with a key drawn at each boot (crypttab(5), swap)",
              "memory that is swapped out there is written as it is");
    return true;
}

/* /boot has to be what the loader reads. */
static enum error_code check_boot_mounted(struct checking *checking, struct error *reterr)
{
    struct stat root, boot;
    if (fstat(checking->at_fd, &root) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot look at %s", text_shown(checking->at));
    if (checking->boot_fd < 0 || fstat(checking->boot_fd, &boot) < 0)
        block(checking, "no-initramfs", "/boot", "install a kernel there", "there is no /boot");
    else if (checking->boot_is_mounted_apart && boot.st_dev == root.st_dev)
        block(checking, "boot-not-mounted", "/boot", "mount it there, then the same command again",
              "it is a filesystem of its own and not mounted below %s", text_shown(checking->at));
    return OK;
}

static void check_hook(struct checking *checking)
{
    if (!host_tree_has(checking->at_fd, "usr/share/initramfs-tools/hook-functions"))
        block(checking, "unknown-initramfs", "/boot", "install initramfs-tools on the host",
              "nothing but initramfs-tools is known to open the vault at boot");
    else if (!host_tree_has(checking->at_fd, BOOT_HOOK) || !host_tree_has(checking->at_fd, BOOT_SCRIPT))
        block(checking, "no-boot-hook", "/" BOOT_HOOK, "install the package husk on the host",
              "nothing would open the vault at boot");
}

static enum error_code check_image(struct checking *checking, const char *version, struct error *reterr)
{
    char name[300];
    bool has_husk = false;
    snprintf(name, sizeof(name), "initrd.img-%s", version);
    _cleanup_(close_fdp) int fd = openat(checking->boot_fd, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        block(checking, "no-initramfs", text_shown(name), "on the host: update-initramfs -c -k all",
              "the kernel %s has no initramfs: it could not open the vault", text_shown(version));
        return OK;
    }
    enum error_code code = initramfs_has_husk(fd, &has_husk, reterr);
    if (!code && !has_husk)
        block(checking, "initramfs-without-husk", text_shown(name), "on the host: update-initramfs -u -k all",
              "husk is not in this initramfs: it could not open the vault");
    return code;
}

static enum error_code on_boot_name(const char *name, void *context, struct error *reterr)
{
    struct checking *checking = context;
    const size_t prefix = strlen(KERNEL_PREFIX);
    if (strncmp(name, KERNEL_PREFIX, prefix) != 0)
        return OK;
    checking->has_kernel = true;
    return check_image(checking, name + prefix, reterr);
}

static void end_entry(struct checking *checking)
{
    if (checking->has_linux && !checking->has_initrd)
        block(checking, "boot-entry-without-initramfs", text_shown(checking->title),
              "have update-grub make it with an initramfs, or remove it",
              "this entry of grub.cfg starts a kernel without an initramfs");
    checking->has_linux = checking->has_initrd = false;
}

static bool on_grub_line(char *line, void *context)
{
    struct checking *checking = context;
    line += strspn(line, " \t");
    if (!strncmp(line, "menuentry ", 10)) {
        end_entry(checking);
        snprintf(checking->title, sizeof(checking->title), "%.*s", (int)strcspn(line + 10, "{"), line + 10);
    }
    checking->has_linux |= !strncmp(line, "linux", 5) && strchr(" \t1e", line[5]);
    checking->has_initrd |= !strncmp(line, "initrd", 6);
    return true;
}

static bool on_kdump_line(char *line, void *context)
{
    struct checking *checking = context;
    if (!strncmp(line, "USE_KDUMP=1", 11))
        block(checking, "kdump", "/etc/default/kdump-tools", "set USE_KDUMP=0 in it",
              "a crash would write all memory, keys too, where this host keeps its dumps");
    return true;
}

enum error_code convert_root_check(const char *at, struct finding_list *findings, struct error *reterr)
{
    _cleanup_(close_fdp) int at_fd = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (at_fd < 0)
        return error_set(reterr, ERR_NOT_FOUND, errno, "cannot open %s", text_shown(at));
    _cleanup_(close_fdp) int boot_fd = host_tree_open(at_fd, "boot", O_RDONLY | O_DIRECTORY);
    struct checking checking = {.at = at, .at_fd = at_fd, .boot_fd = boot_fd, .findings = findings};
    enum error_code code = host_tree_fstab(at_fd, on_mount, &checking, reterr);
    if (!code)
        code = check_boot_mounted(&checking, reterr);
    if (!code)
        check_hook(&checking);
    if (!code && boot_fd >= 0)
        code = directory_list(boot_fd, on_boot_name, &checking, reterr);
    if (!code && boot_fd >= 0 && !checking.has_kernel)
        block(&checking, "no-initramfs", "/boot", "install a kernel of the distribution",
              "there is no kernel in it that husk could look after");
    if (!code)
        code = host_tree_lines(at_fd, "boot/grub/grub.cfg", on_grub_line, &checking, reterr);
    end_entry(&checking);
    if (!code)
        code = host_tree_lines(at_fd, "etc/default/kdump-tools", on_kdump_line, &checking, reterr);
    return code;
}
