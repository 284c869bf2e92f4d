#include "authority_place.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "crypto/oprf.h"
#include "message/descriptor.h"
#include "target.h"

enum { HOSTS_MOST = 200, WAIT_S = 20, CLEAR_SIZE = 32, STEP_MS = 200 };
#define START_S INT64_C(1770000000)
#define GROUP "fuzz"

static struct {
    char directory[128];
    struct authority *authority;
    struct clock clock;
    struct descriptor descriptor;
    unsigned hosts; /* since it was made */
    uint8_t element[2][OPRF_ELEMENT_SIZE];
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pthread_t asker;
    int64_t passed_ns;
    bool is_busy; /* something is asked: time goes on */
} place = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

int64_t __wrap_clock_monotonic_ns(void);
int __wrap_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                                  const struct timespec *until);
int __real_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                                  const struct timespec *until);

/* Until a time of that clock: it comes by being looked at. */
int __wrap_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                                  const struct timespec *until)
{
    (void)condition, (void)until;
    pthread_mutex_unlock(mutex);
    sched_yield();
    pthread_mutex_lock(mutex);
    return ETIMEDOUT;
}

/* While nothing is asked, whoever else looks at the clock waits: the clerk would look again and again. */
int64_t __wrap_clock_monotonic_ns(void)
{
    pthread_mutex_lock(&place.mutex);
    while (!place.is_busy && !pthread_equal(pthread_self(), place.asker))
        pthread_cond_wait(&place.changed, &place.mutex);
    place.passed_ns += STEP_MS * 1000000L;
    const int64_t now_ns = place.passed_ns;
    pthread_mutex_unlock(&place.mutex);
    return now_ns;
}

static int64_t read_clock(void *context)
{
    (void)context;
    return START_S * CLOCK_NS_PER_S + __wrap_clock_monotonic_ns();
}

static void set_busy(bool is_busy)
{
    pthread_mutex_lock(&place.mutex);
    place.is_busy = is_busy;
    pthread_cond_broadcast(&place.changed);
    pthread_mutex_unlock(&place.mutex);
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void)status, (void)type, (void)where;
    return remove(path);
}

static void unmake(void)
{
    if (!place.authority)
        return;
    set_busy(true);
    authority_close(place.authority);
    place.authority = NULL;
    must_hold(nftw(place.directory, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

static void make(void)
{
    static const char *const addresses[] = {"http://192.0.2.1:4875"};
    static bool has_exit;
    const char *scratch = getenv("HUSK_TEST_SCRATCH");
    const struct authority_options options = {
        .directory = place.directory, .clock = &place.clock, .workers = 1};
    if (!has_exit)
        atexit(unmake);
    has_exit = true;
    unmake();
    set_busy(true);
    place.asker = pthread_self();
    place.hosts = 0;
    place.clock = (struct clock){.unix_ns = read_clock};
    snprintf(place.directory, sizeof(place.directory), "%s/husk-fuzz-XXXXXX",
             scratch                         ? scratch
             : access("/dev/shm", W_OK) == 0 ? "/dev/shm"
                                             : "/tmp");
    must_hold(mkdtemp(place.directory) != NULL);
    int root_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    must_hold(authority_init(&options, root_fd, addresses, 1, NULL) == OK);
    close(root_fd);
    must_hold(authority_open(&options, &place.authority, NULL) == OK);
    randombytes_buf(place.descriptor.message_key,
                    HPKE_KEY_SIZE); /* none of its: it answers with the right one */
    for (size_t i = 0; i < 2; i++) {
        struct secret *blind = NULL;
        must_hold(oprf_blind((const uint8_t *)"x", 1, &blind, place.element[i], NULL) == OK);
        secret_free(blind);
    }
}

/* What came, once it is there. */
struct answered {
    struct buffer bytes;
    bool is_there;
};

static void take_answer(void *context, const void *bytes, size_t length, bool in_vain)
{
    (void)in_vain;
    struct answered *answered = context;
    pthread_mutex_lock(&place.mutex);
    must_hold(!answered->is_there);
    must_hold(buffer_append(&answered->bytes, bytes, length, NULL) == OK);
    answered->is_there = true;
    pthread_cond_broadcast(&place.changed);
    pthread_mutex_unlock(&place.mutex);
}

static void ask(const void *wire, size_t length, struct answered *answered)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    set_busy(true);
    must_hold(authority_message(place.authority, wire, length, "192.0.2.7", take_answer, answered, NULL) ==
              OK);
    pthread_mutex_lock(&place.mutex);
    int result = 0;
    while (!answered->is_there && result == 0)
        result = __real_pthread_cond_timedwait(&place.changed, &place.mutex, &until);
    must_hold(answered->is_there);
    place.is_busy = false;
    pthread_mutex_unlock(&place.mutex);
}

/* As message_seal does it, whatever the text is. */
static struct hpke_context *seal(const struct place_host *host, const char *text, size_t length, bool is_auth,
                                 struct buffer *wire)
{
    uint8_t clear[CLEAR_SIZE + HPKE_ENCAPSULATED_SIZE] = {
        'h', 's', 'k', 'm', 1, 1, is_auth ? MESSAGE_AUTH : MESSAGE_BASE};
    struct hpke_context *context = NULL;
    uint8_t *sealed = malloc(length + HPKE_TAG_SIZE);
    must_hold(sealed != NULL);
    message_key_id(place.descriptor.message_key, clear + 8);
    if (is_auth)
        memcpy(clear + 16, host->id, sizeof(host->id));
    must_hold(hpke_setup_sender(place.descriptor.message_key, is_auth ? host->identity : NULL, clear,
                                CLEAR_SIZE, clear + CLEAR_SIZE, &context, NULL) == OK);
    must_hold(hpke_seal(context, NULL, 0, text, length, sealed, NULL) == OK);
    must_hold(buffer_append(wire, clear, sizeof(clear), NULL) == OK &&
              buffer_append(wire, sealed, length + HPKE_TAG_SIZE, NULL) == OK);
    free(sealed);
    return context;
}

static void keep(json_t *object, const char *member, char *text, size_t size)
{
    const char *value = json_string_value(json_object_get(object, member));
    if (value)
        snprintf(text, size, "%s", value);
}

/* What a sealed answer has to be, and what the next messages may need of it. */
static void look_at(struct place_host *host, json_t *answer)
{
    json_t *result = json_object_get(answer, "result"), *error = json_object_get(answer, "error");
    static const char *const words[] = {"bad-message", "stale-nonce", "held", "erased",
                                        "not-found",   "denied",      "busy"};
    const char *word = json_string_value(json_object_get(error, "code"));
    const char *state = json_string_value(json_object_get(result, "state"));
    must_hold(!result != !error && json_is_string(json_object_get(answer, "id")));
    if (error) {
        bool is_known = false;
        for (size_t i = 0; i < ARRAY_SIZE(words); i++)
            is_known |= word && !strcmp(word, words[i]);
        must_hold(is_known && json_is_string(json_object_get(error, "message")));
    }
    must_hold(!state || (json_object_get(result, "evaluated") != NULL) == !strcmp(state, "granted"));
    keep(answer, "nonce", host->nonce, sizeof(host->nonce));
    keep(result, "request", host->request, sizeof(host->request));
    keep(result, "code", host->code, sizeof(host->code));
    keep(result, "lineage", host->lineage, sizeof(host->lineage));
}

json_t *place_say(struct place_host *host, const char *text, size_t length, bool is_auth)
{
    struct buffer wire = {0}, plain = {0};
    struct answered answered = {0};
    json_t *answer = NULL;
    enum answer_kind kind;
    struct hpke_context *context = seal(host, text, length, is_auth, &wire);
    ask(wire.data, wire.length, &answered);
    must_hold(
        answer_open(answered.bytes.data, answered.bytes.length, context, &kind, &answer, &plain, NULL) == OK);
    /* "Try again" is for trouble of the authority's own, and no message makes any. */
    must_hold(kind == ANSWER_SEALED || kind == ANSWER_DESCRIPTOR);
    if (answer)
        look_at(host, answer);
    if (kind == ANSWER_DESCRIPTOR)
        must_hold(descriptor_parse(plain.data, plain.length, NULL, &place.descriptor, NULL) == OK);
    hpke_context_free(context);
    buffer_done(&wire);
    buffer_done(&plain);
    buffer_done(&answered.bytes);
    return answer;
}

enum error_code place_operate(const char *operation, json_t *arguments, json_t **ret_result,
                              bool *ret_changed, struct error *reterr)
{
    const struct authority_actor actor = {.uid = 1000, .name = "somebody"};
    set_busy(true);
    enum error_code code =
        authority_operate(place.authority, operation, arguments, &actor, ret_result, ret_changed, reterr);
    set_busy(false);
    return code;
}

static void say_well(struct place_host *host, const char *text, bool is_auth)
{
    json_t *message = NULL, *answer;
    struct buffer filled = {0};
    must_hold(json_parse_object(text, strlen(text), "seed", &message, NULL) == OK);
    place_fill_in(host, message);
    must_hold(json_format(message, &filled, NULL) == OK);
    answer = place_say(host, filled.data, filled.length, is_auth);
    json_t *result = json_object_get(answer, "result");
    must_hold(result != NULL);
    const char *id = json_string_value(json_object_get(result, "host"));
    if (id)
        must_hold(text_parse_hex(id, host->id, sizeof(host->id), NULL) == OK);
    json_decref(message);
    json_decref(answer);
    buffer_done(&filled);
}

static void enroll(struct place_host *host)
{
    json_t *arguments = json_pack("{s:s}", "group", GROUP), *result = NULL;
    bool changed;
    must_hold(place_operate("token create", arguments, &result, &changed, NULL) == OK);
    const char *token = json_string_value(json_object_get(result, "token"));
    must_hold(token && sscanf(token, "husk1.%32[0-9a-f]", host->token) == 1);
    json_decref(result);
    json_decref(arguments);
    /* Any message that cannot be read brings the descriptor. */
    must_hold(!place_say(host, "", 0, false));
    say_well(host,
             "{\"type\":\"enroll\",\"id\":\"@id\",\"token\":\"@token\",\"name\":\"@name\",\"identity\":"
             "\"@identity\"}",
             false);
    say_well(host, "{\"type\":\"poll\",\"id\":\"@id\",\"boot\":\"@boot\",\"wait_s\":0}", true);
    say_well(host,
             "{\"type\":\"bind\",\"id\":\"@id\",\"nonce\":\"@nonce\",\"keyslot\":\"@keyslot\",\"vault\":"
             "\"@vault\",\"vault_name\":\"main\",\"blinded\":[\"@blinded\",\"@blinded2\"]}",
             true);
}

static void set_automatic(void)
{
    json_t *arguments = json_pack("{s:s, s:s}", "name", GROUP, "unlock", "auto"), *result = NULL;
    bool changed;
    must_hold(place_operate("group set", arguments, &result, &changed, NULL) == OK);
    json_decref(arguments);
    json_decref(result);
}

void place_begin(struct place_host *host)
{
    static unsigned number;
    *host = (struct place_host){0};
    if (!place.authority || ++place.hosts > HOSTS_MOST) {
        make();
        set_automatic();
    }
    snprintf(host->name, sizeof(host->name), "web%u", number++);
    must_hold(hpke_key_new(&host->identity, host->identity_public, NULL) == OK);
    enroll(host);
}

void place_end(struct place_host *host)
{
    secret_free(host->identity);
}

/* Ids of a host are made of a letter and its own: no two hosts have the same. */
static void own_id(const struct place_host *host, char letter, char text[2 * PLACE_ID + 1])
{
    uint8_t id[PLACE_ID];
    memcpy(id, host->identity_public, sizeof(id));
    id[0] = (uint8_t)letter;
    text_format_hex(text, id, sizeof(id));
}

static json_t *stand_for(const struct place_host *host, const char *word)
{
    char text[2 * OPRF_ELEMENT_SIZE + 1];
    const struct {
        const char *word, *text;
    } kept[] = {{"name", host->name},       {"token", host->token}, {"nonce", host->nonce},
                {"request", host->request}, {"code", host->code},   {"lineage", host->lineage},
                {"order", host->order}};
    static const char *const own[] = {"boot", "boot2", "keyslot", "keyslot2", "vault", "vault2"};
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
        if (!strcmp(word, kept[i].word))
            return json_string(kept[i].text);
    for (size_t i = 0; i < ARRAY_SIZE(own); i++)
        if (!strcmp(word, own[i])) {
            own_id(host, (char)i, text);
            return json_string(text);
        }
    if (!strcmp(word, "identity"))
        return json_hex(host->identity_public, HPKE_KEY_SIZE);
    if (!strcmp(word, "host"))
        return json_hex(host->id, PLACE_ID);
    if (!strcmp(word, "blinded") || !strcmp(word, "blinded2"))
        return json_hex(place.element[word[7] ? 1 : 0], OPRF_ELEMENT_SIZE);
    if (!strcmp(word, "id")) {
        uint8_t id[PLACE_ID];
        randombytes_buf(id, sizeof(id));
        return json_hex(id, sizeof(id));
    }
    return NULL;
}

void place_fill_in(const struct place_host *host, json_t *value)
{
    const char *member, *text;
    json_t *item, *stands;
    size_t index;
    void *next;
    json_object_foreach_safe(value, next, member, item)
    {
        text = json_string_value(item);
        stands = text && *text == '@' ? stand_for(host, text + 1) : NULL;
        if (stands)
            json_object_set_new(value, member, stands);
        else
            place_fill_in(host, item);
    }
    json_array_foreach(value, index, item)
    {
        text = json_string_value(item);
        stands = text && *text == '@' ? stand_for(host, text + 1) : NULL;
        if (stands)
            json_array_set_new(value, index, stands);
        else
            place_fill_in(host, item);
    }
}
