/*
 * The files of a keyring: its payload sealed under the holder's file of the same generation. For keyring.c.
 *
 *     offset  bytes
 *     0       8      "huskring"
 *     8       4      version, 1, little-endian
 *     12      4      sealed by: 0 nothing (the key is known to all, only changes are found), 1 a file
 *     16      8      generation, little-endian
 *     24      24     nonce
 *     48      …      XChaCha20-Poly1305 of the payload, the first 24 bytes associated
 */
#pragma once
#include "authority/keyring.h"

must_check enum error_code keyring_file_write(const struct keyring_place *place, uint64_t generation,
                                              const struct secret *payload, struct error *reterr);
must_check enum error_code keyring_file_read(const struct keyring_place *place, uint64_t generation,
                                             struct secret **ret_payload, struct error *reterr);
