#include "authority/backup_file.h"

#include <endian.h>
#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "base/file.h"

#define BULK_MAGIC "huskbulk"
#define ENVELOPE_MAGIC "huskenvl"
enum { VERSION = 1, PIECE_SIZE = 65536, SEALED_KEY_SIZE = STREAM_KEY_SIZE + HPKE_TAG_SIZE };

struct __attribute__((packed)) envelope {
    char magic[8];
    uint32_t version, zero;
    uint8_t id[BACKUP_ID_SIZE];
    uint8_t root_fingerprint[DESCRIPTOR_FINGERPRINT_SIZE];
    uint64_t made_at_unix_s;
    uint8_t backup_key[HPKE_KEY_SIZE];
    uint8_t encapsulated[HPKE_ENCAPSULATED_SIZE];
    uint8_t sealed_key[SEALED_KEY_SIZE];
    uint8_t filling[BACKUP_ENVELOPE_SIZE - 168];
};
enum { INFO_SIZE = offsetof(struct envelope, encapsulated) };
_Static_assert(INFO_SIZE == 88 && sizeof(struct envelope) == BACKUP_ENVELOPE_SIZE, "backup_file.h");

enum error_code backup_envelope_seal(const struct backup_facts *facts, const struct secret *bulk_key,
                                     uint8_t ret_envelope[BACKUP_ENVELOPE_SIZE], struct error *reterr)
{
    struct hpke_context *context = NULL;
    struct envelope envelope = {.version = htole32(VERSION),
                                .made_at_unix_s = htole64((uint64_t)facts->made_at_unix_s)};
    memcpy(envelope.magic, ENVELOPE_MAGIC, sizeof(envelope.magic));
    memcpy(envelope.id, facts->id, sizeof(envelope.id));
    memcpy(envelope.root_fingerprint, facts->root_fingerprint, sizeof(envelope.root_fingerprint));
    memcpy(envelope.backup_key, facts->backup_key, sizeof(envelope.backup_key));
    randombytes_buf(envelope.filling, sizeof(envelope.filling));
    enum error_code code = hpke_setup_sender(facts->backup_key, NULL, &envelope, INFO_SIZE,
                                             envelope.encapsulated, &context, reterr);
    if (!code)
        code = hpke_seal(context, NULL, 0, bulk_key->bytes, STREAM_KEY_SIZE, envelope.sealed_key, reterr);
    hpke_context_free(context);
    if (!code)
        memcpy(ret_envelope, &envelope, sizeof(envelope));
    return code;
}

static enum error_code open_key(const struct envelope *envelope, const struct secret *backup_key,
                                struct secret **ret_bulk_key, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *bulk_key = NULL;
    struct hpke_context *context = NULL;
    uint8_t public_key[HPKE_KEY_SIZE];
    enum error_code code = hpke_public_key(backup_key, public_key, reterr);
    if (!code && memcmp(public_key, envelope->backup_key, sizeof(public_key)) != 0)
        code = error_set(reterr, ERR_WRONG_KEY, 0, "the envelope is for another backup key");
    if (!code)
        code = secret_new(STREAM_KEY_SIZE, &bulk_key, reterr);
    if (!code)
        code = hpke_setup_recipient(envelope->encapsulated, backup_key, NULL, envelope, INFO_SIZE, &context,
                                    reterr);
    if (!code &&
        hpke_open(context, NULL, 0, envelope->sealed_key, SEALED_KEY_SIZE, bulk_key->bytes, NULL) != OK)
        code = error_set(reterr, ERR_WRONG_KEY, 0, "the envelope is not as it was written");
    hpke_context_free(context);
    if (!code)
        *ret_bulk_key = TAKE(bulk_key);
    return code;
}

enum error_code backup_envelope_open(const void *bytes, size_t length, const struct secret *backup_key,
                                     struct backup_facts *ret_facts, struct secret **ret_bulk_key,
                                     struct error *reterr)
{
    struct envelope envelope;
    if (length != sizeof(envelope) || memcmp(bytes, ENVELOPE_MAGIC, sizeof(envelope.magic)) != 0)
        return error_set(reterr, ERR_CORRUPT, 0, "this is no envelope of a backup");
    memcpy(&envelope, bytes, sizeof(envelope));
    if (le32toh(envelope.version) != VERSION || envelope.zero != 0)
        return error_set(reterr, ERR_TOO_NEW, 0, "the envelope was written by a newer huskd");
    enum error_code code = open_key(&envelope, backup_key, ret_bulk_key, reterr);
    if (code)
        return code;
    *ret_facts = (struct backup_facts){.made_at_unix_s = (int64_t)le64toh(envelope.made_at_unix_s)};
    memcpy(ret_facts->id, envelope.id, sizeof(envelope.id));
    memcpy(ret_facts->root_fingerprint, envelope.root_fingerprint, sizeof(envelope.root_fingerprint));
    memcpy(ret_facts->backup_key, envelope.backup_key, sizeof(envelope.backup_key));
    return OK;
}

struct __attribute__((packed)) bulk_header {
    char magic[8];
    uint32_t version, zero;
    uint8_t id[BACKUP_ID_SIZE];
};

struct bulk {
    int fd;
    struct stream *stream;
    struct secret *plain; /* one piece */
    size_t filled, taken; /* of plain */
    bool is_first, is_last;
    struct bulk_header header;
    uint8_t sealed[PIECE_SIZE + STREAM_TAG_SIZE];
};

void bulk_free(struct bulk *bulk)
{
    if (!bulk)
        return;
    stream_free(bulk->stream);
    secret_free(bulk->plain);
    free(bulk);
}

static enum error_code bulk_new(int fd, const uint8_t *id, struct bulk **ret_bulk, struct error *reterr)
{
    struct bulk *bulk = calloc(1, sizeof(*bulk));
    if (!bulk)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    bulk->fd = fd;
    bulk->is_first = true;
    memcpy(bulk->header.magic, BULK_MAGIC, sizeof(bulk->header.magic));
    bulk->header.version = htole32(VERSION);
    memcpy(bulk->header.id, id, sizeof(bulk->header.id));
    enum error_code code = secret_new(PIECE_SIZE, &bulk->plain, reterr);
    if (code)
        bulk_free(bulk);
    else
        *ret_bulk = bulk;
    return code;
}

enum error_code bulk_write_begin(int fd, const uint8_t id[BACKUP_ID_SIZE], const struct secret *bulk_key,
                                 struct bulk **ret_bulk, struct error *reterr)
{
    _cleanup_(bulk_freep) struct bulk *bulk = NULL;
    uint8_t stream_header[STREAM_HEADER_SIZE];
    enum error_code code = bulk_new(fd, id, &bulk, reterr);
    if (!code)
        code = stream_begin_sealing(bulk_key, stream_header, &bulk->stream, reterr);
    if (!code)
        code = file_write_all(fd, &bulk->header, sizeof(bulk->header), reterr);
    if (!code)
        code = file_write_all(fd, stream_header, sizeof(stream_header), reterr);
    if (!code)
        *ret_bulk = TAKE(bulk);
    return code;
}

static size_t associated_length(struct bulk *bulk)
{
    const size_t length = bulk->is_first ? sizeof(bulk->header) : 0;
    bulk->is_first = false;
    return length;
}

static enum error_code put_piece(struct bulk *bulk, enum stream_piece piece, struct error *reterr)
{
    const size_t length = bulk->filled;
    bulk->filled = 0;
    enum error_code code = stream_seal(bulk->stream, piece, &bulk->header, associated_length(bulk),
                                       bulk->plain->bytes, length, bulk->sealed, reterr);
    return code ? code : file_write_all(bulk->fd, bulk->sealed, length + STREAM_TAG_SIZE, reterr);
}

enum error_code bulk_write(struct bulk *bulk, const void *bytes, size_t length, struct error *reterr)
{
    enum error_code code = OK;
    for (const uint8_t *at = bytes; !code && length > 0;) {
        const size_t room = PIECE_SIZE - bulk->filled, part = length < room ? length : room;
        memcpy(bulk->plain->bytes + bulk->filled, at, part);
        bulk->filled += part;
        at += part;
        length -= part;
        /* A full one waits: it may be the last. */
        if (bulk->filled == PIECE_SIZE && length > 0)
            code = put_piece(bulk, STREAM_MORE, reterr);
    }
    return code;
}

enum error_code bulk_write_end(struct bulk *bulk, struct error *reterr)
{
    return put_piece(bulk, STREAM_LAST, reterr);
}

/* As much as there is, up to length. */
static enum error_code read_some(int fd, void *bytes, size_t length, size_t *ret_length, struct error *reterr)
{
    size_t done = 0;
    while (done < length) {
        const ssize_t got = read(fd, (uint8_t *)bytes + done, length - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_set(reterr, ERR_FAILED, errno, "cannot read the bulk");
        if (got == 0)
            break;
        done += (size_t)got;
    }
    *ret_length = done;
    return OK;
}

static enum error_code read_header(struct bulk *bulk, uint8_t stream_header[STREAM_HEADER_SIZE],
                                   struct error *reterr)
{
    struct bulk_header header;
    size_t length = 0, stream_length = 0;
    enum error_code code = read_some(bulk->fd, &header, sizeof(header), &length, reterr);
    if (!code)
        code = read_some(bulk->fd, stream_header, STREAM_HEADER_SIZE, &stream_length, reterr);
    if (code)
        return code;
    if (stream_length != STREAM_HEADER_SIZE ||
        memcmp(header.magic, bulk->header.magic, sizeof(header.magic)) != 0)
        return error_set(reterr, ERR_CORRUPT, 0, "this is no bulk of a backup");
    if (le32toh(header.version) != VERSION || header.zero != 0)
        return error_set(reterr, ERR_TOO_NEW, 0, "the bulk was written by a newer huskd");
    return memcmp(header.id, bulk->header.id, sizeof(header.id)) == 0
               ? OK
               : error_set(reterr, ERR_CORRUPT, 0, "the bulk and the envelope are of different backups");
}

enum error_code bulk_read_begin(int fd, const uint8_t id[BACKUP_ID_SIZE], const struct secret *bulk_key,
                                struct bulk **ret_bulk, struct error *reterr)
{
    _cleanup_(bulk_freep) struct bulk *bulk = NULL;
    uint8_t stream_header[STREAM_HEADER_SIZE];
    enum error_code code = bulk_new(fd, id, &bulk, reterr);
    if (code || !bulk)
        return code;
    code = read_header(bulk, stream_header, reterr);
    if (!code)
        code = stream_begin_opening(bulk_key, stream_header, &bulk->stream, reterr);
    if (!code)
        *ret_bulk = TAKE(bulk);
    return code;
}

static enum error_code take_piece(struct bulk *bulk, struct error *reterr)
{
    size_t length = 0;
    enum stream_piece piece = STREAM_MORE;
    enum error_code code = read_some(bulk->fd, bulk->sealed, sizeof(bulk->sealed), &length, reterr);
    if (!code && stream_open(bulk->stream, &bulk->header, associated_length(bulk), bulk->sealed, length,
                             bulk->plain->bytes, &piece, NULL) != OK)
        code = error_set(reterr, ERR_CORRUPT, 0, "the bulk was cut short or changed");
    if (code)
        return code;
    bulk->filled = length - STREAM_TAG_SIZE;
    bulk->taken = 0;
    bulk->is_last = piece == STREAM_LAST;
    if (bulk->is_last)
        code = read_some(bulk->fd, bulk->sealed, 1, &length, reterr);
    return !code && bulk->is_last && length > 0
               ? error_set(reterr, ERR_CORRUPT, 0, "something follows the end of the bulk")
               : code;
}

enum error_code bulk_read(struct bulk *bulk, void *bytes, size_t length, size_t *ret_length,
                          struct error *reterr)
{
    size_t done = 0;
    while (done < length) {
        if (bulk->taken == bulk->filled) {
            if (bulk->is_last)
                break;
            enum error_code code = take_piece(bulk, reterr);
            if (code)
                return code;
            continue;
        }
        const size_t left = bulk->filled - bulk->taken, part = length - done < left ? length - done : left;
        memcpy((uint8_t *)bytes + done, bulk->plain->bytes + bulk->taken, part);
        bulk->taken += part;
        done += part;
    }
    *ret_length = done;
    return OK;
}
