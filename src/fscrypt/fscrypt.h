/*
 * The kernel's fscrypt: one function per ioctl, errno turned into a remedy. Version 2 policies only:
 * AES-256-XTS contents, AES-256-CTS names, padding 32, one master key per vault. IV_INO_LBLK flags are never
 * set.
 */
#pragma once
#include "secret/secret.h"

#define FSCRYPT_MASTER_KEY_SIZE 64

struct fscrypt_identifier {
    uint8_t bytes[16]; /* FSCRYPT_KEY_IDENTIFIER_SIZE */
};
struct fscrypt_nonce {
    uint8_t bytes[16];
};

enum fscrypt_key_state { FSCRYPT_KEY_ABSENT, FSCRYPT_KEY_PRESENT, FSCRYPT_KEY_INCOMPLETELY_REMOVED };

/* Add the master key to the filesystem that fd lies on. The identifier the kernel computed is returned. */
must_check enum error_code fscrypt_add_key(int fd, const struct secret *master_key,
                                           struct fscrypt_identifier *ret_identifier, struct error *reterr);

/* Remove it for all users. *ret_busy is set when files in use keep their own keys (the key state is then
 * INCOMPLETELY_REMOVED). A key that is absent already is OK. */
enum fscrypt_removal { FSCRYPT_REMOVED, FSCRYPT_REMOVED_BUSY, FSCRYPT_WAS_ABSENT };
must_check enum error_code fscrypt_remove_key(int fd, const struct fscrypt_identifier *identifier,
                                              enum fscrypt_removal *ret_removal, struct error *reterr);

must_check enum error_code fscrypt_key_state(int fd, const struct fscrypt_identifier *identifier,
                                             enum fscrypt_key_state *ret_state, struct error *reterr);

/* Set the v2 policy on an empty directory. ERR_UNSUPPORTED with how to enable the feature, ERR_EXISTS another
 * policy. */
must_check enum error_code fscrypt_set_policy(int directory_fd, const struct fscrypt_identifier *identifier,
                                              struct error *reterr);

/* Read the policy of an open file or directory (no key needed). *ret_state tells none, one of husk's form, or
 * a foreign one. */
enum fscrypt_policy_state { FSCRYPT_PLAIN, FSCRYPT_HUSK_POLICY, FSCRYPT_FOREIGN_POLICY };
must_check enum error_code fscrypt_get_policy(int fd, enum fscrypt_policy_state *ret_state,
                                              struct fscrypt_identifier *ret_identifier,
                                              struct error *reterr);

/* The nonce of an encrypted file or directory (no key needed). */
must_check enum error_code fscrypt_get_nonce(int fd, struct fscrypt_nonce *ret_nonce, struct error *reterr);

/* Have the kernel look up what it derives keys with, which runs modprobe four times where nobody added a key
 * since the system started: by adding a key drawn at random, and removing it. Blocks meanwhile. */
must_check enum error_code fscrypt_prime_derivation(int fd, struct error *reterr);

/* Read one name and one block of an unlocked directory so that every cipher is loaded now (kernel-facts). */
must_check enum error_code fscrypt_prime(int directory_fd, struct error *reterr);
