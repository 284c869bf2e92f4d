/*
 * The bytes of vault.json: parsing, checking and writing, pure. The outside is
 *   {"version":1,"body":"TEXT","mac":"64 hexadecimal digits"}
 * and TEXT is itself a JSON object, kept as text because its bytes are what the MAC is over:
 *   {"name","id","created","filesystem","policy":{"contents","names","padding","identifier"},
 *    "born_encrypted","protected_since","sequence",
 *    "keyslots":[{"id","kind","created","removed","exported"}],"keyslots_forgotten",
 *    "directories":[{"path","nonce"}],"symlinks":[{"path","target","uid","gid","mode"}],"authorities":[ID]}
 * An authority's id is the fingerprint of its root. Times are seconds since 1970, 0 for never. A member this
 * version does not know is an error: whoever adds one raises the version, because this husk would lose it at
 * the next write.
 */
#pragma once
#include "vault/vault.h"

#define VAULT_FORMAT_VERSION 1
#define VAULT_FILE_NAME "vault.json"
#define VAULT_FILE_MAXIMUM ((size_t)8 << 20)
#define VAULT_PATH_MAXIMUM 4095
/* The only policy there is in this version. */
#define VAULT_CONTENTS_CIPHER "AES-256-XTS"
#define VAULT_NAMES_CIPHER "AES-256-CTS"
#define VAULT_NAMES_PADDING 32

/* Fill the members of *vault that come from vault.json; it may not have any yet. On failure they are all
 * empty again. directory_name is the name of the directory the file lies in. ERR_CORRUPT, ERR_TOO_NEW. */
must_check enum error_code vault_header_parse(const char *text, size_t length, const char *directory_name,
                                              struct vault *vault, struct error *reterr);

/* Append the body of a vault; append the file for a body and its MAC. */
must_check enum error_code vault_body_format(const struct vault *vault, struct buffer *body,
                                             struct error *reterr);
must_check enum error_code vault_file_format(const struct buffer *body, const uint8_t mac[32],
                                             struct buffer *file, struct error *reterr);

/* Free and empty what vault_header_parse filled. */
void vault_header_done(struct vault *vault);

/* Free the elements and the array. */
void vault_directories_free(struct vault_directory *directories, size_t count);
void vault_symlinks_free(struct vault_symlink *symlinks, size_t count);

/* Everything that must hold of a vault's content before it is used or written; one table (check.c). */
must_check enum error_code vault_check(const struct vault *vault, const char *directory_name,
                                       struct error *reterr);
/* The path of a protected directory: relative, every component a name, none "." or "..". */
bool vault_path_is_valid(const char *path);
