/*
 * The authority: hosts, groups, tokens, requests, keyslot scalars, the ledger; what decides and what is
 * durable. It knows no sockets: fronts hand in the bytes of a message or an administrator's operation, and
 * get an answer.
 *
 * One clerk thread owns the database: it takes a batch of what waits, decides, writes the ledger and
 * everything else in one commit, and only then lets answers leave. Workers open, evaluate and seal messages.
 * All functions may be called from any thread, except open and close.
 */
#pragma once
#include "base/clock.h"
#include "secret/secret.h"
#include "json/json.h"

struct authority;

struct authority_options {
    const char *directory;     /* /var/lib/huskd */
    const char *holder;        /* path of the file that seals the keyring; NULL: a warning, and none */
    const struct clock *clock; /* must outlive the authority */
    unsigned workers;          /* threads; 0: one per processor */
    const uint8_t *backup_key; /* for authority_init: the public key, 32 bytes, of backups; NULL: none yet */
    /* Told in a line when something keeps it from working, and when that is over; from other threads. NULL:
     * nobody is. */
    void (*log)(void *context, const char *line);
    void *log_context;
};

/* Make the directory of a new authority: database, keyring, message and signing keys, the first descriptor,
 * which is signed with a root drawn here. The root's private key is written to root_out_fd and kept nowhere
 * else. addresses are count URLs. ERR_EXISTS. Blocks. */
must_check enum error_code authority_init(const struct authority_options *options, int root_out_fd,
                                          const char *const *addresses, unsigned count, struct error *reterr);

/* Whether a copy of the directory's filesystem has no holder: there is one, and it lies on another one. */
bool authority_has_holder_elsewhere(const struct authority_options *options);

/* A new authority in an empty directory, from the two files of a backup, open for reading. Every host is
 * held, the ledger begins another epoch, and what records (below) say was erased since is destroyed, before
 * anything is there that authority_open opens. text gets the descriptor that the root has to sign, with these
 * addresses (count 0: as they were); until it is installed, hosts get no answer but "try again".
 * Records are files of signed `erased` answers in hexadecimal, one a line, and one export of the ledger: only
 * that, going on from the backup's to a checkpoint its authority signed, tells all there is, so that hosts
 * are not held. *ret_summary is an object of the caller's. ERR_EXISTS, ERR_WRONG_KEY, ERR_CORRUPT. Blocks. */
struct authority_backup {
    int bulk_fd, envelope_fd;
    const struct secret *backup_key; /* the private one, 32 bytes */
    const int *record_fds;           /* files of records, */
    const char *const *record_names; /* and how an error names each */
    size_t record_count;
};
must_check enum error_code authority_restore(const struct authority_options *options,
                                             const struct authority_backup *backup,
                                             const char *const *addresses, unsigned count,
                                             struct buffer *text, json_t **ret_summary, struct error *reterr);

/* Open it, finish what a crash left (erases, keyrings), start the threads. ERR_NOT_FOUND, ERR_CORRUPT,
 * ERR_TOO_NEW, ERR_BUSY when another process has it. Blocks. */
must_check enum error_code authority_open(const struct authority_options *options,
                                          struct authority **ret_authority, struct error *reterr);

/* Answer what waits with "try again", end the threads, close. NULL is fine. Blocks. */
void authority_close(struct authority *authority);

/* A message (docs/protocol.md) from a peer, shown as text ("192.0.2.1", "2001:db8::1"). bytes are copied.
 * answer is called exactly once, from another thread or from this one, now or up to wait_s later, with the
 * whole body of the answer; it must not block. in_vain says that the message cost work and served nobody: it
 * could not be read, was an enrolment that made no host known, or more than a host may say. Returns OK, or
 * ERR_BUSY when too much waits: then answer is not called and the peer should get 503. */
typedef void authority_answer(void *context, const void *bytes, size_t length, bool in_vain);
must_check enum error_code authority_message(struct authority *authority, const void *bytes, size_t length,
                                             const char *peer, authority_answer *answer, void *context,
                                             struct error *reterr);

#define AUTHORITY_FILES 2

/* Who asks over the administrators' socket. */
struct authority_actor {
    unsigned uid;
    bool is_no_account; /* this machine has no user of that number: a range of numbers can be one person's */
    char name[64];      /* for the ledger: the login user */
    /* Descriptors of regular files that came with the request, open for writing; of "backup": the bulk and
     * the envelope. The caller closes them. */
    int files[AUTHORITY_FILES];
    unsigned file_count;
};

/* One operation of an administrator, by the words of the command line: "token create", "token list", "token
 * revoke", "host list", "host
 * show", "host hold", "host release", "host lock", "host power-off", "host cancel", "host erase", "host
 * accept-restore", "host move", "host rename", "group set", "group list", "group erase", "group remove",
 * "request list", "request approve", "request deny", "ledger show", "ledger verify", "keycopy list", "keycopy
 * destroyed", "descriptor prepare", "descriptor install", "metrics", "backup". arguments is an object of its
 * options by their long names. The result is the "result" of the document of design.md §9 (free with
 * json_decref), *ret_changed whether anything did change. Waits for the commit. Of what is written after it
 * ("backup"), *ret_changed tells that also with an error: false only where nothing was committed for sure. */
must_check enum error_code authority_operate(struct authority *authority, const char *operation,
                                             json_t *arguments, const struct authority_actor *actor,
                                             json_t **ret_result, bool *ret_changed, struct error *reterr);
