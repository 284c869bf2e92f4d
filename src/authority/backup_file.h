/*
 * The two files of a backup. Without the envelope the bulk is noise; the envelope, with the private backup
 * key that is kept offline, opens everything this authority holds.
 *
 *     bulk      0    8   "huskbulk"
 *               8    4   version, 1, little-endian
 *               12   4   0
 *               16   16  id of the backup
 *               32   24  header of the stream (crypto/stream.h), then its pieces: each but the last seals
 *                        65,536 bytes, the first with bytes 0 to 31 associated. In them, one after the other:
 *                        generation (8), length of the keyring (4), the keyring, the database to the end
 *     envelope  0    8   "huskenvl"
 *               8    4   version, 1, little-endian
 *               12   4   0
 *               16   16  id of the backup
 *               32   16  fingerprint of the authority root
 *               48   8   when it was made, seconds since 1970, little-endian
 *               56   32  the public backup key
 *               88   32  enc of RFC 9180, mode base, bytes 0 to 87 as info
 *               120  48  the bulk's key, sealed
 *               168  ... random, to 4096
 */
#pragma once
#include "crypto/hpke.h"
#include "crypto/stream.h"
#include "message/descriptor.h"

#define BACKUP_ENVELOPE_SIZE 4096
#define BACKUP_ID_SIZE 16

struct backup_facts {
    uint8_t id[BACKUP_ID_SIZE];
    uint8_t root_fingerprint[DESCRIPTOR_FINGERPRINT_SIZE];
    int64_t made_at_unix_s;
    uint8_t backup_key[HPKE_KEY_SIZE]; /* public */
};

must_check enum error_code backup_envelope_seal(const struct backup_facts *facts,
                                                const struct secret *bulk_key,
                                                uint8_t ret_envelope[BACKUP_ENVELOPE_SIZE],
                                                struct error *reterr);
/* backup_key is the private one. ERR_CORRUPT when it is no envelope, ERR_TOO_NEW; ERR_WRONG_KEY when it is
 * for another key, or was changed. */
must_check enum error_code backup_envelope_open(const void *envelope, size_t length,
                                                const struct secret *backup_key,
                                                struct backup_facts *ret_facts, struct secret **ret_bulk_key,
                                                struct error *reterr);

/* Write or read the bulk, in pieces of any length, at a descriptor's position. Blocks. */
struct bulk;
must_check enum error_code bulk_write_begin(int fd, const uint8_t id[BACKUP_ID_SIZE],
                                            const struct secret *bulk_key, struct bulk **ret_bulk,
                                            struct error *reterr);
must_check enum error_code bulk_write(struct bulk *bulk, const void *bytes, size_t length,
                                      struct error *reterr);
must_check enum error_code bulk_write_end(struct bulk *bulk, struct error *reterr);

/* ERR_CORRUPT when it is no bulk or another backup's. */
must_check enum error_code bulk_read_begin(int fd, const uint8_t id[BACKUP_ID_SIZE],
                                           const struct secret *bulk_key, struct bulk **ret_bulk,
                                           struct error *reterr);
/* Up to length bytes; less only at the end, which is the one that was written. ERR_CORRUPT when it was cut
 * short or changed. What was read before is authentic. */
must_check enum error_code bulk_read(struct bulk *bulk, void *bytes, size_t length, size_t *ret_length,
                                     struct error *reterr);
void bulk_free(struct bulk *bulk); /* NULL is fine */
static inline void bulk_freep(struct bulk **bulk)
{
    bulk_free(*bulk);
    *bulk = NULL;
}
