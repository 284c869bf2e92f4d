#include "convert/swap_lines.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/text.h"
#include "convert/root_parts.h"

#define BY_PARTUUID "/dev/disk/by-partuuid/"
#define COMMENT "# husk protect --swap="
#define CRYPTTAB "etc/crypttab"
#define MAPPER "/dev/mapper/"
enum { PAGE_LEAST = 4096, PAGE_MOST = 65536, SWAP_SIGNATURE_SIZE = 10, SWAP_VERSION_AT = 1024 };
#define CIPHER "plain,cipher=aes-xts-plain64,size=512,swap"

/* What is looked for in crypttab: a name or a device. */
struct looking_for {
    const char *name, *device;
    bool is_found, is_random;
    char found_name[128];
};

bool swap_line_counts(const struct host_tree_mount *mount)
{
    return !strcmp(mount->type, "swap") && !root_has_word(mount->options, "noauto");
}

static bool on_crypttab_line(char *line, void *context)
{
    struct looking_for *looking = context;
    char *save = NULL;
    const char *name = strtok_r(line, " \t", &save), *device = strtok_r(NULL, " \t", &save);
    const char *key = strtok_r(NULL, " \t", &save), *options = strtok_r(NULL, " \t", &save);
    if (!name || *name == '#' || !device)
        return true;
    if (looking->name ? strcmp(name, looking->name) : strcmp(device, looking->device))
        return true;
    looking->is_found = true;
    looking->is_random = (key && (!strcmp(key, "/dev/urandom") || !strcmp(key, "/dev/random"))) ||
                         (options && root_has_word(options, "swap"));
    snprintf(looking->found_name, sizeof(looking->found_name), "%s", name);
    return false;
}

enum error_code swap_is_encrypted(int at_fd, const char *device, bool *ret_is, struct error *reterr)
{
    const size_t prefix = strlen(MAPPER);
    struct looking_for looking = {0};
    enum error_code code = OK;
    if (!strncmp(device, MAPPER, prefix)) {
        looking.name = device + prefix;
        code = host_tree_lines(at_fd, CRYPTTAB, on_crypttab_line, &looking, reterr);
    }
    if (!code)
        *ret_is = looking.is_random || !strncmp(device, "/dev/zram", 9);
    return code;
}

/* The name of the partition that a device is, on this machine, to which the host's disk is attached. */
static bool find_partition(const char *device, char *ret_source, size_t size)
{
    _cleanup_(freep) char *real = realpath(device, NULL);
    DIR *directory = real ? opendir(BY_PARTUUID) : NULL;
    bool is_found = false;
    for (const struct dirent *entry; directory && !is_found && (entry = readdir(directory));) {
        char path[sizeof(BY_PARTUUID) + NAME_MAX];
        snprintf(path, sizeof(path), BY_PARTUUID "%s", entry->d_name);
        _cleanup_(freep) char *other = realpath(path, NULL);
        is_found = other && !strcmp(other, real);
        if (is_found)
            snprintf(ret_source, size, "%s", path);
    }
    if (directory)
        closedir(directory);
    return is_found;
}

/* Links of udev by what is on it, or where it is plugged in, do not; those outside of these two directories
 * are of the device mapper. */
static bool stays(const char *path)
{
    static const char *const links[] = {BY_PARTUUID, "/dev/disk/by-partlabel/", "/dev/disk/by-id/"};
    for (size_t i = 0; i < ARRAY_SIZE(links); i++)
        if (!strncmp(path, links[i], strlen(links[i])))
            return true;
    return strchr(path + strlen("/dev/"), '/') && strncmp(path, "/dev/disk/", 10) != 0 &&
           strncmp(path, "/dev/block/", 11) != 0;
}

/* A name of the same device that stays when what is on it is overwritten and other disks come and go. */
static enum error_code find_source(const char *device, char *ret_source, size_t size, struct error *reterr)
{
    static const char *const tags[][2] = {{"PARTUUID=", BY_PARTUUID},
                                          {"PARTLABEL=", "/dev/disk/by-partlabel/"},
                                          {"UUID=", "/dev/disk/by-uuid/"},
                                          {"LABEL=", "/dev/disk/by-label/"}};
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s", device);
    for (size_t i = 0; i < ARRAY_SIZE(tags); i++)
        if (!strncmp(device, tags[i][0], strlen(tags[i][0])))
            snprintf(path, sizeof(path), "%s%s", tags[i][1], device + strlen(tags[i][0]));
    if (strncmp(path, "/dev/", 5) != 0) {
        error_set(reterr, ERR_UNSUPPORTED, 0, "%s is a file: only a partition gets a key of its own",
                  text_shown(device));
        return error_remedy(reterr, "--swap=off");
    }
    if (stays(path)) {
        snprintf(ret_source, size, "%s", path);
        return OK;
    }
    /* Where it is plugged in it is not on this machine, nor are the kernel's names those of the host. */
    const bool is_of_content =
        !strncmp(path, "/dev/disk/by-uuid/", 18) || !strncmp(path, "/dev/disk/by-label/", 19);
    if (is_of_content && find_partition(path, ret_source, size))
        return OK;
    error_set(reterr, ERR_UNSUPPORTED, 0, "%s may stand for another device once the swap is encrypted",
              text_shown(device));
    return error_remedy(
        reterr, "have /etc/fstab name the partition as PARTUUID=..., which blkid shows; or --swap=off");
}

/* Of mkswap(8), whatever the size of its pages: the signature ends the first of them, and the header behind
 * the first KiB has version 1. A hibernated system's image has another signature there. */
static bool has_swap_header(int fd)
{
    static const char *const signatures[] = {"SWAPSPACE2", "S1SUSPEND", "S2SUSPEND", "ULSUSPEND",
                                             "LINHIB0001"};
    uint8_t version[4], end[SWAP_SIGNATURE_SIZE];
    if (pread(fd, version, sizeof(version), SWAP_VERSION_AT) != sizeof(version) ||
        (memcmp(version, "\1\0\0\0", 4) != 0 && memcmp(version, "\0\0\0\1", 4) != 0))
        return false;
    for (off_t page = PAGE_LEAST; page <= PAGE_MOST; page *= 2) {
        if (pread(fd, end, sizeof(end), page - SWAP_SIGNATURE_SIZE) != sizeof(end))
            return false;
        for (size_t i = 0; i < ARRAY_SIZE(signatures); i++)
            if (!memcmp(end, signatures[i], strlen(signatures[i])))
                return true;
    }
    return false;
}

/* Each boot will overwrite it, whatever it holds. */
static enum error_code check_holds_swap(const char *device, const char *source, struct error *reterr)
{
    struct stat status;
    _cleanup_(close_fdp) int fd = open(source, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0) {
        error_set(reterr, ERR_UNSUPPORTED, errno,
                  "cannot look whether %s is swap, which each boot would overwrite", text_shown(device));
        return error_remedy(reterr, "attach its disk to this machine; or take its line out of /etc/fstab; or "
                                    "--swap=off");
    }
    if (S_ISBLK(status.st_mode) && has_swap_header(fd))
        return OK;
    error_set(reterr, ERR_UNSUPPORTED, 0,
              "what %s stands for on this machine is no swap, and each boot would overwrite it",
              text_shown(device));
    return error_remedy(reterr,
                        "take its line out of /etc/fstab of the host where it is stale, or mkswap it; or "
                        "--swap=off");
}

static enum error_code check_cryptsetup(int at_fd, struct error *reterr)
{
    static const char *const runners[] = {"lib/systemd/system-generators/systemd-cryptsetup-generator",
                                          "usr/lib/systemd/system-generators/systemd-cryptsetup-generator",
                                          "lib/cryptsetup/cryptdisks-functions",
                                          "usr/lib/cryptsetup/cryptdisks-functions"};
    bool has = false;
    for (size_t i = 0; i < ARRAY_SIZE(runners); i++)
        has |= host_tree_has(at_fd, runners[i]);
    if (has && (host_tree_has(at_fd, "sbin/cryptsetup") || host_tree_has(at_fd, "usr/sbin/cryptsetup")))
        return OK;
    error_set(reterr, ERR_UNSUPPORTED, 0, "the host has nothing that sets up what is in /etc/crypttab");
    return error_remedy(reterr, "install cryptsetup on the host, and systemd-cryptsetup where that is a "
                                "package of its own; or --swap=off");
}

enum error_code swap_line_can(int at_fd, enum convert_root_swap swap, const char *device,
                              struct error *reterr)
{
    char source[PATH_MAX];
    if (swap != CONVERT_SWAP_ENCRYPT)
        return OK;
    enum error_code code = find_source(device, source, sizeof(source), reterr);
    if (!code)
        code = check_cryptsetup(at_fd, reterr);
    return code ? code : check_holds_swap(device, source, reterr);
}

void swap_line_tell(struct finding_list *findings, enum convert_root_swap swap, const char *device)
{
    const bool is_file = *device == '/' && strncmp(device, "/dev/", 5) != 0;
    finding_add(
        findings, FINDING_TELLS, "swap", text_shown(device),
        is_file
            ? "delete it before husk protect --root --commit, which overwrites free space too"
            : "overwrite the partition once, best before the host boots again; once it has booted, on the "
              "host: update-initramfs -u -k all, as each boot may wait for the old swap to resume from",
        swap == CONVERT_SWAP_OFF ? "it will be switched off in /etc/fstab; what was swapped out there "
                                   "before stays readable"
                                 : "it will be encrypted from the next boot on; what was swapped out "
                                   "there before stays readable until it is overwritten");
}

/* The files as they are made anew. */
struct rewriting {
    int at_fd;
    enum convert_root_swap swap;
    struct buffer fstab, crypttab;
    unsigned number;
    bool changes_fstab, changes_crypttab;
};

/* The name of a mapping of this device: the one it has, as after a crash between the two files, or a new one.
 */
static enum error_code find_name(struct rewriting *rewriting, const char *source, char *ret_name, size_t size,
                                 struct error *reterr)
{
    struct looking_for looking = {.device = source};
    enum error_code code = host_tree_lines(rewriting->at_fd, CRYPTTAB, on_crypttab_line, &looking, reterr);
    if (!code && looking.is_random) {
        snprintf(ret_name, size, "%s", looking.found_name);
        return OK;
    }
    do {
        snprintf(ret_name, size, "husk-swap%u", rewriting->number++);
        looking = (struct looking_for){.name = ret_name};
        if (!code)
            code = host_tree_lines(rewriting->at_fd, CRYPTTAB, on_crypttab_line, &looking, reterr);
    } while (!code && looking.is_found);
    rewriting->changes_crypttab = true;
    return code ? code
                : buffer_printf(&rewriting->crypttab, reterr, "%s\t%s\t/dev/urandom\t" CIPHER "\n", ret_name,
                                source);
}

static enum error_code rewrite_line(struct rewriting *rewriting, const char *line,
                                    const struct host_tree_mount *mount, struct error *reterr)
{
    const bool is_off = rewriting->swap == CONVERT_SWAP_OFF;
    char source[PATH_MAX], name[128], device[PATH_MAX];
    enum error_code code = swap_line_can(rewriting->at_fd, rewriting->swap, mount->device, reterr);
    snprintf(device, sizeof(device), "%s", mount->device);
    if (!code && !is_off)
        code = find_source(mount->device, source, sizeof(source), reterr);
    if (!code && !is_off)
        code = find_name(rewriting, source, name, sizeof(name), reterr);
    if (!code && !is_off)
        snprintf(device, sizeof(device), MAPPER "%s", name);
    rewriting->changes_fstab = true;
    if (code)
        return code;
    return buffer_printf(&rewriting->fstab, reterr, COMMENT "%s, was: %s\n%s\tnone\tswap\t%s%s\t0\t0\n",
                         is_off ? "off" : "encrypt", line, device, *mount->options ? mount->options : "sw",
                         is_off ? ",noauto" : "");
}

static enum error_code rewrite(struct rewriting *rewriting, char *text, struct error *reterr)
{
    enum error_code code = OK;
    for (char *line = text, *next; !code && line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        struct host_tree_mount mount;
        _cleanup_(freep) char *words = strdup(line);
        bool is_encrypted = true;
        if (!words)
            return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
        if (host_tree_parse_mount(words, &mount) && swap_line_counts(&mount))
            code = swap_is_encrypted(rewriting->at_fd, mount.device, &is_encrypted, reterr);
        if (!code)
            code = is_encrypted ? buffer_printf(&rewriting->fstab, reterr, "%s\n", line)
                                : rewrite_line(rewriting, line, &mount, reterr);
    }
    return code;
}

static enum error_code read_text(int etc_fd, const char *name, struct buffer *text, mode_t *ret_mode,
                                 struct error *reterr)
{
    struct stat status;
    enum error_code code = file_read(etc_fd, name, HOST_TREE_FILE_MAXIMUM, text, reterr);
    if (code == ERR_NOT_FOUND)
        code = buffer_append(text, "", 0, reterr);
    *ret_mode = fstatat(etc_fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0 ? 0644 : status.st_mode & 0777;
    return code;
}

static enum error_code replace_files(int etc_fd, struct rewriting *rewriting, mode_t fstab_mode,
                                     mode_t crypttab_mode, struct error *reterr)
{
    enum error_code code = OK;
    if (rewriting->changes_crypttab)
        code = file_write_durable(etc_fd, "crypttab", crypttab_mode, rewriting->crypttab.data,
                                  rewriting->crypttab.length, reterr);
    (void)fault("root.swap.crypttab");
    if (!code && rewriting->changes_fstab)
        code = file_write_durable(etc_fd, "fstab", fstab_mode, rewriting->fstab.data, rewriting->fstab.length,
                                  reterr);
    return code;
}

static bool on_comment(char *line, void *context)
{
    bool *is_there = context;
    *is_there |= !strncmp(line, COMMENT, strlen(COMMENT));
    return !*is_there;
}

void convert_root_tell_swap(const char *at, struct finding_list *findings)
{
    bool is_there = false;
    _cleanup_(close_fdp) int at_fd = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (at_fd >= 0 && host_tree_lines(at_fd, "etc/fstab", on_comment, &is_there, NULL) == OK && is_there)
        finding_add(
            findings, FINDING_TELLS, "swap-changed", "/etc/fstab",
            "to have it as before: put the line in the comment back in the place of the one below it, and "
            "take husk-swapN out of /etc/crypttab where --swap=encrypt put it there",
            "it still says of swap what husk protect --swap made of it");
}

enum error_code convert_root_swap(const char *at, enum convert_root_swap swap, bool *ret_changed,
                                  struct error *reterr)
{
    _cleanup_(close_fdp) int at_fd = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_(close_fdp) int etc_fd = at_fd < 0 ? -1 : host_tree_open(at_fd, "etc", O_RDONLY | O_DIRECTORY);
    if (etc_fd < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot open the /etc of %s", text_shown(at));
    struct rewriting rewriting = {.at_fd = at_fd, .swap = swap};
    _cleanup_(buffer_done) struct buffer fstab = {0};
    mode_t fstab_mode, crypttab_mode;
    enum error_code code = read_text(etc_fd, "fstab", &fstab, &fstab_mode, reterr);
    if (!code)
        code = read_text(etc_fd, "crypttab", &rewriting.crypttab, &crypttab_mode, reterr);
    const struct buffer *crypttab = &rewriting.crypttab;
    if (!code && crypttab->length > 0 && crypttab->data[crypttab->length - 1] != '\n')
        code = buffer_append(&rewriting.crypttab, "\n", 1, reterr);
    if (!code && fstab.length > 0)
        code = rewrite(&rewriting, fstab.data, reterr);
    if (!code)
        code = replace_files(etc_fd, &rewriting, fstab_mode, crypttab_mode, reterr);
    *ret_changed |= !code && rewriting.changes_fstab;
    buffer_done(&rewriting.fstab);
    buffer_done(&rewriting.crypttab);
    return code ? error_prefix(reterr, "swap of the host stays as it is") : OK;
}
