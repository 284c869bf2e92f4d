/*
 * What an authority answers, as a host reads it: the first letter says what the host asks, every line is an
 * answer. Behind the seal stands any text, and what is signed is signed well where the line says so. Only
 * what is signed changes anything, and what is on the host's disk afterwards is whole.
 *
 *     dTEXT, d          the descriptor in clear: TEXT signed by the root, or the one that is
 *     anything else     sealed; in it {"@order": {...}}, and the like, is that object signed, in hexadecimal,
 *                       and "@id" the message's id
 */
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "client/files.h"
#include "client/ledger.h"
#include "client/wire.h"
#include "target.h"

enum { ANSWERS_MOST = 24, SIZE_MAXIMUM = 16384 };

/* The authority, and what it answers next. */
static struct {
    char at[128], runtime[160];
    struct secret *root_key, *signing_key, *message_key;
    struct descriptor descriptor;
    struct buffer descriptor_wire;
    const char *next, *end;
    unsigned answers;
} fuzzed;

static const struct client_token token = {.token = "sixteen of token"};
static struct client_token the_token;
static const uint8_t KEYSLOT[CLIENT_ID_SIZE] = "a keyslot's id..", VAULT[CLIENT_ID_SIZE] = "a vault's id....";

int64_t __wrap_clock_monotonic_ns(void);
enum error_code __wrap_client_sleep(int64_t ns, struct error *reterr);
enum error_code __wrap_client_open_runtime(struct client *client, struct error *reterr);
enum error_code __wrap_client_post(const char *url, json_t *names, const void *bytes, size_t length,
                                   unsigned timeout_s, struct buffer *body, struct error *reterr);

/* Nobody waits. */
int64_t __wrap_clock_monotonic_ns(void)
{
    static int64_t now_ns;
    return now_ns += CLOCK_NS_PER_S;
}

enum error_code __wrap_client_sleep(int64_t ns, struct error *reterr)
{
    (void)ns, (void)reterr;
    return OK;
}

enum error_code __wrap_client_open_runtime(struct client *client, struct error *reterr)
{
    return client->runtime_fd >= 0 ? OK
                                   : directory_open(AT_FDCWD, fuzzed.runtime, &client->runtime_fd, reterr);
}

/* {"@KIND": {...}} is that object, signed. */
static json_t *sign_one(json_t *value)
{
    static const struct {
        const char *member, *kind;
    } kinds[] = {{"@order", ORDER_KIND},
                 {"@erased", ERASED_KIND},
                 {"@checkpoint", "husk checkpoint v1"},
                 {"@descriptor", NULL}};
    json_t *text = NULL;
    for (size_t i = 0; json_object_size(value) == 1 && i < ARRAY_SIZE(kinds); i++) {
        json_t *object = json_object_get(value, kinds[i].member);
        struct buffer plain = {0}, wire = {0};
        if (!json_is_object(object) || json_format(object, &plain, NULL))
            continue;
        if (kinds[i].kind)
            must_hold(sign_append(fuzzed.signing_key, kinds[i].kind, plain.data, plain.length, &wire, NULL) ==
                      OK);
        else
            must_hold(descriptor_sign(plain.data, plain.length, fuzzed.root_key, &wire, NULL) == OK);
        text = json_hex((const uint8_t *)wire.data, wire.length);
        buffer_done(&plain);
        buffer_done(&wire);
    }
    return text;
}

static json_t *replacement(json_t *value, const char *id)
{
    const char *text = json_string_value(value);
    if (text && !strcmp(text, "@id"))
        return json_string(id);
    return sign_one(value);
}

static void fill_in(json_t *value, const char *id)
{
    const char *member;
    json_t *item, *other;
    size_t index;
    void *next;
    json_object_foreach_safe(value, next, member, item)
    {
        fill_in(item, id);
        other = replacement(item, id);
        if (other)
            json_object_set_new(value, member, other);
    }
    json_array_foreach(value, index, item)
    {
        fill_in(item, id);
        other = replacement(item, id);
        if (other)
            json_array_set_new(value, index, other);
    }
}

static void answer_descriptor(const char *text, size_t length, struct buffer *body)
{
    struct buffer wire = {0};
    if (length == 0)
        must_hold(buffer_append(&wire, fuzzed.descriptor_wire.data, fuzzed.descriptor_wire.length, NULL) ==
                  OK);
    else
        must_hold(descriptor_sign(text, length, fuzzed.root_key, &wire, NULL) == OK);
    must_hold(answer_plain(ANSWER_DESCRIPTOR, wire.data, wire.length, body, NULL) == OK);
    buffer_done(&wire);
}

/* The line behind the seal of the message that was asked; nothing where its key is not the authority's. */
static void answer_sealed(const char *line, size_t length, const void *asked, size_t asked_length,
                          struct buffer *body)
{
    struct message_header header;
    struct client client = {.husk_fd = -1, .runtime_fd = -1};
    uint8_t identity[HPKE_KEY_SIZE] = {0};
    struct hpke_context *context = NULL;
    struct buffer text = {0};
    json_t *message = NULL, *object = NULL;
    must_hold(message_parse_header(asked, asked_length, &header, NULL) == OK);
    if (header.mode == MESSAGE_AUTH) {
        must_hold(client_open_husk(fuzzed.at, CLIENT_DIRECTORY_THERE, &client, NULL) == OK);
        must_hold(client_identity_read(&client, NULL) == OK);
        must_hold(hpke_public_key(client.identity, identity, NULL) == OK);
        secret_free(client.identity);
        close(client.husk_fd);
    }
    const struct hpke_sender sender = {identity, NULL};
    const struct message_key key = {fuzzed.message_key, fuzzed.descriptor.message_key};
    if (message_open(asked, asked_length, key, header.mode == MESSAGE_AUTH ? &sender : NULL, &message,
                     &context, NULL))
        return;
    if (json_parse_object(line, length, "the line", &object, NULL) == OK) {
        fill_in(object, json_string_value(json_object_get(message, "id")));
        must_hold(json_format(object, &text, NULL) == OK);
    } else {
        must_hold(buffer_append(&text, line, length, NULL) == OK);
    }
    if (answer_seal_text(text.data, text.length, context, body, NULL))
        buffer_done(body);
    json_decref(object);
    json_decref(message);
    hpke_context_free(context);
    buffer_done(&text);
}

enum error_code __wrap_client_post(const char *url, json_t *names, const void *bytes, size_t length,
                                   unsigned timeout_s, struct buffer *body, struct error *reterr)
{
    (void)url, (void)names, (void)timeout_s;
    if (fuzzed.next >= fuzzed.end || ++fuzzed.answers > ANSWERS_MOST)
        return error_set(reterr, ERR_UNREACHABLE, 0, "nothing more is said");
    const char *line = fuzzed.next, *newline = memchr(line, '\n', (size_t)(fuzzed.end - line));
    const size_t size = (size_t)((newline ? newline : fuzzed.end) - line);
    fuzzed.next = line + size + 1;
    if (size > 0 && *line == 'd')
        answer_descriptor(line + 1, size - 1, body);
    else
        answer_sealed(line, size, bytes, length, body);
    return body->length ? OK : error_set(reterr, ERR_UNREACHABLE, 0, "it cannot be read");
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void)status, (void)type;
    return where->level > 0 ? remove(path) : 0;
}

static void empty(void)
{
    must_hold(nftw(fuzzed.at, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
    must_hold(mkdir(fuzzed.runtime, 0700) == 0);
}

static void leave(void)
{
    must_hold(nftw(fuzzed.at, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
    rmdir(fuzzed.at);
}

int LLVMFuzzerInitialize(int *argument_count, char ***arguments)
{
    const char *scratch = getenv("HUSK_TEST_SCRATCH");
    struct buffer text = {0};
    (void)argument_count;
    (void)arguments;
    must_hold(secret_start(NULL) == OK);
    snprintf(fuzzed.at, sizeof(fuzzed.at), "%s/husk-fuzz-XXXXXX",
             scratch                         ? scratch
             : access("/dev/shm", W_OK) == 0 ? "/dev/shm"
                                             : "/tmp");
    must_hold(mkdtemp(fuzzed.at) != NULL);
    snprintf(fuzzed.runtime, sizeof(fuzzed.runtime), "%s/run", fuzzed.at);
    atexit(leave);
    fuzzed.descriptor = (struct descriptor){.sequence = 5, .epoch = 1, .issued_at_unix_s = 1770000000};
    must_hold(sign_key_new(&fuzzed.root_key, fuzzed.descriptor.root, NULL) == OK);
    must_hold(sign_key_new(&fuzzed.signing_key, fuzzed.descriptor.signing_key, NULL) == OK);
    must_hold(hpke_key_new(&fuzzed.message_key, fuzzed.descriptor.message_key, NULL) == OK);
    must_hold(descriptor_add_address(&fuzzed.descriptor, "http://192.0.2.1:4875", NULL) == OK);
    must_hold(descriptor_format(&fuzzed.descriptor, &text, NULL) == OK);
    must_hold(descriptor_sign(text.data, text.length, fuzzed.root_key, &fuzzed.descriptor_wire, NULL) == OK);
    the_token = token;
    descriptor_fingerprint(fuzzed.descriptor.root, the_token.fingerprint);
    buffer_done(&text);
    return 0;
}

static enum error_code enroll(void)
{
    struct client_pin pin = {0};
    bool changed = false;
    enum error_code code = client_enroll(fuzzed.at, "http://192.0.2.1:4875", &the_token, "web1",
                                         clock_system(), &pin, &changed, NULL);
    must_hold(code || !memcmp(pin.descriptor.root, fuzzed.descriptor.root, SIGN_PUBLIC_SIZE));
    client_pin_done(&pin);
    return code;
}

/* With answers of ours. */
static void enroll_well(void)
{
    static char said[4096];
    static const char *const form =
        "d\n{\"id\":\"@id\",\"nonce\":\"%1$s\",\"result\":{\"host\":\"%1$s\",\"descriptor\":\"%2$s\"}}\n"
        "{\"id\":\"@id\",\"nonce\":\"%1$s\",\"result\":{\"orders\":[]}}\n";
    char hex[2 * DESCRIPTOR_MAXIMUM + 1];
    must_hold(fuzzed.descriptor_wire.length <= 1024);
    text_format_hex(hex, (const uint8_t *)fuzzed.descriptor_wire.data, fuzzed.descriptor_wire.length);
    snprintf(said, sizeof(said), form, "000102030405060708090a0b0c0d0e0f", hex);
    fuzzed.answers = 0;
    fuzzed.next = said;
    fuzzed.end = said + strlen(said);
    must_hold(enroll() == OK);
}

static const struct client_effort EFFORT = {0, 3};

static void request(struct client *client, struct client_pin *pin, struct finding_list *findings)
{
    struct client_element element = {.blinded = "any bytes"};
    struct client_decision decision = {0};
    memcpy(element.keyslot, KEYSLOT, sizeof(KEYSLOT));
    enum error_code code = client_request(client, pin, VAULT, &element, 1, EFFORT, &decision, findings, NULL);
    must_hold(code || decision.count == 1);
    if (!code)
        code = client_request_again(client, pin, decision.request, 1, EFFORT, &decision, findings, NULL);
    must_hold(code || strlen(decision.code) < sizeof(decision.code));
}

static void news(struct client *client, struct client_pin *pin, struct finding_list *findings, bool beats)
{
    struct client_news news = {0};
    struct client_orders orders = {0};
    enum error_code code = beats ? client_heartbeat(client, pin, NULL, EFFORT, &news, NULL)
                                 : client_poll(client, pin, EFFORT, &news, NULL);
    if (!code)
        code = client_orders_take(client, pin, news.orders, &orders, findings, NULL);
    for (size_t i = 0; !code && i < orders.count; i++) {
        must_hold(orders.items[i].sequence <= orders.highest && orders.items[i].action < ORDER_ACTIONS);
        must_hold(client_order_note(client, pin, orders.items[i].id, "done", json_object(), NULL) == OK);
        snprintf(orders.items[i].outcome, sizeof(orders.items[i].outcome), "done");
        (void)!client_order_answer(client, pin, &orders.items[i], NULL);
    }
    client_orders_done(&orders);
    client_news_done(&news);
}

static void erase(struct client *client, struct client_pin *pin, bool whole)
{
    struct buffer wire = {0};
    struct erased erased = {0};
    enum error_code code = whole ? client_erase_host(client, pin, &wire, &erased, NULL)
                                 : client_erase_vault(client, pin, VAULT, &wire, &erased, NULL);
    if (!code) {
        must_hold(!memcmp(erased.host, pin->host, sizeof(erased.host)) && erased.is_host == whole);
        must_hold(whole || !memcmp(erased.vault, VAULT, sizeof(erased.vault)));
        must_hold(wire.length > SIGN_SIGNATURE_SIZE);
    }
    erased_done(&erased);
    buffer_done(&wire);
}

static void ask(char what, struct client *client, struct client_pin *pin, struct finding_list *findings)
{
    static const uint8_t blinded[2][CLIENT_ELEMENT_SIZE] = {{1}, {2}};
    uint8_t evaluated[2][CLIENT_ELEMENT_SIZE];
    int64_t expires_at;
    json_t *copies = json_array();
    enum error_code code = OK;
    if (what == 'b')
        code = client_bind(client, pin, KEYSLOT, VAULT, "main", blinded, evaluated, NULL);
    else if (what == 'u')
        code = client_unbind(client, pin, KEYSLOT, NULL);
    else if (what == 'o')
        request(client, pin, findings);
    else if (what == 't')
        code = client_ticket(client, pin, CLIENT_REBOOT, &expires_at, NULL);
    else if (what == 'h' || what == 'p')
        news(client, pin, findings, what == 'h');
    else if (what == 'k')
        code = client_keycopies(client, pin, copies, NULL);
    else if (what == 'd')
        code = client_report_vault(client, pin, VAULT, "done", json_object(), NULL);
    else if (what == 'v' || what == 'e')
        erase(client, pin, what == 'e');
    (void)code;
    json_decref(copies);
}

/* What is there now is read by the next that comes, and is of the same authority. */
static void look_again(bool is_enrolled)
{
    struct client *client = NULL;
    struct client_orders orders = {0};
    struct lineage_entry entry;
    struct finding_list findings = {0};
    must_hold(client_open(fuzzed.at, &client, NULL) == OK);
    must_hold(client->pin_count == (is_enrolled ? 1 : client->pin_count));
    for (size_t i = 0; i < client->pin_count; i++) {
        struct client_pin *pin = &client->pins[i];
        int lock_fd = -1;
        must_hold(!memcmp(pin->descriptor.root, fuzzed.descriptor.root, SIGN_PUBLIC_SIZE));
        must_hold(lineage_lock(client, &lock_fd, NULL) == OK);
        must_hold(lineage_get(client, pin->id, &entry, NULL) == OK);
        close(lock_fd);
        must_hold(client_orders_read(client, pin, &orders, NULL) == OK);
        client_orders_done(&orders);
    }
    client_ledger_tell(client, &findings);
    finding_list_done(&findings);
    client_close(client);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct client *client = NULL;
    struct finding_list findings = {0};
    if (size < 2 || size > SIZE_MAXIMUM)
        return -1;
    const char what = (char)data[0];
    empty();
    if (what != 'n')
        enroll_well();
    fuzzed.answers = 0;
    fuzzed.next = (const char *)data + 2;
    fuzzed.end = (const char *)data + size;
    if (what == 'n') {
        (void)!enroll();
    } else {
        must_hold(client_open(fuzzed.at, &client, NULL) == OK && client->pin_count == 1);
        ask(what, client, &client->pins[0], &findings);
        client_close(client);
    }
    finding_list_done(&findings);
    look_again(what != 'n');
    return 0;
}
