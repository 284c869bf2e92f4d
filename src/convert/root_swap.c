/* Where a host writes its memory to: swap, and what hibernating needs. */
#include <ctype.h>
#include <fcntl.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "convert/host_tree.h"
#include "convert/root_parts.h"
#include "convert/swap_lines.h"

#define UNITS "etc/systemd/system"
#define INITRAMFS_CONF "etc/initramfs-tools"
#define REMEDY                                                                                               \
    "husk protect --root --swap=off or --swap=encrypt does it where the root is converted; by hand: give "   \
    "it noauto in /etc/fstab, or "                                                                           \
    "encrypt it with a key drawn at each boot (crypttab(5), swap)"

struct looking {
    struct root_checking *checking;
    struct error *reterr;
    enum error_code code; /* of the callbacks, which can only end the reading */
    const char *name;     /* of the file that is read */
    char mapping[300];
    bool has_line; /* fstab names swap, whatever it says of it */
};

static void add_swap(struct root_checking *checking, const char *subject, const char *remedy)
{
    root_blocks(checking, "swap", subject, remedy, "memory that is swapped out there is written as it is");
}

static bool on_name_line(char *line, void *context)
{
    struct looking *looking = context;
    snprintf(looking->mapping, sizeof(looking->mapping), "/dev/mapper/%s", line);
    return false;
}

static bool is_in_the_clear(struct looking *looking, const char *device)
{
    const struct root_checking *checking = looking->checking;
    bool is_encrypted = false;
    char path[256];
    snprintf(looking->mapping, sizeof(looking->mapping), "%s", device);
    /* Which mapping a number stands for only the running system can tell. */
    if (!strcmp(checking->at, "/") && !strncmp(device, "/dev/dm-", 8)) {
        snprintf(path, sizeof(path), "sys/class/block/%s/dm/name", device + strlen("/dev/"));
        looking->code = host_tree_lines(checking->at_fd, path, on_name_line, looking, looking->reterr);
    }
    if (!looking->code)
        looking->code = swap_is_encrypted(checking->at_fd, looking->mapping, &is_encrypted, looking->reterr);
    return !looking->code && !is_encrypted;
}

static bool on_mount(const struct host_tree_mount *mount, void *context)
{
    struct looking *looking = context;
    struct root_checking *checking = looking->checking;
    looking->has_line |= !strcmp(mount->type, "swap");
    if (!swap_line_counts(mount) || !is_in_the_clear(looking, mount->device))
        return !looking->code;
    struct error why = ERROR_NONE;
    if (checking->swap == CONVERT_SWAP_LEAVE)
        add_swap(checking, text_shown(mount->device), REMEDY);
    else if (swap_line_can(checking->at_fd, checking->swap, mount->device, &why))
        root_blocks(checking, "swap", text_shown(mount->device), why.remedy, "%s", why.message);
    else
        swap_line_tell(checking->findings, checking->swap, mount->device);
    return true;
}

static bool on_unit_line(char *line, void *context)
{
    struct looking *looking = context;
    line += strspn(line, " \t");
    if (strncmp(line, "What", 4) != 0)
        return true;
    line += 4 + strspn(line + 4, " \t");
    if (*line != '=')
        return true;
    line += 1 + strspn(line + 1, " \t");
    line[strcspn(line, " \t\r")] = '\0';
    if (is_in_the_clear(looking, line))
        add_swap(looking->checking, text_shown(looking->name),
                 "remove this unit, or have it use a device that is encrypted with a key drawn at each boot "
                 "(crypttab(5), swap)");
    return !looking->code;
}

static enum error_code on_unit(const char *name, void *context, struct error *reterr)
{
    struct looking *looking = context;
    const size_t length = strlen(name);
    char path[400];
    if (length < 5 || strcmp(name + length - 5, ".swap") != 0)
        return OK;
    snprintf(path, sizeof(path), UNITS "/%s", name);
    looking->name = name;
    enum error_code code = host_tree_lines(looking->checking->at_fd, path, on_unit_line, looking, reterr);
    return code ? code : looking->code;
}

/* By its line of fstab, where the kernel knows it under the same name. */
static bool is_told(const struct root_checking *checking, const char *device)
{
    const struct finding_list *findings = checking->findings;
    for (size_t i = 0; i < findings->count; i++)
        if (!strcmp(findings->items[i].kind, "swap") && !strcmp(findings->items[i].subject, device))
            return true;
    return false;
}

static bool on_kernel_line(char *line, void *context)
{
    struct looking *looking = context;
    line[strcspn(line, " \t")] = '\0';
    if (strcmp(line, "Filename") != 0 && is_in_the_clear(looking, line) &&
        !is_told(looking->checking, text_shown(line)))
        add_swap(looking->checking, text_shown(line),
                 "swapoff, and see that nothing swaps there after the next boot");
    return !looking->code;
}

static enum error_code list(struct root_checking *checking, const char *path,
                            enum error_code (*each)(const char *name, void *context, struct error *reterr),
                            void *context, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = host_tree_open(checking->at_fd, path, O_RDONLY | O_DIRECTORY);
    return fd < 0 ? OK : directory_list(fd, each, context, reterr);
}

enum error_code root_check_swap(struct root_checking *checking, struct error *reterr)
{
    struct looking looking = {.checking = checking, .reterr = reterr};
    enum error_code code = host_tree_fstab(checking->at_fd, on_mount, &looking, reterr);
    if (!code)
        code = looking.code;
    if (!code && !looking.has_line)
        code = root_check_gpt(checking, reterr);
    if (!code)
        code = list(checking, UNITS, on_unit, &looking, reterr);
    if (!code && !strcmp(checking->at, "/"))
        code = host_tree_lines(checking->at_fd, "proc/swaps", on_kernel_line, &looking, reterr);
    return code ? code : looking.code;
}

static bool on_resume_line(char *line, void *context)
{
    struct looking *looking = context;
    line += strspn(line, " \t");
    if (strncmp(line, "RESUME=", 7) != 0)
        return true;
    const char *value = line + 7 + strspn(line + 7, "\"'");
    if (*value && !isspace((unsigned char)*value) && strncmp(value, "none", 4) != 0)
        root_blocks(looking->checking, "hibernation", text_shown(looking->name),
                    "write RESUME=none into it, then on the host: update-initramfs -u -k all",
                    "hibernating would write all memory, keys too, to swap, and a boot resume from there");
    return true;
}

/* Which files of conf.d mkinitramfs reads. */
static bool is_initramfs_conf(const char *name)
{
    return isalnum((unsigned char)*name) && !strstr(name, ".dpkg-") &&
           !name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")];
}

static enum error_code on_resume_name(const char *name, void *context, struct error *reterr)
{
    struct looking *looking = context;
    char path[400];
    if (!is_initramfs_conf(name))
        return OK;
    snprintf(path, sizeof(path), INITRAMFS_CONF "/conf.d/%s", name);
    looking->name = path;
    enum error_code code = host_tree_lines(looking->checking->at_fd, path, on_resume_line, looking, reterr);
    looking->name = NULL;
    return code;
}

static bool on_grub_default(char *line, void *context)
{
    struct looking *looking = context;
    line += strspn(line, " \t");
    const char *value = strchr(line, '=');
    if (!strncmp(line, "GRUB_CMDLINE_LINUX", 18) && value && root_has_word(value + 1, "resume="))
        root_blocks(looking->checking, "hibernation", text_shown(looking->name),
                    "take resume= out of it, then on the host: update-grub",
                    "hibernating would write all memory, keys too, to swap, and a boot resume from there");
    return true;
}

static enum error_code on_grub_name(const char *name, void *context, struct error *reterr)
{
    struct looking *looking = context;
    const size_t length = strlen(name);
    char path[400];
    /* update-grub reads no others. */
    if (*name == '.' || length < 4 || strcmp(name + length - 4, ".cfg") != 0)
        return OK;
    snprintf(path, sizeof(path), "etc/default/grub.d/%s", name);
    looking->name = path;
    enum error_code code = host_tree_lines(looking->checking->at_fd, path, on_grub_default, looking, reterr);
    looking->name = NULL;
    return code;
}

enum error_code root_check_hibernation(struct root_checking *checking, struct error *reterr)
{
    struct looking looking = {.checking = checking, .name = INITRAMFS_CONF "/initramfs.conf"};
    enum error_code code = host_tree_lines(checking->at_fd, looking.name, on_resume_line, &looking, reterr);
    if (!code)
        code = list(checking, INITRAMFS_CONF "/conf.d", on_resume_name, &looking, reterr);
    looking.name = "etc/default/grub";
    if (!code)
        code = host_tree_lines(checking->at_fd, looking.name, on_grub_default, &looking, reterr);
    return code ? code : list(checking, "etc/default/grub.d", on_grub_name, &looking, reterr);
}
