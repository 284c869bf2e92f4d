/*
 * What dies with the boot. /run is a tmpfs nearly everywhere; where it is not, the kernel's own boot id in
 * the file tells that a boot has come between. The kernel's is never the boot id itself: several hosts may
 * run on one kernel.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>

#include "base/file.h"
#include "base/text.h"
#include "client/files.h"
#include "client/wire.h"

#define RUN_PATH "/run"
#define RUNTIME_NAME "husk"
#define BOOT_NAME "boot"
#define KERNEL_BOOT_PATH "/proc/sys/kernel/random/boot_id"
enum { KERNEL_BOOT_SIZE = 36 };

/* Making syncs the directory above, which is not needed every time. */
static enum error_code open_or_make(int directory_fd, const char *name, int *ret_fd, struct error *reterr)
{
    enum error_code code = directory_open(directory_fd, name, ret_fd, reterr);
    return code == ERR_NOT_FOUND ? directory_make(directory_fd, name, 0700, ret_fd, reterr) : code;
}

enum error_code client_open_runtime(struct client *client, struct error *reterr)
{
    _cleanup_(close_fdp) int run_fd = -1, husk_fd = -1;
    char name[40];
    if (client->runtime_fd >= 0)
        return OK;
    snprintf(name, sizeof(name), "%llx-%llx", (unsigned long long)client->device,
             (unsigned long long)client->inode);
    enum error_code code = directory_open(AT_FDCWD, RUN_PATH, &run_fd, reterr);
    if (!code)
        code = open_or_make(run_fd, RUNTIME_NAME, &husk_fd, reterr);
    return code ? code : open_or_make(husk_fd, name, &client->runtime_fd, reterr);
}

enum error_code client_lock(struct client *client, const char *name, int *ret_fd, struct error *reterr)
{
    enum error_code code = client_open_runtime(client, reterr);
    if (code)
        return code;
    _cleanup_(close_fdp) int fd =
        openat(client->runtime_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot open %s", name);
    while (flock(fd, LOCK_EX) < 0)
        if (errno != EINTR)
            return error_set(reterr, ERR_FAILED, errno, "cannot lock %s", name);
    *ret_fd = TAKE_FD(fd);
    return OK;
}

static void read_kernel_boot(char text[KERNEL_BOOT_SIZE + 1])
{
    _cleanup_(close_fdp) int fd = open(KERNEL_BOOT_PATH, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, KERNEL_BOOT_SIZE);
    text[got < 0 ? 0 : got] = '\0';
}

/* "KERNEL'S ID OWN ID\n" */
static enum error_code parse(const struct buffer *text, const char *kernel, uint8_t ret_boot[CLIENT_ID_SIZE])
{
    size_t length = strlen(kernel);
    char digits[CLIENT_ID_TEXT_SIZE];
    if (text->length != length + 1 + 2 * CLIENT_ID_SIZE + 1 || memcmp(text->data, kernel, length) != 0)
        return ERR_CORRUPT;
    snprintf(digits, sizeof(digits), "%.*s", 2 * CLIENT_ID_SIZE, text->data + length + 1);
    return text_parse_hex(digits, ret_boot, CLIENT_ID_SIZE, NULL);
}

static enum error_code draw(struct client *client, const char *kernel, uint8_t ret_boot[CLIENT_ID_SIZE],
                            struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    uint8_t boot[CLIENT_ID_SIZE];
    if (getrandom(boot, sizeof(boot), 0) != (ssize_t)sizeof(boot))
        return error_set(reterr, ERR_FAILED, errno, "cannot draw random bytes");
    enum error_code code = buffer_printf(&text, reterr, "%s %s\n", kernel, client_id_shown(boot));
    if (!code)
        code = file_write_durable(client->runtime_fd, BOOT_NAME, 0600, text.data, text.length, reterr);
    if (!code)
        memcpy(ret_boot, boot, sizeof(boot));
    return code;
}

static enum error_code find_boot_id(struct client *client, uint8_t ret_boot[CLIENT_ID_SIZE],
                                    struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    _cleanup_(close_fdp) int lock_fd = -1;
    char kernel[KERNEL_BOOT_SIZE + 1];
    read_kernel_boot(kernel);
    enum error_code code = client_open_runtime(client, reterr);
    if (code)
        return code;
    for (int locked = 0; locked < 2; locked++) {
        if (file_read(client->runtime_fd, BOOT_NAME, 256, &text, NULL) == OK &&
            parse(&text, kernel, ret_boot) == OK)
            return OK;
        buffer_done(&text);
        if (!locked && (code = client_lock(client, "boot.lock", &lock_fd, reterr)))
            return code;
    }
    return draw(client, kernel, ret_boot, reterr);
}

enum error_code client_boot_id(struct client *client, uint8_t ret_boot[CLIENT_ID_SIZE], struct error *reterr)
{
    if (!client->has_boot) {
        enum error_code code = find_boot_id(client, client->boot, reterr);
        if (code)
            return code;
        client->has_boot = true;
    }
    memcpy(ret_boot, client->boot, sizeof(client->boot));
    return OK;
}

enum error_code client_set_boot(struct client *client, json_t *message, struct error *reterr)
{
    uint8_t boot[CLIENT_ID_SIZE];
    enum error_code code = client_boot_id(client, boot, reterr);
    return code ? code : json_set_hex(message, "boot", boot, sizeof(boot), reterr);
}

#define NONCE_NAME_SIZE (CLIENT_ID_TEXT_SIZE + 8)

static void name_nonce(const struct client_pin *pin, char name[NONCE_NAME_SIZE])
{
    snprintf(name, NONCE_NAME_SIZE, "%s.nonce", client_id_shown(pin->id));
}

void client_nonce_get(struct client *client, const struct client_pin *pin, uint8_t ret_nonce[CLIENT_ID_SIZE])
{
    char name[NONCE_NAME_SIZE];
    uint8_t nonce[CLIENT_ID_SIZE];
    name_nonce(pin, name);
    _cleanup_(close_fdp) int fd =
        client->runtime_fd < 0 ? -1 : openat(client->runtime_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    /* The file first: another husk may have talked to the authority since. */
    if (fd >= 0 && read(fd, nonce, sizeof(nonce)) == CLIENT_ID_SIZE)
        memcpy(ret_nonce, nonce, sizeof(nonce));
    else if (pin->has_nonce)
        memcpy(ret_nonce, pin->nonce, sizeof(pin->nonce));
    else
        memset(ret_nonce, 0, CLIENT_ID_SIZE);
}

void client_nonce_put(struct client *client, struct client_pin *pin, const uint8_t nonce[CLIENT_ID_SIZE])
{
    char name[NONCE_NAME_SIZE];
    name_nonce(pin, name);
    pin->has_nonce = true;
    memcpy(pin->nonce, nonce, sizeof(pin->nonce));
    _cleanup_(close_fdp) int fd =
        client->runtime_fd < 0
            ? -1
            : openat(client->runtime_fd, name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd >= 0 && write(fd, nonce, CLIENT_ID_SIZE) != CLIENT_ID_SIZE)
        unlinkat(client->runtime_fd, name, 0);
}
