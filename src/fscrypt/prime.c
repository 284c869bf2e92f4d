/*
 * Ciphers are looked up when first used. When that happens for the first time after the root was switched,
 * the kernel runs modprobe, which then lies in the vault itself. So use each of them once, now: listing a
 * directory sets up the one for names, opening a file the one for contents. Adding a key sets up HMAC-SHA512,
 * and any key will do.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/text.h"
#include "fscrypt/errors.h"
#include "fscrypt/fscrypt.h"

/* How far to look for a file: names in all, and directories down. */
#define NAMES_MAXIMUM 4096
#define DEPTH_MAXIMUM 16

struct search {
    unsigned names;
    bool found;
};

static enum error_code prime_error(struct error *reterr, int os_errno, const char *doing)
{
    static const struct fscrypt_case cases[] = {
        {ENOENT, ERR_UNSUPPORTED, "the kernel has no AES-256-XTS or AES-256-CTS, or cannot load it now",
         "load it (modprobe xts; modprobe cts; modprobe aes_generic); in an initramfs, rebuild it with "
         "husk's "
         "hook"},
    };
    return fscrypt_error(reterr, os_errno, doing, cases, ARRAY_SIZE(cases));
}

static enum error_code read_block(int directory_fd, const char *name, struct search *search,
                                  struct error *reterr)
{
    _cleanup_(close_fdp) int fd =
        openat(directory_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ELOOP || errno == ENXIO || errno == EPERM)) /* changed since */
        return OK;
    if (fd < 0)
        return prime_error(reterr, errno, "cannot open an encrypted file");
    char block[4096];
    ssize_t got;
    do
        got = read(fd, block, sizeof(block));
    while (got < 0 && errno == EINTR);
    explicit_bzero(block, sizeof(block));
    if (got < 0)
        return prime_error(reterr, errno, "cannot read an encrypted file");
    search->found = got > 0;
    return OK;
}

/* Depth first, files of a directory before its directories' own. */
static enum error_code search_directory(int directory_fd, int depth, struct search *search,
                                        struct error *reterr);

static enum error_code visit(int directory_fd, const struct dirent *entry, int depth, struct search *search,
                             struct error *reterr)
{
    if (entry->d_type == DT_REG)
        return read_block(directory_fd, entry->d_name, search, reterr);
    if (entry->d_type != DT_DIR || depth == DEPTH_MAXIMUM || !strcmp(entry->d_name, ".") ||
        !strcmp(entry->d_name, ".."))
        return OK;
    _cleanup_(close_fdp) int fd =
        openat(directory_fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? OK : search_directory(fd, depth + 1, search, reterr);
}

static enum error_code search_directory(int directory_fd, int depth, struct search *search,
                                        struct error *reterr)
{
    int fd = openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (!stream) {
        int os_errno = errno;
        close_fdp(&fd);
        return prime_error(reterr, os_errno, "cannot open an encrypted directory");
    }
    enum error_code code = OK;
    while (!code && !search->found && search->names < NAMES_MAXIMUM) {
        errno = 0;
        const struct dirent *entry = readdir(stream);
        if (!entry) {
            if (errno)
                code = prime_error(reterr, errno, "cannot list an encrypted directory");
            break;
        }
        search->names++;
        code = visit(directory_fd, entry, depth, search, reterr);
    }
    closedir(stream);
    return code;
}

enum error_code fscrypt_prime_derivation(int fd, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *key = NULL;
    struct fscrypt_identifier identifier;
    enum fscrypt_removal removal;
    enum error_code code = secret_new_random(FSCRYPT_MASTER_KEY_SIZE, &key, reterr);
    if (!code)
        code = fscrypt_add_key(fd, key, &identifier, reterr);
    return code ? code : fscrypt_remove_key(fd, &identifier, &removal, reterr);
}

enum error_code fscrypt_prime(int directory_fd, struct error *reterr)
{
    struct search search = {0};
    enum error_code code = search_directory(directory_fd, 0, &search, reterr);
    if (code || search.found)
        return code;
    /* Nothing to read: a nameless new file sets the ciphers up as well, and leaves nothing behind. */
    _cleanup_(close_fdp) int fd = openat(directory_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 && errno != EROFS && errno != ENOSPC && errno != EDQUOT)
        return prime_error(reterr, errno, "cannot try an encrypted file");
    return OK;
}
