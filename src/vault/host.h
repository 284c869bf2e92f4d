/* The bytes of host.json, pure. */
#pragma once
#include "vault/vault.h"

#define HOST_FORMAT_VERSION 1
#define HOST_FILE_MAXIMUM ((size_t)4 << 20)
#define HOST_KEYFILES_MAXIMUM 64

/* ERR_CORRUPT, ERR_TOO_NEW. Free with host_record_done. */
must_check enum error_code host_record_parse(const char *text, size_t length, struct host_record *ret_record,
                                             struct error *reterr);
must_check enum error_code host_record_format(const struct host_record *record, struct buffer *text,
                                              struct error *reterr);
