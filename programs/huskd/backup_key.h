/* The key that backups are sealed to: made where a person is, so that the authority never sees the private
 * half. */
#pragma once
#include "base/error.h"
#include "crypto/hpke.h"
#include "out_file.h"

/* Draw a key and write its private half, 32 bytes, to the new file name: for the caller to finish. */
must_check enum error_code backup_key_make(const char *name, uint8_t ret_public[HPKE_KEY_SIZE],
                                           struct out_file *ret_file, struct error *reterr);

/* Read such a file. */
must_check enum error_code backup_key_read(const char *name, struct secret **ret_key, struct error *reterr);
