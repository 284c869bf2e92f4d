/*
 * Hashes of the kernels and images in /boot, kept so that a boot need not read all of them before it asks:
 * .husk/boot-files.json is {"version":1,"files":{"vmlinuz-6.1.0":{"stat":"INODE SIZE MTIME CTIME","hash"}}}.
 * A hash stands for the file only while all of that is the same. What can be wrong with that file, whatever
 * it is, makes a boot slower and no worse.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <time.h>

#include "base/file.h"
#include "base/sure.h"
#include "client/files.h"
#include "client/wire.h"

#define KEPT_NAME "boot-files.json"
#define BOOT_PATH "../boot"
/* In one tick of the clock a file can change again without another ctime: not kept before that is over. */
enum { KEPT_VERSION = 1, KEPT_MOST = 64, SETTLED_S = 2, PIECE_SIZE = 65536, FILE_MAXIMUM = 1 << 29 };
enum { STAT_TEXT_SIZE = 160 };

static bool is_kept_kind(const char *name)
{
    return !strncmp(name, CLIENT_KERNEL_PREFIX, strlen(CLIENT_KERNEL_PREFIX)) ||
           !strncmp(name, CLIENT_INITRAMFS_PREFIX, strlen(CLIENT_INITRAMFS_PREFIX));
}

/* An object of such names; empty where nothing can be used. */
static json_t *read_kept(const struct client *client)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    _cleanup_(json_freep) json_t *file = NULL;
    json_t *files = NULL;
    if (file_read(client->husk_fd, KEPT_NAME, CLIENT_FILE_MAXIMUM, &text, NULL) == OK &&
        json_parse_object(text.data, text.length, KEPT_NAME, &file, NULL) == OK &&
        json_check_version(file, KEPT_VERSION, KEPT_NAME, NULL) == OK &&
        json_get_object(file, "files", &files, NULL) == OK)
        return json_incref(files);
    return json_object();
}

static void write_kept(const struct client *client, json_t *files)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    _cleanup_(json_freep) json_t *file = json_object();
    if (json_set_new(file, "version", json_integer(KEPT_VERSION), NULL) == OK &&
        json_set_new(file, "files", json_incref(files), NULL) == OK && json_format(file, &text, NULL) == OK &&
        buffer_append(&text, "\n", 1, NULL) == OK)
        (void)!file_write_durable(client->husk_fd, KEPT_NAME, 0600, text.data, text.length, NULL);
}

/* Not the device: the next boot may number it otherwise, and the inode is of the filesystem of .husk. */
static void describe(const struct stat *status, char text[STAT_TEXT_SIZE])
{
    snprintf(text, STAT_TEXT_SIZE, "%" PRIuMAX " %" PRIdMAX " %" PRIdMAX ".%09ld %" PRIdMAX ".%09ld",
             (uintmax_t)status->st_ino, (intmax_t)status->st_size, (intmax_t)status->st_mtim.tv_sec,
             status->st_mtim.tv_nsec, (intmax_t)status->st_ctim.tv_sec, status->st_ctim.tv_nsec);
}

static bool find_kept(json_t *kept, const char *name, const struct stat *status,
                      uint8_t hash[CLIENT_HASH_SIZE])
{
    char text[STAT_TEXT_SIZE];
    json_t *item = json_object_get(kept, name);
    const char *noted = json_string_value(json_object_get(item, "stat"));
    describe(status, text);
    return noted && !strcmp(noted, text) && json_get_hex(item, "hash", hash, CLIENT_HASH_SIZE, NULL) == OK;
}

static bool open_file(int boot_fd, const char *name, int *ret_fd, struct stat *status)
{
    _cleanup_(close_fdp) int fd = openat(boot_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, status) < 0 || !S_ISREG(status->st_mode))
        return false;
    *ret_fd = TAKE_FD(fd);
    return true;
}

/* BLAKE2b, as b2sum -l 256 tells it: SHA-256 takes four times as long. False when the file cannot be read to
 * its end. */
static bool read_hash(int fd, uint8_t hash[CLIENT_HASH_SIZE])
{
    crypto_generichash_state state;
    uint8_t piece[PIECE_SIZE];
    ssize_t length = -1;
    sure(crypto_generichash_init(&state, NULL, 0, CLIENT_HASH_SIZE));
    for (int64_t total = 0; total < FILE_MAXIMUM && (length = read(fd, piece, sizeof(piece))) > 0;
         total += length)
        sure(crypto_generichash_update(&state, piece, (unsigned long long)length));
    sure(crypto_generichash_final(&state, hash, CLIENT_HASH_SIZE));
    return length == 0;
}

bool client_boot_file_hash(const struct client *client, const char *name, uint8_t ret_hash[CLIENT_HASH_SIZE])
{
    _cleanup_(close_fdp) int boot_fd = openat(client->husk_fd, BOOT_PATH, O_PATH | O_DIRECTORY | O_CLOEXEC);
    _cleanup_(close_fdp) int fd = -1;
    struct stat status;
    if (boot_fd < 0 || !open_file(boot_fd, name, &fd, &status))
        return false;
    _cleanup_(json_freep) json_t *kept = read_kept(client);
    return (status.st_dev == client->device && find_kept(kept, name, &status, ret_hash)) ||
           read_hash(fd, ret_hash);
}

struct keeping {
    int boot_fd;
    uint64_t device;
    const char *read_anyway; /* names that end so */
    json_t *before, *now;    /* owned */
};

static bool ends_with(const char *name, const char *end)
{
    const size_t length = strlen(name);
    return length >= strlen(end) && !strcmp(name + length - strlen(end), end);
}

/* As it was before and after it was read, and long enough ago: as twin copies are judged. */
static bool hash_settled(int fd, const struct stat *before, uint8_t hash[CLIENT_HASH_SIZE])
{
    struct timespec now;
    struct stat after;
    char texts[2][STAT_TEXT_SIZE];
    if (clock_gettime(CLOCK_REALTIME_COARSE, &now) < 0 || before->st_ctim.tv_sec + SETTLED_S >= now.tv_sec ||
        !read_hash(fd, hash) || fstat(fd, &after) < 0)
        return false;
    describe(before, texts[0]);
    describe(&after, texts[1]);
    return !strcmp(texts[0], texts[1]);
}

static enum error_code keep_one(const char *name, void *context, struct error *reterr)
{
    struct keeping *keeping = context;
    _cleanup_(close_fdp) int fd = -1;
    struct stat status;
    uint8_t hash[CLIENT_HASH_SIZE];
    char text[STAT_TEXT_SIZE];
    if (!is_kept_kind(name) || json_object_size(keeping->now) == KEPT_MOST ||
        !open_file(keeping->boot_fd, name, &fd, &status) || status.st_dev != keeping->device)
        return OK;
    const bool reads = keeping->read_anyway && ends_with(name, keeping->read_anyway);
    if ((reads || !find_kept(keeping->before, name, &status, hash)) && !hash_settled(fd, &status, hash))
        return OK;
    json_t *item = json_object();
    describe(&status, text);
    enum error_code code = json_set_new(item, "stat", json_string(text), reterr);
    if (!code)
        code = json_set_hex(item, "hash", hash, sizeof(hash), reterr);
    if (code) {
        json_decref(item);
        return code;
    }
    return json_set_new(keeping->now, name, item, reterr);
}

void client_boot_files_keep(const struct client *client, const char *read_anyway)
{
    _cleanup_(close_fdp) int boot_fd = -1;
    if (client->husk_fd < 0 || directory_open(client->husk_fd, BOOT_PATH, &boot_fd, NULL))
        return;
    struct keeping keeping = {boot_fd, client->device, read_anyway, read_kept(client), json_object()};
    if (keeping.before && keeping.now && directory_list(boot_fd, keep_one, &keeping, NULL) == OK &&
        !json_equal(keeping.before, keeping.now))
        write_kept(client, keeping.now);
    json_decref(keeping.before);
    json_decref(keeping.now);
}
