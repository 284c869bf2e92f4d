#include "authority/keyring_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/text.h"
#include "crypto/kdf.h"
#include "destroy/destroy.h"

#define KEYRING_MAGIC "huskring"
#define KEYRING_LABEL "husk keyring v1"

enum { VERSION = 1, HOLDER_SIZE = 32, FILE_MAXIMUM = 1 << 20, NAME_SIZE = 320 };
enum { SEALED_BY_NOTHING = 0, SEALED_BY_FILE = 1 };

struct __attribute__((packed)) header {
    char magic[8];
    uint32_t version;
    uint32_t sealed_by;
    uint64_t generation;
};
_Static_assert(sizeof(struct header) == 24, "keyring_file.h");

/* Split the holder's path: its directory, opened, and its name. */
static enum error_code open_holder(const struct keyring_place *place, int *ret_directory_fd,
                                   const char **ret_name, struct error *reterr)
{
    const char *slash = strrchr(place->holder, '/');
    _cleanup_(freep) char *directory =
        slash ? strndup(place->holder, slash == place->holder ? 1 : (size_t)(slash - place->holder))
              : strdup(".");
    const char *name = slash ? slash + 1 : place->holder;
    if (!directory)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    if (!*name || strlen(name) > 128)
        return error_set(reterr, ERR_USAGE, 0, "the holder is no file's name: %s", text_shown(place->holder));
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        const int os_errno = errno;
        error_set(reterr, ERR_FAILED, os_errno, "cannot open %s, where the holder lies",
                  text_shown(directory));
        return error_remedy(reterr, "mount the medium that holds the file, and try again");
    }
    *ret_directory_fd = fd;
    *ret_name = name;
    return OK;
}

static void format_name(char name[NAME_SIZE], const char *base, uint64_t generation)
{
    snprintf(name, NAME_SIZE, "%s.%llu", base, (unsigned long long)generation);
}

static enum error_code read_secret(int directory_fd, const char *name, size_t least, size_t most,
                                   struct secret **ret_secret, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = openat(directory_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        const int os_errno = errno;
        return error_set(reterr, os_errno == ENOENT ? ERR_NOT_FOUND : ERR_FAILED, os_errno, "cannot open %s",
                         text_shown(name));
    }
    return secret_read_fd(fd, least, most, name, ret_secret, reterr);
}

/* The key that seals a generation, from the holder's file or, without one, known to all. */
static enum error_code derive_key(const struct secret *holder, struct secret **ret_key, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *zeros = NULL;
    enum error_code code = holder ? OK : secret_new(HOLDER_SIZE, &zeros, reterr);
    return code ? code
                : kdf_hkdf_sha256(holder ? holder : zeros, NULL, 0, KEYRING_LABEL, AEAD_KEY_SIZE, ret_key,
                                  reterr);
}

bool keyring_has_holder_elsewhere(const struct keyring_place *place)
{
    _cleanup_(close_fdp) int fd = -1;
    struct stat here, there;
    const char *base;
    return place->holder && open_holder(place, &fd, &base, NULL) == OK && fstat(fd, &there) == 0 &&
           fstat(place->directory_fd, &here) == 0 && here.st_dev != there.st_dev;
}

static enum error_code write_holder(const struct keyring_place *place, uint64_t generation,
                                    struct secret **ret_holder, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    _cleanup_(secret_freep) struct secret *holder = NULL;
    const char *base;
    char name[NAME_SIZE];
    enum error_code code = open_holder(place, &fd, &base, reterr);
    if (!code)
        code = secret_new_random(HOLDER_SIZE, &holder, reterr);
    if (code)
        return code;
    format_name(name, base, generation);
    code = file_write_durable(fd, name, 0600, holder->bytes, holder->length, reterr);
    if (!code)
        *ret_holder = TAKE(holder);
    return code;
}

enum error_code keyring_file_write(const struct keyring_place *place, uint64_t generation,
                                   const struct secret *payload, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *holder = NULL, *key = NULL;
    _cleanup_(freep) uint8_t *bytes = NULL;
    char name[NAME_SIZE];
    const struct header header = {
        .magic = KEYRING_MAGIC,
        .version = htole32(VERSION),
        .sealed_by = htole32(place->holder ? SEALED_BY_FILE : SEALED_BY_NOTHING),
        .generation = htole64(generation),
    };
    const size_t length = sizeof(header) + AEAD_NONCE_SIZE + payload->length + AEAD_TAG_SIZE;
    enum error_code code = place->holder ? write_holder(place, generation, &holder, reterr) : OK;
    if (!code)
        code = derive_key(holder, &key, reterr);
    if (code)
        return code;
    bytes = malloc(length);
    if (!bytes)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    memcpy(bytes, &header, sizeof(header));
    code = aead_seal(key, &header, sizeof(header), payload, bytes + sizeof(header),
                     bytes + sizeof(header) + AEAD_NONCE_SIZE, reterr);
    format_name(name, "keyring", generation);
    if (!code)
        code = file_write_durable(place->directory_fd, name, 0600, bytes, length, reterr);
    return code;
}

static enum error_code read_holder(const struct keyring_place *place, uint64_t generation,
                                   struct secret **ret_holder, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    const char *base;
    char name[NAME_SIZE];
    enum error_code code = open_holder(place, &fd, &base, reterr);
    if (code)
        return code;
    format_name(name, base, generation);
    code = read_secret(fd, name, HOLDER_SIZE, HOLDER_SIZE, ret_holder, reterr);
    if (code == ERR_USAGE)
        return error_set(reterr, ERR_CORRUPT, 0, "the holder %s has not the size of one", text_shown(name));
    return code ? error_prefix(reterr, "the holder") : OK;
}

static enum error_code check_header(const struct keyring_place *place, uint64_t generation,
                                    const struct secret *file, struct error *reterr)
{
    struct header header;
    memcpy(&header, file->bytes, sizeof(header));
    if (memcmp(header.magic, KEYRING_MAGIC, sizeof(header.magic)) != 0 ||
        le64toh(header.generation) != generation || le32toh(header.sealed_by) > SEALED_BY_FILE)
        return error_set(reterr, ERR_CORRUPT, 0, "keyring.%llu is no keyring",
                         (unsigned long long)generation);
    if (le32toh(header.version) > VERSION)
        return error_set(reterr, ERR_TOO_NEW, 0, "the keyring was written by a newer huskd");
    if (le32toh(header.sealed_by) == SEALED_BY_FILE && !place->holder)
        return error_set(reterr, ERR_USAGE, 0, "the keyring is sealed under a holder, and none is given");
    if (le32toh(header.sealed_by) == SEALED_BY_NOTHING && place->holder)
        return error_set(reterr, ERR_USAGE, 0, "a holder is given, and the keyring is not sealed under one");
    return OK;
}

enum error_code keyring_file_read(const struct keyring_place *place, uint64_t generation,
                                  struct secret **ret_payload, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *file = NULL, *holder = NULL, *key = NULL;
    char name[NAME_SIZE];
    const size_t overhead = sizeof(struct header) + AEAD_NONCE_SIZE;
    format_name(name, "keyring", generation);
    enum error_code code =
        read_secret(place->directory_fd, name, overhead + AEAD_TAG_SIZE + 1, FILE_MAXIMUM, &file, reterr);
    if (code == ERR_USAGE)
        return error_set(reterr, ERR_CORRUPT, 0, "%s has not the size of a keyring", name);
    if (!code)
        code = check_header(place, generation, file, reterr);
    if (!code && place->holder)
        code = read_holder(place, generation, &holder, reterr);
    if (!code)
        code = derive_key(holder, &key, reterr);
    if (!code)
        code = aead_open(key, file->bytes, sizeof(struct header), file->bytes + sizeof(struct header),
                         file->bytes + overhead, file->length - overhead, ret_payload, reterr);
    if (code != ERR_WRONG_KEY)
        return code;
    return place->holder ? error_set(reterr, ERR_WRONG_KEY, 0, "the holder does not open the keyring")
                         : error_set(reterr, ERR_CORRUPT, 0, "%s is not as it was written", name);
}

static enum error_code holder_is_away(const char *name, struct error *reterr)
{
    error_set(reterr, ERR_FAILED, 0, "the holder %s is not there, so this is not its medium",
              text_shown(name));
    return error_remedy(reterr, "mount the medium that holds the file, and try again");
}

enum error_code keyring_check_holder(const struct keyring_place *place, uint64_t generation,
                                     struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    const char *base;
    char name[NAME_SIZE];
    format_name(name, "keyring", generation);
    if (!place->holder || faccessat(place->directory_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
        return OK; /* that of a backup */
    enum error_code code = open_holder(place, &fd, &base, reterr);
    if (code)
        return code;
    format_name(name, base, generation);
    return faccessat(fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ? OK : holder_is_away(name, reterr);
}

struct destruction {
    int directory_fd;
    const char *base;
    char kept[NAME_SIZE];
    enum error_code first;
    struct error *reterr;
};

/* "BASE.digits", or what writing one left: ".BASE.digits.new". */
static bool is_one_of(const char *name, const char *base)
{
    const bool is_temporary = name[0] == '.';
    const size_t length = strlen(base);
    name += is_temporary;
    if (strncmp(name, base, length) != 0 || name[length] != '.')
        return false;
    name += length + 1;
    const size_t digits = strspn(name, "0123456789");
    return digits > 0 && !strcmp(name + digits, is_temporary ? ".new" : "");
}

struct search {
    int directory_fd;
    const char *base;
    char found[NAME_SIZE];
};

static enum error_code find_others(const char *name, void *context, struct error *reterr)
{
    (void)reterr;
    struct search *search = context;
    char keyring[NAME_SIZE];
    if (name[0] == '.' || !is_one_of(name, search->base))
        return OK;
    snprintf(keyring, sizeof(keyring), "keyring%s", name + strlen(search->base));
    if (faccessat(search->directory_fd, keyring, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
        snprintf(search->found, sizeof(search->found), "%s", name);
    return OK;
}

enum error_code keyring_check_holder_is_free(const struct keyring_place *place, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    struct search search = {.directory_fd = place->directory_fd};
    if (!place->holder)
        return OK;
    enum error_code code = open_holder(place, &fd, &search.base, reterr);
    if (!code)
        code = directory_list(fd, find_others, &search, reterr);
    if (code || !search.found[0])
        return code;
    error_set(reterr, ERR_EXISTS, 0, "the holder %s is there already: another authority may need it",
              text_shown(search.found));
    return error_remedy(reterr, "name another file with --holder; where that authority has gone for good, or "
                                "the file is of a try that was cut short, destroy it first (shred -u)");
}

static enum error_code destroy_other(const char *name, void *context, struct error *reterr)
{
    (void)reterr;
    struct destruction *destruction = context;
    struct destroy_result result;
    struct error error = ERROR_NONE;
    if (!is_one_of(name, destruction->base) || !strcmp(name, destruction->kept))
        return OK;
    enum error_code code = destroy_contents(destruction->directory_fd, name, &result, &error);
    if (code && !destruction->first) {
        destruction->first = code;
        if (destruction->reterr)
            *destruction->reterr = error;
        error_prefix(destruction->reterr, "cannot destroy %s", text_shown(name));
    }
    return OK;
}

/* All are tried; the first error is told. */
static enum error_code destroy_in(int directory_fd, const char *base, uint64_t generation,
                                  struct error *reterr)
{
    struct destruction destruction = {.directory_fd = directory_fd, .base = base, .reterr = reterr};
    format_name(destruction.kept, base, generation);
    enum error_code code = directory_list(directory_fd, destroy_other, &destruction, reterr);
    return code ? code : destruction.first;
}

enum error_code keyring_destroy_others(const struct keyring_place *place, uint64_t generation,
                                       struct error *reterr)
{
    _cleanup_(close_fdp) int holder_fd = -1;
    const char *base;
    const int injected = fault("authority.keyring.destroy");
    if (injected)
        return error_set(reterr, ERR_FAILED, injected, "cannot destroy the earlier keyring");
    enum error_code code = destroy_in(place->directory_fd, "keyring", generation, reterr);
    if (!place->holder)
        return code;
    struct error holder_error = ERROR_NONE;
    enum error_code holder_code = open_holder(place, &holder_fd, &base, &holder_error);
    if (!holder_code)
        holder_code = keyring_check_holder(place, generation, &holder_error);
    if (!holder_code)
        holder_code = destroy_in(holder_fd, base, generation, &holder_error);
    if (!code && holder_code && reterr)
        *reterr = holder_error;
    return code ? code : holder_code;
}
