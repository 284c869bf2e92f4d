#include "authority/authority.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "authority/directory.h"
#include "authority/erasing.h"
#include "authority/hosts.h"
#include "authority/schema.h"
#include "authority/state.h"
#include "base/file.h"

/* All hosts of a large fleet at once; what comes beyond is told to try again. */
enum { WAITING_FOR_WORKERS_MAXIMUM = 16384 };

struct authority {
    struct clerk clerk;
    int directory_fd;
    int lock_fd;
    char *holder; /* owned */
};

enum { RETURN_S = 90 }; /* an agent that found no authority tries again at least so often */

/* Everybody who is enrolled, and when they were heard of last. Which boots were heard is not known any more:
 * until the agents are back, any may run of a host that ever had one. */
static enum error_code read_hosts(struct clerk *clerk, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    enum error_code code = sql_select(clerk->sql, &rows, reterr,
                                      "SELECT id, identity, last_seen, live_boot, erased FROM hosts", "");
    while (!code && !(code = sql_next(&rows, &is_there, reterr)) && is_there) {
        uint8_t id[MESSAGE_HOST_ID_SIZE], identity[HPKE_KEY_SIZE];
        if (!sql_bytes(&rows, 0, id, sizeof(id)) || !sql_bytes(&rows, 1, identity, sizeof(identity))) {
            code = error_set(reterr, ERR_FAILED, 0, "the database is damaged: a host without id or identity");
            break;
        }
        code = presence_add(&clerk->presence, id, identity, reterr);
        struct presence_host *host = presence_find(&clerk->presence, id);
        if (!code && !sql_is_null(&rows, 3))
            host->others_until_ns = clock_monotonic_ns() +
                                    (sql_integer(&rows, 4) ? PRESENCE_ERASED_S : RETURN_S) * CLOCK_NS_PER_S;
        if (!code && !sql_is_null(&rows, 2)) {
            host->was_seen = true;
            host->last_seen_unix_s = sql_integer(&rows, 2);
        }
    }
    sql_done(&rows);
    return code;
}

/*
 * What a crash left: keyrings too many, erases that were begun. One that cannot be carried out now, and a
 * keyring that cannot be destroyed, do not keep this authority from its hosts: no erased keyslot opens any
 * more since the ledger said so, nothing reads that keyring, no other is written before it is gone, and who
 * would destroy it later is this process.
 */
static enum error_code finish_what_was_left(struct clerk *clerk, struct error *reterr)
{
    struct error why = ERROR_NONE;
    enum error_code code = file_remove_durable(clerk->place.directory_fd, DIRECTORY_COPY, 0, reterr);
    clerk->is_unsettled = true;
    if (!code)
        code = clerk_begin(clerk, reterr);
    if (!code)
        code = clerk_commit(clerk, reterr); /* makes the first checkpoint */
    if (code)
        return code;
    clerk->has_old_keyring = clerk->has_erases = true; /* as far as is known */
    if (clerk_destroy_old(clerk, NULL) == OK && erasing_carry_out(clerk, &why) != OK)
        clerk_tell_erases(clerk, &why);
    return OK;
}

static enum error_code init_clerk(struct clerk *clerk, const struct authority_options *options,
                                  struct error *reterr)
{
    pthread_condattr_t attributes;
    clerk->clock = options->clock;
    clerk->log = options->log;
    clerk->log_context = options->log_context;
    clerk->queue_end = &clerk->queue;
    clerk->wake_round = 1;
    face_place_init(&clerk->face_place);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&clerk->mutex, NULL);
    pthread_cond_init(&clerk->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    return presence_init(&clerk->presence, reterr);
}

static enum error_code open_all(struct authority *authority, const struct authority_options *options,
                                struct error *reterr)
{
    struct clerk *clerk = &authority->clerk;
    enum error_code code =
        directory_lock(options->directory, &authority->directory_fd, &authority->lock_fd, reterr);
    clerk->place =
        (struct keyring_place){.directory_fd = authority->directory_fd, .holder = authority->holder};
    if (!code)
        code = directory_check_database(options->directory, authority->directory_fd, reterr);
    if (!code)
        code = directory_database(options->directory, &clerk->database_path, reterr);
    if (!code)
        code = sql_open(clerk->database_path, SQL_OPEN, &clerk->sql, reterr);
    if (!code)
        code = schema_check(clerk->sql, reterr);
    if (!code)
        code = sql_check_quickly(clerk->sql, reterr);
    if (!code)
        code = state_read(clerk, reterr);
    if (!code)
        code = read_hosts(clerk, reterr);
    if (!code)
        code = finish_what_was_left(clerk, reterr);
    if (!code)
        code = workers_start(clerk, options->workers, &clerk->workers, reterr);
    return code ? code : clerk_start(clerk, reterr);
}

enum error_code authority_open(const struct authority_options *options, struct authority **ret_authority,
                               struct error *reterr)
{
    struct authority *authority = calloc(1, sizeof(*authority));
    if (!authority)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    authority->directory_fd = authority->lock_fd = -1;
    authority->holder = options->holder ? strdup(options->holder) : NULL;
    enum error_code code = init_clerk(&authority->clerk, options, reterr);
    if (!code && options->holder && !authority->holder)
        code = error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    if (!code)
        code = open_all(authority, options, reterr);
    if (code)
        authority_close(authority);
    else
        *ret_authority = authority;
    return code;
}

/* When hosts were heard of is in memory; an orderly end keeps it. */
static void keep_last_seen(struct clerk *clerk)
{
    if (!clerk->workers || clerk_begin(clerk, NULL) != OK)
        return;
    enum error_code code = OK;
    for (size_t slot = 0; slot < clerk->presence.slot_count; slot++)
        for (const struct presence_host *host = clerk->presence.slots[slot]; host && !code; host = host->next)
            if (host->was_seen)
                code = sql_run(clerk->sql, NULL, "UPDATE hosts SET last_seen = ? WHERE id = ?", "ib",
                               host->last_seen_unix_s, host->id, sizeof(host->id));
    if (code || clerk_commit(clerk, NULL) != OK)
        sql_roll_back(clerk->sql);
}

void authority_close(struct authority *authority)
{
    if (!authority)
        return;
    struct clerk *clerk = &authority->clerk;
    clerk_stop(clerk);
    if (clerk->sql && clerk->keyring)
        keep_last_seen(clerk);
    workers_stop(clerk->workers);
    clerk_drain(clerk);
    sql_close(clerk->sql);
    keyring_free(clerk->keyring);
    keyring_free(clerk->next_keyring);
    face_free(clerk->next_face);
    face_place_done(&clerk->face_place);
    group_forget(clerk);
    presence_done(&clerk->presence);
    pthread_mutex_destroy(&clerk->mutex);
    pthread_cond_destroy(&clerk->wake);
    free(clerk->checkpoint);
    free(clerk->database_path);
    free(authority->holder);
    if (authority->lock_fd >= 0)
        close(authority->lock_fd);
    if (authority->directory_fd >= 0)
        close(authority->directory_fd);
    free(authority);
}

enum error_code authority_message(struct authority *authority, const void *bytes, size_t length,
                                  const char *peer, authority_answer *answer, void *context,
                                  struct error *reterr)
{
    struct clerk *clerk = &authority->clerk;
    if (workers_waiting(clerk->workers) >= WAITING_FOR_WORKERS_MAXIMUM)
        return error_set(reterr, ERR_BUSY, 0, "too many messages wait");
    struct job *job = calloc(1, sizeof(*job));
    uint8_t *copy = malloc(length ? length : 1);
    if (!job || !copy) {
        free(job);
        free(copy);
        return error_set(reterr, ERR_BUSY, 0, "out of memory");
    }
    memcpy(copy, bytes, length);
    job->kind = JOB_MESSAGE;
    job->wire = copy;
    job->wire_length = length;
    job->answer = answer;
    job->answer_context = context;
    snprintf(job->peer, sizeof(job->peer), "%s", peer);
    atomic_fetch_add(&clerk->messages, 1);
    workers_open(clerk->workers, job);
    return OK;
}

enum error_code authority_operate(struct authority *authority, const char *operation, json_t *arguments,
                                  const struct authority_actor *actor, json_t **ret_result, bool *ret_changed,
                                  struct error *reterr)
{
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t done = PTHREAD_COND_INITIALIZER;
    struct job *job = calloc(1, sizeof(*job));
    if (!job)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    job->kind = JOB_OPERATION;
    job->operation = operation;
    job->arguments = arguments;
    job->actor = actor;
    job->mutex = &mutex;
    job->done = &done;
    clerk_put(&authority->clerk, job);
    pthread_mutex_lock(&mutex);
    while (!job->is_done)
        pthread_cond_wait(&done, &mutex);
    pthread_mutex_unlock(&mutex);
    enum error_code code = job->error.code;
    if (code && reterr)
        *reterr = job->error;
    /* Without room nothing was committed; what else keeps a commit from saying that it is may come after it.
     */
    *ret_changed = job->later.context && job->changed && code != ERR_NO_SPACE;
    if (!code && job->later.context)
        code = job->later.write(job->later.context, actor, reterr);
    if (!code) {
        *ret_result = TAKE(job->result);
        *ret_changed = job->changed;
    }
    pthread_mutex_destroy(&mutex);
    pthread_cond_destroy(&done);
    job_free(job);
    return code;
}
