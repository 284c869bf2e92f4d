/* Setting the ext4 feature "encrypt" on a mounted filesystem, with e2fsprogs' tune2fs. */
#include <endian.h>
#include <errno.h>
#include <ext2fs/ext2_fs.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/text.h"
#include "filesystem/device.h"
#include "filesystem/filesystem.h"

static const char *find_tune2fs(void)
{
    static const char *const places[] = {"/sbin/tune2fs", "/usr/sbin/tune2fs", "/bin/tune2fs",
                                         "/usr/bin/tune2fs"};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++)
        if (access(places[i], X_OK) == 0)
            return places[i];
    return NULL;
}

/* In the child: only async-signal-safe calls, as the parent may have threads. */
static _Noreturn void exec_tune2fs(const char *program, const char *device, int output_fd)
{
    char *const arguments[] = {(char[]){"tune2fs"}, (char[]){"-O"}, (char[]){"encrypt"}, strdupa(device),
                               NULL};
    char *const environment[] = {(char[]){"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, (char[]){"LC_ALL=C"}, NULL};
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int null_fd = open("/dev/null", O_RDONLY);
    if (null_fd >= 0 && dup2(null_fd, 0) == 0 && dup2(output_fd, 1) == 1 && dup2(output_fd, 2) == 2) {
        close_range(3, ~0U, 0); /* everything of ours is O_CLOEXEC anyway */
        execve(program, arguments, environment);
    }
    _exit(127);
}

/* Read until the end, keep the first bytes. */
static void read_output(int fd, char *output, size_t output_size)
{
    size_t used = 0;
    for (;;) {
        char block[512];
        ssize_t got = read(fd, block, sizeof(block));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        size_t kept = output_size - 1 - used;
        if ((size_t)got < kept)
            kept = (size_t)got;
        memcpy(output + used, block, kept);
        used += kept;
    }
    output[used] = '\0';
}

/* What tune2fs said, as one line without its version banner. */
static void tidy_output(char *output)
{
    if (!strncmp(output, "tune2fs 1.", 10)) {
        const char *rest = strchrnul(output, '\n');
        memmove(output, rest, strlen(rest) + 1);
    }
    for (char *byte = output; *byte; byte++)
        if (*byte == '\n')
            *byte = ' ';
    size_t leading = strspn(output, " ");
    memmove(output, output + leading, strlen(output + leading) + 1);
    for (size_t length = strlen(output); length && output[length - 1] == ' '; length--)
        output[length - 1] = '\0';
}

static enum error_code run_tune2fs(const char *device, char *output, size_t output_size, int *ret_status,
                                   struct error *reterr)
{
    const char *program = find_tune2fs();
    if (!program) {
        error_set(reterr, ERR_UNSUPPORTED, 0, "there is no tune2fs to set the ext4 feature \"encrypt\" with");
        error_remedy(reterr, "install the package e2fsprogs");
        return ERR_UNSUPPORTED;
    }
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot make a pipe");
    _cleanup_(close_fdp) int read_end = ends[0];
    _cleanup_(close_fdp) int write_end = ends[1];
    pid_t child = fork();
    if (child < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot start %s", program);
    if (child == 0)
        exec_tune2fs(program, device, write_end);
    close_fdp(&write_end);
    read_output(read_end, output, output_size);
    tidy_output(output);
    while (waitpid(child, ret_status, 0) < 0)
        if (errno == ECHILD) /* we were started with SIGCHLD ignored; the superblock will tell */
            break;
        else if (errno != EINTR)
            return error_set(reterr, ERR_FAILED, errno, "cannot wait for %s", program);
    return OK;
}

static enum error_code is_enabled(const struct filesystem *filesystem, bool *ret_enabled,
                                  struct error *reterr)
{
    struct ext2_super_block superblock;
    enum error_code code = device_read_superblock(filesystem, &superblock, reterr);
    if (!code)
        *ret_enabled = le32toh(superblock.s_feature_incompat) & EXT4_FEATURE_INCOMPAT_ENCRYPT;
    return code;
}

enum error_code filesystem_enable_encrypt(const struct filesystem *filesystem, struct error *reterr)
{
    char device[DEVICE_PATH_SIZE];
    struct ext4_facts facts = {0};
    enum error_code code = filesystem_ext4_facts(filesystem, &facts, reterr);
    if (!code && facts.encrypt)
        return filesystem_settle(filesystem, reterr);
    if (!code)
        code = device_path(filesystem, device, reterr);
    if (code)
        return code;
    if (filesystem->read_only)
        return error_set(reterr, ERR_UNSUPPORTED, 0, "%s is mounted read-only",
                         text_shown(filesystem->mount_point));
    int injected = fault("filesystem.enable-encrypt");
    if (injected)
        return error_set(reterr, ERR_FAILED, injected, "cannot set the ext4 feature \"encrypt\" on %s",
                         text_shown(device));
    char output[400] = "";
    int status = 0;
    code = run_tune2fs(device, output, sizeof(output), &status, reterr);
    if (code)
        return code;
    (void)fault("filesystem.enable-encrypt.after");
    bool enabled = false;
    code = is_enabled(filesystem, &enabled, reterr);
    if (code)
        return code;
    if (status != 0 || !enabled) {
        error_set(reterr, ERR_FAILED, 0, "tune2fs did not set the ext4 feature \"encrypt\" on %s: %s",
                  text_shown(device), output[0] ? text_shown(output) : "it said nothing");
        error_subject(reterr, "%s", text_shown(filesystem->mount_point));
        error_remedy(reterr,
                     "do what tune2fs says (often: unmount, run e2fsck -f %s), then run the same "
                     "command again",
                     text_shown(device));
        return ERR_FAILED;
    }
    return filesystem_settle(filesystem, reterr);
}
