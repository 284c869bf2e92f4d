#include "player.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"

static struct descriptor authority;

enum error_code player_start(const char *descriptor_path, struct error *reterr)
{
    uint8_t bytes[DESCRIPTOR_MAXIMUM];
    _cleanup_(close_fdp) int fd = open(descriptor_path, O_RDONLY | O_CLOEXEC);
    const ssize_t length = fd < 0 ? -1 : read(fd, bytes, sizeof(bytes));
    return length < 0 ? error_set(reterr, ERR_FAILED, errno, "cannot read %s", descriptor_path)
                      : descriptor_parse(bytes, (size_t)length, NULL, &authority, reterr);
}

static void draw(uint64_t number, const char *what, uint8_t *out, size_t length)
{
    char text[64];
    snprintf(text, sizeof(text), "husk load %s %llu", what, (unsigned long long)number);
    crypto_generichash(out, length, (const uint8_t *)text, strlen(text), NULL, 0);
}

void player_of(uint64_t number, struct player *ret_player)
{
    uint8_t ids[64], hash[crypto_core_ristretto255_HASHBYTES];
    *ret_player = (struct player){.number = number};
    snprintf(ret_player->name, sizeof(ret_player->name), "load-%07llu", (unsigned long long)number);
    draw(number, "ids", ids, sizeof(ids));
    memcpy(ret_player->id, ids, PLAYER_ID_SIZE);
    const uint64_t order = htobe64(number); /* as clerk_draw_id does it */
    memcpy(ret_player->id, &order, sizeof(order));
    memcpy(ret_player->keyslot, ids + 16, PLAYER_ID_SIZE);
    memcpy(ret_player->vault, ids + 32, PLAYER_ID_SIZE);
    memcpy(ret_player->boot, ids + 48, PLAYER_ID_SIZE);
    draw(0, "point", hash, sizeof(hash));
    crypto_core_ristretto255_from_hash(ret_player->blinded, hash);
}

enum error_code player_identity(const struct player *player, struct secret **ret_identity,
                                struct error *reterr)
{
    enum error_code code = secret_new(HPKE_KEY_SIZE, ret_identity, reterr);
    if (!code)
        draw(player->number, "identity", (*ret_identity)->bytes, HPKE_KEY_SIZE);
    return code;
}

static enum error_code add(json_t *message, json_t *more, struct error *reterr)
{
    uint8_t id[PLAYER_ID_SIZE];
    randombytes_buf(id, sizeof(id));
    if (!message || !more || json_object_update(message, more) != 0)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    return json_set_hex(message, "id", id, sizeof(id), reterr);
}

enum error_code player_seal(const struct player *player, const char *type, json_t *more, struct buffer *wire,
                            struct hpke_context **ret_context, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *identity = NULL;
    _cleanup_(json_freep) json_t *message = json_pack("{s:s}", "type", type), *taken = more;
    enum error_code code = add(message, taken, reterr);
    if (!code)
        code = player_identity(player, &identity, reterr);
    return code ? code
                : message_seal(message, authority.message_key, identity, player->id, wire, ret_context,
                               reterr);
}

static json_t *hex_of(const uint8_t *bytes, size_t length)
{
    char text[2 * OPRF_ELEMENT_SIZE + 1];
    text_format_hex(text, bytes, length);
    return json_string(text);
}

/* As husk fills them in. */
static json_t *facts(void)
{
    static const char hash[] = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    return json_pack("{s:s, s:s, s:s, s:s}", "kernel", "6.1.0-18-cloud-amd64", "kernel_hash", hash,
                     "initramfs_hash", hash, "cmdline_hash", hash);
}

json_t *player_open(const struct player *player)
{
    return json_pack("{s:o, s:b, s:o, s:[{s:o, s:o}], s:i}", "boot", hex_of(player->boot, PLAYER_ID_SIZE),
                     "planned", 0, "facts", facts(), "open", "keyslot",
                     hex_of(player->keyslot, PLAYER_ID_SIZE), "blinded",
                     hex_of(player->blinded, OPRF_ELEMENT_SIZE), "wait_s", 0);
}

json_t *player_poll(const struct player *player, int wait_s)
{
    return json_pack("{s:o, s:i}", "boot", hex_of(player->boot, PLAYER_ID_SIZE), "wait_s", wait_s);
}

json_t *player_heartbeat(const struct player *player, const char *nonce, const char *lineage)
{
    return json_pack("{s:o, s:s, s:s*, s:o, s:i}", "boot", hex_of(player->boot, PLAYER_ID_SIZE), "nonce",
                     nonce, "lineage", *lineage ? lineage : NULL, "facts", facts(), "descriptor_sequence", 1);
}
