/*
 * The journal of a conversion: which directories, which way, how far. .husk/convert/NAME/journal.json,
 * replaced whole and durable before each step. It holds nothing but states and the paths of protected
 * directories. Not for other rooms.
 */
#pragma once
#include "convert/convert.h"

#define CONVERT_DIRECTORY "convert"
#define PLAINTEXT_DIRECTORY "plaintext"

/* The states of machine.c. */
enum convert_state { CONVERT_PLANNED, CONVERT_FROZEN, CONVERT_EXCHANGING, CONVERT_SCRUBBING, CONVERT_DONE };

struct convert_directory {
    char *path;                 /* owned; raw bytes, relative to the root of the filesystem */
    bool has_twin;              /* the twin was made; for protect its nonce is below */
    struct fscrypt_nonce nonce; /* of the encrypted side: the twin (protect) or the old tree (unprotect) */
    bool exchanged;             /* not in the file: its place holds the new side (exchange_look) */
    bool in_use; /* not in the file: something works in the old tree, so none of it is destroyed now */
    uint32_t
        root_flags; /* immutable and append-only of the old root, put on the new one after the exchange */
};

struct convert_journal {
    enum convert_state state;
    enum convert_direction direction;
    bool waits;  /* of a root: in scrubbing nothing is done until convert_commit takes this away. In the file
                    only where it is so */
    bool proven; /* scrubbing: every inode of the old trees has its verdict in the records */
    bool partly_overwritten; /* some old plaintext was deleted or moved away and not overwritten in place */
    struct vault_id vault;
    struct convert_directory *directories; /* owned; number N is the name of its twin and of its old tree */
    size_t count;
};

/* Static storage: "planned", "frozen", "exchanging", "scrubbing", "done". */
const char *convert_state_word(enum convert_state state);

/* Add a directory (path is copied). */
must_check enum error_code journal_add(struct convert_journal *journal, const char *path,
                                       struct error *reterr);

/* Parse and validate: states, count, paths. ERR_CORRUPT, ERR_TOO_NEW. */
must_check enum error_code journal_parse(const char *text, size_t length, struct convert_journal *ret_journal,
                                         struct error *reterr);
must_check enum error_code journal_format(const struct convert_journal *journal, struct buffer *text,
                                          struct error *reterr);

/* Read or durably write it in the open directory .husk/convert/NAME. ERR_NOT_FOUND. */
must_check enum error_code journal_read(int work_fd, struct convert_journal *ret_journal,
                                        struct error *reterr);
must_check enum error_code journal_write(int work_fd, const struct convert_journal *journal,
                                         struct error *reterr);

/* The directory of that path, or NULL. */
struct convert_directory *journal_find(const struct convert_journal *journal, const char *path);

void journal_done(struct convert_journal *journal);
