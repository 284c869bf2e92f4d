/* What loads the kernel: nothing but GRUB is known to be looked through, one entry after another. */
#include <ctype.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "convert/host_tree.h"
#include "convert/initramfs.h"
#include "convert/root_parts.h"

#define BLANKS " \t\"'"
#define GRUB_CONFIGURATION "boot/grub/grub.cfg"
#define GRUB_LEAST_MINOR 4 /* 2.04 reads a filesystem with the encrypt feature */
#define MODULE_MAXIMUM ((size_t)4 << 20)
#define COMMAND_LINE_PATH "/proc/cmdline"
#define COMMAND_LINE_MAXIMUM ((size_t)64 << 10)
#define REMEDY_GRUB "have GRUB load the kernel: install it on the host, update-grub"

struct reading {
    struct root_checking *checking;
    bool waits; /* a kernel was named, and no initramfs behind it yet */
    char title[160];
};

bool root_has_word(const char *words, const char *beginning)
{
    static const char between[] = " \t\"',";
    while (*(words += strspn(words, between))) {
        if (!strncmp(words, beginning, strlen(beginning)))
            return true;
        words += strcspn(words, between);
    }
    return false;
}

/* Here a branch or an entry ends: what comes behind is another one's. */
static void end_branch(struct reading *reading)
{
    if (reading->waits)
        root_blocks(reading->checking, "boot-entry-without-initramfs", text_shown(reading->title),
                    "have update-grub make it with an initramfs (no GRUB_FORCE_PARTUUID in /etc/default/grub "
                    "and /etc/default/grub.d), or remove it",
                    "a kernel is started without an initramfs in this entry of grub.cfg");
    reading->waits = false;
}

static bool is_memory_test(const char *words)
{
    const char *path = words + strcspn(words, " \t");
    path += strspn(path, " \t");
    const size_t length = strcspn(path, " \t");
    const char *name = path;
    for (size_t i = 0; i < length; i++)
        if (path[i] == '/')
            name = path + i + 1;
    return !strncmp(name, "memtest86", 9);
}

static bool is_kernel(const char *command)
{
    return !strncmp(command, "linux", 5) && (command[5] == '\0' || strchr(" \t1e", command[5])) &&
           !is_memory_test(command);
}

static bool begins_with_word(const char *text, const char *word)
{
    const size_t length = strlen(word);
    return !strncmp(text, word, length) && (text[length] == '\0' || isspace((unsigned char)text[length]));
}

static bool is_one_of(const char *const *words, size_t count, const char *command, size_t *ret_length)
{
    for (size_t i = 0; i < count; i++) {
        *ret_length = strlen(words[i]);
        if (begins_with_word(command, words[i]))
            return true;
    }
    return false;
}

/* Where GRUB finds it: below the root of the filesystem that /boot is on, whatever device stands in front. */
static bool is_there(const struct root_checking *checking, const char *argument, bool *ret_has_husk)
{
    struct initramfs_mark mark = {0};
    const char *path = *argument == '(' ? strchr(argument, ')') : argument;
    if (!path)
        return false;
    path += *path == ')';
    _cleanup_(close_fdp) int fd = host_tree_open(
        checking->boot_is_apart ? checking->boot_fd : checking->at_fd, path, O_RDONLY | O_NONBLOCK);
    *ret_has_husk |= fd >= 0 && initramfs_read_mark(fd, &mark, NULL) == OK && mark.found;
    return fd >= 0;
}

/* Several are put together, such as microcode and the initramfs; where one is not there GRUB loads none. */
static void heed_initrd(struct reading *reading, const char *arguments)
{
    char words[1024], *save = NULL;
    bool are_there = true, has_husk = false;
    snprintf(words, sizeof(words), "%s", arguments);
    for (const char *word = strtok_r(words, BLANKS, &save); word; word = strtok_r(NULL, BLANKS, &save))
        are_there &= is_there(reading->checking, word, &has_husk);
    /* Behind no kernel it is of no matter, and in a /boot that is not mounted it cannot be seen. */
    if (reading->waits && !reading->checking->boot_is_unmounted && !(are_there && has_husk))
        root_blocks(reading->checking, "initramfs-without-husk", text_shown(reading->title),
                    "on the host: update-initramfs -u -k all, then update-grub; or remove this entry",
                    "what this entry of grub.cfg loads behind the kernel is not all there, or has no husk in "
                    "it:%s",
                    text_shown(arguments));
    reading->waits = false;
}

/* custom.cfg is read too; of others nothing is known. */
static void heed_source(struct reading *reading, const char *words)
{
    char name[300];
    words += strspn(words, BLANKS);
    snprintf(name, sizeof(name), "%.*s", (int)strcspn(words, BLANKS), words);
    const char *last = strrchr(name, '/');
    if (strcmp(last ? last + 1 : name, "custom.cfg") != 0)
        root_blocks(reading->checking, "unknown-loader", text_shown(name),
                    "have what it holds in /boot/grub/custom.cfg, or in /etc/grub.d",
                    "grub.cfg goes on in another file, which is not looked through");
}

static void read_command(struct reading *reading, const char *command)
{
    static const char *const before[] = {"then", "else", "{"}; /* a command may follow */
    static const char *const alone[] = {"menuentry", "submenu", "function", "if", "elif", "fi", "}"};
    static const char *const initrds[] = {"initrd", "initrdefi", "initrd16"};
    static const char *const sources[] = {"source", ".", "configfile"};
    size_t length;
    command += strspn(command, " \t");
    while (is_one_of(before, ARRAY_SIZE(before), command, &length)) {
        end_branch(reading);
        command += length;
        command += strspn(command, " \t");
    }
    if (is_one_of(alone, ARRAY_SIZE(alone), command, &length)) {
        end_branch(reading);
        if (!strncmp(command, "menuentry ", 10))
            snprintf(reading->title, sizeof(reading->title), "%.*s", (int)strcspn(command + 10, "{"),
                     command + 10);
        const char *brace = strrchr(command, '{');
        if (brace)
            read_command(reading, brace + 1);
        return;
    }
    if (is_one_of(initrds, ARRAY_SIZE(initrds), command, &length))
        heed_initrd(reading, command + length);
    if (is_one_of(sources, ARRAY_SIZE(sources), command, &length))
        heed_source(reading, command + length);
    if (!is_kernel(command))
        return;
    end_branch(reading);
    reading->waits = true;
    if (root_has_word(command, "resume="))
        root_blocks(reading->checking, "hibernation", text_shown(reading->title),
                    "take resume= out of /etc/default/grub, update-grub",
                    "this entry of grub.cfg resumes from where all memory, keys too, was written");
}

static bool on_grub_line(char *line, void *context)
{
    char *save = NULL;
    line += strspn(line, " \t");
    if (*line == '#')
        return true;
    for (char *command = strtok_r(line, ";", &save); command; command = strtok_r(NULL, ";", &save))
        read_command(context, command);
    return true;
}

/* "2.06-13" stands in GRUB's module as a string of its own. */
static bool is_old(const struct buffer *module)
{
    for (size_t i = 1; i + 5 < module->length; i++) {
        const char *at = module->data + i;
        if (at[-1] == '\0' && isdigit((unsigned char)at[0]) && at[1] == '.' &&
            isdigit((unsigned char)at[2]) && isdigit((unsigned char)at[3]) && !isalnum((unsigned char)at[4]))
            return at[0] < '2' || (at[0] == '2' && (at[2] - '0') * 10 + at[3] - '0' < GRUB_LEAST_MINOR);
    }
    return false;
}

/* The directory of what grub-install put there for one kind of machine. */
static enum error_code on_grub_name(const char *name, void *context, struct error *reterr)
{
    struct root_checking *checking = context;
    char path[300];
    _cleanup_(buffer_done) struct buffer module = {0};
    snprintf(path, sizeof(path), "boot/grub/%s", name);
    _cleanup_(close_fdp) int fd = host_tree_open(checking->at_fd, path, O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return OK;
    enum error_code code = file_read(fd, "normal.mod", MODULE_MAXIMUM, &module, reterr);
    if (code == ERR_NOT_FOUND)
        return OK;
    if (!code && is_old(&module))
        root_blocks(checking, "old-loader", text_shown(path),
                    "update GRUB, and run grub-install again on the host",
                    "this GRUB is older than 2.04 and cannot read a filesystem with encrypted directories");
    return code;
}

static enum error_code check_grub_version(struct root_checking *checking, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = host_tree_open(checking->at_fd, "boot/grub", O_RDONLY | O_DIRECTORY);
    return fd < 0 || checking->boot_is_apart ? OK : directory_list(fd, on_grub_name, checking, reterr);
}

enum error_code convert_root_check_running(struct finding_list *findings, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer line = {0};
    enum error_code code = file_read(AT_FDCWD, COMMAND_LINE_PATH, COMMAND_LINE_MAXIMUM, &line, reterr);
    if (!code && !root_has_word(line.data ? line.data : "", "BOOT_IMAGE="))
        finding_add(findings, FINDING_BLOCKS, "unknown-loader", COMMAND_LINE_PATH,
                    REMEDY_GRUB ", and boot by it",
                    "it was not GRUB that loaded this kernel (no BOOT_IMAGE=): where the provider does, from "
                    "outside of the disk, nothing here says with which initramfs");
    return code;
}

enum error_code root_check_loader(struct root_checking *checking, struct error *reterr)
{
    static const char *const others[] = {"boot/loader/entries", "boot/efi/loader/entries",
                                         "efi/loader/entries", "boot/extlinux/extlinux.conf",
                                         "boot/syslinux/syslinux.cfg"};
    static const char *const configurations[] = {GRUB_CONFIGURATION, "boot/grub/custom.cfg"};
    struct reading reading = {.checking = checking};
    if (checking->boot_fd < 0)
        return OK;
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        if (host_tree_has(checking->at_fd, others[i]))
            root_blocks(checking, "unknown-loader", text_shown(others[i]), REMEDY_GRUB ", and remove this",
                        "these entries are not looked through: one without an initramfs would not boot");
    if (!host_tree_has(checking->at_fd, GRUB_CONFIGURATION))
        root_blocks(checking, "unknown-loader", "/" GRUB_CONFIGURATION, REMEDY_GRUB,
                    "it is not there: nothing tells what loads the kernel and its initramfs");
    enum error_code code = OK;
    for (size_t i = 0; !code && i < ARRAY_SIZE(configurations); i++) {
        code = host_tree_lines(checking->at_fd, configurations[i], on_grub_line, &reading, reterr);
        end_branch(&reading);
    }
    return code ? code : check_grub_version(checking, reterr);
}
