/* In the kernel's keyring: it is not swapped out and dies with the boot. */
#include <errno.h>
#include <linux/keyctl.h>
#include <sys/syscall.h>

#include "unlock/kept.h"

#define KEPT_TYPE "user"
enum { DESCRIPTION_SIZE = 128 };

static long keyctl(int operation, unsigned long first, unsigned long second, unsigned long third,
                   unsigned long fourth)
{
    return syscall(SYS_keyctl, operation, first, second, third, fourth);
}

/* Keys that can be reached from the process's own keyring are its to read. */
static bool reach_keyring(void)
{
    return keyctl(KEYCTL_LINK, (unsigned long)KEY_SPEC_USER_KEYRING, (unsigned long)KEY_SPEC_PROCESS_KEYRING,
                  0, 0) == 0;
}

/* By the boot, for only that gets an answer, and the authority. */
static bool describe(struct client *client, const struct client_pin *pin, char text[DESCRIPTION_SIZE])
{
    uint8_t boot[CLIENT_ID_SIZE];
    if (client_boot_id(client, boot, NULL))
        return false;
    snprintf(text, DESCRIPTION_SIZE, "husk:request:%s:%s", client_id_shown(boot), client_id_shown(pin->id));
    return true;
}

static long find(struct client *client, const struct client_pin *pin)
{
    char description[DESCRIPTION_SIZE];
    return describe(client, pin, description) && reach_keyring()
               ? keyctl(KEYCTL_SEARCH, (unsigned long)KEY_SPEC_USER_KEYRING, (unsigned long)KEPT_TYPE,
                        (unsigned long)description, 0)
               : -1;
}

void kept_put(struct client *client, const struct client_pin *pin, const struct secret *bytes,
              unsigned timeout_s)
{
    char description[DESCRIPTION_SIZE];
    if (!describe(client, pin, description) || !reach_keyring())
        return;
    long key =
        syscall(SYS_add_key, KEPT_TYPE, description, bytes->bytes, bytes->length, KEY_SPEC_USER_KEYRING);
    if (key >= 0)
        (void)keyctl(KEYCTL_SET_TIMEOUT, (unsigned long)key, timeout_s, 0, 0);
}

enum error_code kept_get(struct client *client, const struct client_pin *pin, struct secret **ret_bytes)
{
    _cleanup_(secret_freep) struct secret *bytes = NULL;
    const long key = find(client, pin);
    const long length = key < 0 ? -1 : keyctl(KEYCTL_READ, (unsigned long)key, 0, 0, 0);
    if (length <= 0 || length > KEPT_MAXIMUM || secret_new((size_t)length, &bytes, NULL))
        return ERR_NOT_FOUND;
    if (keyctl(KEYCTL_READ, (unsigned long)key, (unsigned long)bytes->bytes, bytes->length, 0) != length)
        return ERR_NOT_FOUND;
    *ret_bytes = TAKE(bytes);
    return OK;
}

void kept_drop(struct client *client, const struct client_pin *pin)
{
    const long key = find(client, pin);
    if (key >= 0)
        (void)keyctl(KEYCTL_INVALIDATE, (unsigned long)key, 0, 0, 0);
}
