#include "authority_world.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <sodium.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "crypto/oprf.h"

static int64_t read_clock(void *context)
{
    struct world *world = context;
    return (int64_t)atomic_load(&world->now_s) * CLOCK_NS_PER_S;
}

static struct authority_options options_of(struct world *world)
{
    return (struct authority_options){.directory = world->directory,
                                      .holder = world->holder[0] ? world->holder : NULL,
                                      .clock = &world->clock,
                                      .workers = 2};
}

void world_make(struct world *world, const char *holder_name)
{
    static const char *const addresses[] = {"http://192.0.2.1:4875"};
    memset(world, 0, sizeof(*world));
    snprintf(world->directory, sizeof(world->directory), "/dev/shm/husk-authority-XXXXXX");
    assert_non_null(mkdtemp(world->directory));
    if (holder_name)
        snprintf(world->holder, sizeof(world->holder), "%s/%s", world->directory, holder_name);
    atomic_store(&world->now_s, WORLD_START_S);
    world->clock = (struct clock){.unix_ns = read_clock, .context = world};
    char path[192];
    snprintf(path, sizeof(path), "%s/root.key", world->directory);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    const struct authority_options options = options_of(world);
    assert_ok(authority_init(&options, fd, addresses, 1, &error));
    close(fd);
    world_open(world);
}

void world_open(struct world *world)
{
    const struct authority_options options = options_of(world);
    assert_ok(authority_open(&options, &world->authority, &error));
}

void world_close(struct world *world)
{
    authority_close(TAKE(world->authority));
}

void world_reopen(struct world *world)
{
    world_close(world);
    world_open(world);
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void)status, (void)type, (void)where;
    return remove(path);
}

void world_remove(struct world *world)
{
    world_close(world);
    assert_int_equal(nftw(world->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

void world_pass(struct world *world, int64_t seconds)
{
    atomic_fetch_add(&world->now_s, seconds);
}

enum error_code world_try(struct world *world, unsigned uid, const char *operation, json_t *arguments,
                          json_t **ret_result, bool *ret_changed, struct error *reterr)
{
    struct authority_actor actor = {.uid = uid};
    snprintf(actor.name, sizeof(actor.name), "person%u", uid);
    if (!arguments)
        arguments = json_object();
    enum error_code code =
        authority_operate(world->authority, operation, arguments, &actor, ret_result, ret_changed, reterr);
    json_decref(arguments);
    return code;
}

int64_t world_count(struct world *world, const char *sql)
{
    char path[192];
    sqlite3 *database = NULL;
    sqlite3_stmt *statement = NULL;
    snprintf(path, sizeof(path), "%s/authority.db", world->directory);
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    sqlite3_busy_timeout(database, 5000);
    assert_int_equal(sqlite3_prepare_v2(database, sql, -1, &statement, NULL), SQLITE_OK);
    const int result = sqlite3_step(statement);
    assert_true(result == SQLITE_ROW || result == SQLITE_DONE);
    const int64_t value = result == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_finalize(statement);
    sqlite3_close(database);
    return value;
}

unsigned world_keyrings(struct world *world)
{
    DIR *directory = opendir(world->directory);
    unsigned found = 0;
    assert_non_null(directory);
    for (struct dirent *entry = readdir(directory); entry; entry = readdir(directory))
        found += strstr(entry->d_name, "keyring.") != NULL;
    closedir(directory);
    return found;
}

json_t *world_operate(struct world *world, const char *operation, json_t *arguments)
{
    json_t *result = NULL;
    bool changed;
    assert_ok(world_try(world, 1000, operation, arguments, &result, &changed, &error));
    return result;
}

void host_make(struct world_host *host, struct world *world, const char *name)
{
    memset(host, 0, sizeof(*host));
    host->world = world;
    snprintf(host->name, sizeof(host->name), "%s", name);
    snprintf(host->peer, sizeof(host->peer), "192.0.2.7");
    assert_ok(hpke_key_new(&host->identity, host->identity_public, &error));
    host_boot(host);
}

void host_done(struct world_host *host)
{
    secret_free(host->identity);
    buffer_done(&host->last_wire);
}

void host_boot(struct world_host *host)
{
    randombytes_buf(host->boot, sizeof(host->boot));
    host->has_nonce = false;
}

json_t *host_message(const char *type)
{
    uint8_t id[WORLD_ID];
    json_t *message = json_pack("{s:s}", "type", type);
    randombytes_buf(id, sizeof(id));
    assert_ok(json_set_hex(message, "id", id, sizeof(id), &error));
    return message;
}

static void take_answer(void *context, const void *bytes, size_t length, bool in_vain)
{
    struct pending *pending = context;
    pthread_mutex_lock(&pending->mutex);
    pending->in_vain = in_vain;
    if (length)
        assert_ok(buffer_append(&pending->answer, bytes, length, &error));
    pending->is_done = true;
    pthread_cond_signal(&pending->done);
    pthread_mutex_unlock(&pending->mutex);
}

static struct pending *pending_new(struct world_host *host)
{
    struct pending *pending = calloc(1, sizeof(*pending));
    assert_non_null(pending);
    pending->host = host;
    pthread_mutex_init(&pending->mutex, NULL);
    pthread_cond_init(&pending->done, NULL);
    return pending;
}

bool pending_is_done(struct pending *pending)
{
    pthread_mutex_lock(&pending->mutex);
    const bool is_done = pending->is_done;
    pthread_mutex_unlock(&pending->mutex);
    return is_done;
}

static void pending_wait(struct pending *pending)
{
    pthread_mutex_lock(&pending->mutex);
    while (!pending->is_done)
        pthread_cond_wait(&pending->done, &pending->mutex);
    pthread_mutex_unlock(&pending->mutex);
}

static void pending_free(struct pending *pending)
{
    hpke_context_free(pending->context);
    buffer_done(&pending->answer);
    pthread_mutex_destroy(&pending->mutex);
    pthread_cond_destroy(&pending->done);
    free(pending);
}

struct pending *host_post(struct world_host *host, json_t *message)
{
    struct pending *pending = pending_new(host);
    const bool is_enroll = !strcmp(json_string_value(json_object_get(message, "type")), "enroll");
    if (host->has_nonce)
        assert_ok(json_set_hex(message, "nonce", host->nonce, sizeof(host->nonce), &error));
    buffer_done(&host->last_wire);
    assert_ok(message_seal(message, host->message_key, is_enroll ? NULL : host->identity,
                           is_enroll ? NULL : host->id, &host->last_wire, &pending->context, &error));
    json_decref(message);
    assert_ok(authority_message(host->world->authority, host->last_wire.data, host->last_wire.length,
                                host->peer, take_answer, pending, &error));
    return pending;
}

json_t *pending_take(struct pending *pending)
{
    enum answer_kind kind;
    json_t *object = NULL;
    struct buffer plain = {0};
    pending_wait(pending);
    pending->host->was_in_vain = pending->in_vain;
    assert_ok(answer_open(pending->answer.data, pending->answer.length, pending->context, &kind, &object,
                          &plain, &error));
    if (kind == ANSWER_DESCRIPTOR)
        assert_ok(descriptor_parse(plain.data, plain.length, NULL, &pending->host->descriptor, &error));
    if (kind == ANSWER_TRY_AGAIN)
        object = json_pack("{s:{s:s}}", "error", "code", "try-again");
    if (object && json_object_get(object, "nonce")) {
        assert_ok(json_get_hex(object, "nonce", pending->host->nonce, WORLD_ID, &error));
        pending->host->has_nonce = true;
    }
    buffer_done(&plain);
    pending_free(pending);
    return object;
}

static bool is_stale_nonce(json_t *answer)
{
    const char *code = json_string_value(json_object_get(json_object_get(answer, "error"), "code"));
    return code && !strcmp(code, "stale-nonce");
}

json_t *host_send(struct world_host *host, json_t *message)
{
    json_t *copy = json_deep_copy(message);
    json_t *answer = pending_take(host_post(host, message));
    if (is_stale_nonce(answer)) {
        json_decref(answer);
        json_object_del(copy, "nonce");
        return pending_take(host_post(host, copy));
    }
    json_decref(copy);
    return answer;
}

enum answer_kind host_replay(struct world_host *host, const struct buffer *wire, struct buffer *answer)
{
    struct pending *pending = pending_new(host);
    assert_ok(authority_message(host->world->authority, wire->data, wire->length, host->peer, take_answer,
                                pending, &error));
    pending_wait(pending);
    assert_ok(buffer_append(answer, pending->answer.data, pending->answer.length, &error));
    const enum answer_kind kind = (enum answer_kind)(uint8_t)pending->answer.data[5];
    host->was_in_vain = pending->in_vain;
    pending_free(pending);
    return kind;
}

/* Any message that cannot be read brings the descriptor. */
static void fetch_descriptor(struct world_host *host)
{
    struct buffer wire = {0}, answer = {0};
    uint8_t nonsense[128] = {0};
    assert_ok(buffer_append(&wire, nonsense, sizeof(nonsense), &error));
    assert_int_equal(host_replay(host, &wire, &answer), ANSWER_DESCRIPTOR);
    assert_ok(descriptor_parse(answer.data + 8, answer.length - 8, NULL, &host->descriptor, &error));
    memcpy(host->message_key, host->descriptor.message_key, HPKE_KEY_SIZE);
    buffer_done(&wire);
    buffer_done(&answer);
}

json_t *host_enroll_with(struct world_host *host, const char *token)
{
    char random[33];
    json_t *message = host_message("enroll");
    fetch_descriptor(host);
    snprintf(random, sizeof(random), "%.32s", token + strlen("husk1."));
    assert_ok(json_set_new(message, "token", json_string(random), &error));
    assert_ok(json_set_new(message, "name", json_string(host->name), &error));
    assert_ok(json_set_hex(message, "identity", host->identity_public, HPKE_KEY_SIZE, &error));
    json_t *answer = host_send(host, message), *result = json_object_get(answer, "result");
    if (result)
        assert_ok(json_get_hex(result, "host", host->id, sizeof(host->id), &error));
    return answer;
}

void host_enroll(struct world_host *host, const char *group)
{
    json_t *token = world_operate(host->world, "token create", json_pack("{s:s}", "group", group));
    json_t *answer = host_enroll_with(host, json_string_value(json_object_get(token, "token")));
    assert_non_null(json_object_get(answer, "result"));
    json_decref(answer);
    json_decref(token);
}

void keyslot_draw(struct world_keyslot *keyslot)
{
    randombytes_buf(keyslot, sizeof(*keyslot));
}

static void finalize(const struct world_keyslot *keyslot, const struct secret *blind, const char *hex,
                     uint8_t output[64])
{
    uint8_t evaluated[WORLD_ELEMENT];
    struct secret *secret = NULL;
    assert_ok(text_parse_hex(hex, evaluated, sizeof(evaluated), &error));
    assert_ok(oprf_finalize(keyslot->x, sizeof(keyslot->x), blind, evaluated, &secret, &error));
    memcpy(output, secret->bytes, 64);
    secret_free(secret);
}

void host_bind(struct world_host *host, struct world_keyslot *keyslot)
{
    struct secret *blinds[2] = {NULL, NULL};
    uint8_t outputs[2][64];
    json_t *message = host_message("bind"), *blinded = json_array();
    keyslot_draw(keyslot);
    assert_ok(json_set_hex(message, "keyslot", keyslot->id, WORLD_ID, &error));
    assert_ok(json_set_hex(message, "vault", keyslot->vault, WORLD_ID, &error));
    assert_ok(json_set_new(message, "vault_name", json_string("main"), &error));
    for (size_t i = 0; i < 2; i++) {
        uint8_t element[WORLD_ELEMENT];
        char text[2 * WORLD_ELEMENT + 1];
        assert_ok(oprf_blind(keyslot->x, sizeof(keyslot->x), &blinds[i], element, &error));
        text_format_hex(text, element, sizeof(element));
        json_array_append_new(blinded, json_string(text));
    }
    assert_ok(json_set_new(message, "blinded", blinded, &error));
    json_t *answer = host_send(host, message);
    json_t *evaluated = json_object_get(json_object_get(answer, "result"), "evaluated");
    assert_int_equal(json_array_size(evaluated), 2);
    for (size_t i = 0; i < 2; i++) {
        finalize(keyslot, blinds[i], json_string_value(json_array_get(evaluated, i)), outputs[i]);
        secret_free(blinds[i]);
    }
    assert_memory_equal(outputs[0], outputs[1], 64);
    memcpy(keyslot->output, outputs[0], 64);
    json_decref(answer);
}

json_t *bind_message(struct world_keyslot *keyslot)
{
    json_t *message = host_message("bind"), *blinded = json_array();
    keyslot_draw(keyslot);
    assert_ok(json_set_hex(message, "keyslot", keyslot->id, WORLD_ID, &error));
    assert_ok(json_set_hex(message, "vault", keyslot->vault, WORLD_ID, &error));
    assert_ok(json_set_new(message, "vault_name", json_string("main"), &error));
    for (unsigned i = 0; i < 2; i++) {
        uint8_t element[WORLD_ELEMENT];
        char text[2 * WORLD_ELEMENT + 1];
        crypto_core_ristretto255_random(element);
        text_format_hex(text, element, sizeof(element));
        json_array_append_new(blinded, json_string(text));
    }
    assert_ok(json_set_new(message, "blinded", blinded, &error));
    return message;
}

static void set_facts(json_t *message)
{
    assert_ok(json_set_new(message, "facts", json_pack("{s:s}", "kernel", "6.1.0"), &error));
}

json_t *open_message(struct world_open *open, struct world_host *host, struct world_keyslot *keyslot,
                     int wait_s)
{
    json_t *message = host_message("open"), *one = json_object();
    open->host = host;
    open->keyslot = keyslot;
    if (!open->blind)
        assert_ok(oprf_blind(keyslot->x, sizeof(keyslot->x), &open->blind, open->blinded, &error));
    assert_ok(json_set_hex(message, "boot", host->boot, WORLD_ID, &error));
    if (host->has_lineage)
        assert_ok(json_set_hex(message, "lineage", host->lineage, WORLD_ID, &error));
    assert_ok(json_set_new(message, "planned", json_boolean(host->planned), &error));
    set_facts(message);
    assert_ok(json_set_hex(one, "keyslot", keyslot->id, WORLD_ID, &error));
    assert_ok(json_set_hex(one, "blinded", open->blinded, WORLD_ELEMENT, &error));
    assert_ok(json_set_new(message, "open", json_pack("[o]", one), &error));
    assert_ok(json_set_new(message, "wait_s", json_integer(wait_s), &error));
    return message;
}

static void keep(struct world_open *open, json_t *answer)
{
    json_t *result = json_object_get(answer, "result");
    const char *request = json_string_value(json_object_get(result, "request"));
    const char *code = json_string_value(json_object_get(result, "code"));
    if (request)
        snprintf(open->request, sizeof(open->request), "%s", request);
    if (code)
        snprintf(open->code, sizeof(open->code), "%s", code);
}

json_t *open_first(struct world_open *open, struct world_host *host, struct world_keyslot *keyslot,
                   int wait_s)
{
    memset(open, 0, sizeof(*open));
    json_t *answer = host_send(host, open_message(open, host, keyslot, wait_s));
    keep(open, answer);
    return answer;
}

json_t *open_again_message(struct world_open *open, int wait_s)
{
    json_t *message = host_message("open");
    assert_ok(json_set_hex(message, "boot", open->host->boot, WORLD_ID, &error));
    assert_ok(json_set_new(message, "request", json_string(open->request), &error));
    assert_ok(json_set_new(message, "wait_s", json_integer(wait_s), &error));
    return message;
}

json_t *open_again(struct world_open *open, int wait_s)
{
    json_t *answer = host_send(open->host, open_again_message(open, wait_s));
    keep(open, answer);
    return answer;
}

void open_done(struct world_open *open)
{
    secret_free(TAKE(open->blind));
}

static const char *state_of(json_t *answer)
{
    const char *state = json_string_value(json_object_get(json_object_get(answer, "result"), "state"));
    if (!state)
        print_message("%s\n",
                      json_string_value(json_object_get(json_object_get(answer, "error"), "message")));
    assert_non_null(state);
    return state;
}

void assert_granted(struct world_open *open, json_t *answer)
{
    uint8_t output[64];
    assert_string_equal(state_of(answer), "granted");
    json_t *result = json_object_get(answer, "result"), *evaluated = json_object_get(result, "evaluated");
    assert_int_equal(json_array_size(evaluated), 1);
    finalize(open->keyslot, open->blind, json_string_value(json_array_get(evaluated, 0)), output);
    assert_memory_equal(output, open->keyslot->output, 64);
    assert_ok(json_get_hex(result, "lineage", open->host->lineage, WORLD_ID, &error));
    open->host->has_lineage = true;
    json_decref(answer);
}

void assert_state(json_t *answer, const char *state)
{
    assert_string_equal(state_of(answer), state);
    if (strcmp(state, "granted") != 0)
        assert_null(json_object_get(json_object_get(answer, "result"), "evaluated"));
    json_decref(answer);
}

void assert_refused(json_t *answer, const char *expected)
{
    const char *code = json_string_value(json_object_get(json_object_get(answer, "error"), "code"));
    assert_non_null(code);
    assert_string_equal(code, expected);
    assert_null(json_object_get(answer, "result"));
    json_decref(answer);
}

bool has_flag(json_t *answer, const char *flag)
{
    json_t *flags = json_object_get(json_object_get(answer, "result"), "flags");
    for (size_t i = 0; i < json_array_size(flags); i++)
        if (!strcmp(json_string_value(json_array_get(flags, i)), flag))
            return true;
    return false;
}

bool has_entry(struct world *world, const char *kind)
{
    json_t *ledger = world_operate(world, "ledger show", NULL), *entries = json_object_get(ledger, "entries");
    bool found = false;
    for (size_t i = 0; i < json_array_size(entries); i++)
        found |= !strcmp(json_string_value(json_object_get(json_array_get(entries, i), "kind")), kind);
    json_decref(ledger);
    return found;
}

void host_heartbeat(struct world_host *host)
{
    json_t *message = host_message("heartbeat");
    assert_ok(json_set_hex(message, "boot", host->boot, WORLD_ID, &error));
    if (host->has_lineage)
        assert_ok(json_set_hex(message, "lineage", host->lineage, WORLD_ID, &error));
    set_facts(message);
    assert_ok(json_set_new(message, "descriptor_sequence", json_integer(1), &error));
    json_t *answer = host_send(host, message), *result = json_object_get(answer, "result");
    assert_non_null(result);
    assert_ok(json_get_hex(result, "lineage", host->lineage, WORLD_ID, &error));
    host->has_lineage = true;
    json_decref(answer);
}

void group_set(struct world *world, const char *group, const char *option, json_t *value)
{
    json_decref(world_operate(world, "group set", json_pack("{s:s, s:o}", "name", group, option, value)));
}

void host_ticket(struct world_host *host, const char *purpose)
{
    json_t *message = host_message("ticket");
    assert_ok(json_set_hex(message, "boot", host->boot, WORLD_ID, &error));
    assert_ok(json_set_new(message, "purpose", json_string(purpose), &error));
    json_t *answer = host_send(host, message);
    assert_non_null(json_object_get(json_object_get(answer, "result"), "expires_at"));
    json_decref(answer);
}

json_t *approve(struct world *world, unsigned uid, const char *request, const char *code)
{
    json_t *result = NULL;
    bool changed;
    json_t *arguments = json_pack("{s:s, s:s*}", "request", request, "code", code);
    assert_ok(world_try(world, uid, "request approve", arguments, &result, &changed, &error));
    return result;
}

json_t *poll_message(struct world_host *host, int wait_s)
{
    json_t *message = host_message("poll");
    assert_ok(json_set_hex(message, "boot", host->boot, WORLD_ID, &error));
    assert_ok(json_set_new(message, "wait_s", json_integer(wait_s), &error));
    return message;
}
