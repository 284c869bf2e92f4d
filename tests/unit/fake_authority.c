#include "fake_authority.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sodium.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/text.h"

/* In this thread nothing can fail a test: what goes wrong is no answer. */
#define must(expression)                                                                                     \
    do {                                                                                                     \
        if (expression)                                                                                      \
            abort();                                                                                         \
    } while (0)

static void write_descriptor(struct fake_authority *fake)
{
    struct buffer text = {0};
    buffer_done(&fake->descriptor_wire);
    fake->descriptor.sequence++;
    if (fake->descriptor.epoch == 0)
        fake->descriptor.epoch = 1;
    memcpy(fake->descriptor.root, fake->root, sizeof(fake->root));
    memcpy(fake->descriptor.message_key, fake->message_public, sizeof(fake->message_public));
    must(descriptor_format(&fake->descriptor, &text, NULL));
    must(descriptor_sign(text.data, text.length, fake->root_key, &fake->descriptor_wire, NULL));
    buffer_done(&text);
}

void fake_rotate(struct fake_authority *fake)
{
    secret_free(fake->message_key);
    must(hpke_key_new(&fake->message_key, fake->message_public, NULL));
    write_descriptor(fake);
}

void fake_token(const struct fake_authority *fake, char text[80])
{
    uint8_t fingerprint[DESCRIPTOR_FINGERPRINT_SIZE];
    char one[33], two[33];
    descriptor_fingerprint(fake->root, fingerprint);
    text_format_hex(one, fake->token, sizeof(fake->token));
    text_format_hex(two, fingerprint, sizeof(fingerprint));
    snprintf(text, 80, "husk1.%s.%s", one, two);
}

void fake_url(const struct fake_authority *fake, char text[64])
{
    snprintf(text, 64, "http://127.0.0.1:%u", fake->port);
}

static bool read_message(int fd, struct buffer *body)
{
    char bytes[MESSAGE_MAXIMUM + 4096];
    size_t length = 0;
    for (;;) {
        ssize_t got = recv(fd, bytes + length, sizeof(bytes) - length - 1, 0);
        if (got <= 0)
            return false;
        length += (size_t)got;
        bytes[length] = '\0';
        const char *end = memmem(bytes, length, "\r\n\r\n", 4),
                   *field = strcasestr(bytes, "\r\ncontent-length:");
        unsigned long size = field ? strtoul(field + 17, NULL, 10) : 0;
        if (!end || length < (size_t)(end + 4 - bytes) + size)
            continue;
        must(strncmp(bytes, "POST /v1/message HTTP/1.1\r\n", 27) != 0);
        must(buffer_append(body, end + 4, size, NULL));
        return true;
    }
}

static void set_hex(json_t *object, const char *member, const uint8_t *bytes, size_t length)
{
    must(json_set_hex(object, member, bytes, length, NULL));
}

static json_t *make_error(const char *word)
{
    return json_pack("{s:{s:s, s:s}}", "error", "code", word, "message", "the test wants it so");
}

static json_t *evaluate(struct fake_authority *fake, const char *text)
{
    uint8_t blinded[OPRF_ELEMENT_SIZE], evaluated[OPRF_ELEMENT_SIZE];
    char out[2 * OPRF_ELEMENT_SIZE + 1];
    struct secret *other = NULL;
    if (fake->answers_at_random)
        must(oprf_key_new(&other, NULL));
    must(text_parse_hex(text, blinded, sizeof(blinded), NULL));
    must(oprf_evaluate(other ? other : fake->scalar, blinded, evaluated, NULL));
    secret_free(other);
    text_format_hex(out, evaluated, sizeof(evaluated));
    fake->evaluations++;
    return json_string(out);
}

static json_t *on_enroll(struct fake_authority *fake, json_t *message)
{
    uint8_t token[16], identity[HPKE_KEY_SIZE];
    json_t *result = json_object();
    if (json_get_hex(message, "token", token, sizeof(token), NULL) ||
        json_get_hex(message, "identity", identity, sizeof(identity), NULL) ||
        memcmp(token, fake->token, sizeof(token)) ||
        (fake->has_host && memcmp(identity, fake->identity, sizeof(identity)))) {
        json_decref(result);
        return make_error("denied");
    }
    fake->has_host = true;
    memcpy(fake->identity, identity, sizeof(identity));
    snprintf(fake->last_name, sizeof(fake->last_name), "%s",
             json_string_value(json_object_get(message, "name")));
    set_hex(result, "host", fake->host, sizeof(fake->host));
    set_hex(result, "descriptor", (const uint8_t *)fake->descriptor_wire.data, fake->descriptor_wire.length);
    return json_pack("{s:o}", "result", result);
}

static json_t *on_bind(struct fake_authority *fake, json_t *message)
{
    json_t *evaluated = json_array(), *blinded = json_object_get(message, "blinded");
    for (size_t i = 0; i < 2; i++)
        json_array_append_new(evaluated, evaluate(fake, json_string_value(json_array_get(blinded, i))));
    return json_pack("{s:{s:o}}", "result", "evaluated", evaluated);
}

static void take_facts(struct fake_authority *fake, json_t *message)
{
    json_decref(fake->last_facts);
    fake->last_facts = json_incref(json_object_get(message, "facts"));
}

/* The rule of docs/protocol.md, "Lineage". */
static void take_lineage(struct fake_authority *fake, json_t *message)
{
    uint8_t presented[16];
    const char *text = json_string_value(json_object_get(message, "lineage"));
    snprintf(fake->last_lineage, sizeof(fake->last_lineage), "%s", text ? text : "");
    if (!text) {
        fake->stale_lineages += fake->has_lineage;
        return;
    }
    must(text_parse_hex(text, presented, sizeof(presented), NULL));
    if (!memcmp(presented, fake->offered, sizeof(presented))) {
        memcpy(fake->lineage, presented, sizeof(presented));
        fake->has_lineage = true;
        randombytes_buf(fake->offered, sizeof(fake->offered));
    } else if (!fake->has_lineage || memcmp(presented, fake->lineage, sizeof(presented)) != 0) {
        fake->stale_lineages++;
    }
}

static json_t *granted(struct fake_authority *fake, json_t *result)
{
    size_t index;
    json_t *item, *evaluated = json_array();
    json_array_foreach(fake->elements, index, item)
        json_array_append_new(evaluated, evaluate(fake, json_string_value(json_object_get(item, "blinded"))));
    json_object_set_new(result, "evaluated", evaluated);
    set_hex(result, "lineage", fake->offered, sizeof(fake->offered));
    return json_pack("{s:o}", "result", result);
}

static json_t *on_open(struct fake_authority *fake, json_t *message)
{
    static const char *const states[] = {[FAKE_GRANTS] = "granted",
                                         [FAKE_PENDING] = "pending",
                                         [FAKE_DENIES] = "denied",
                                         [FAKE_EXPIRES] = "expired"};
    json_t *open = json_object_get(message, "open");
    const char *asked = json_string_value(json_object_get(message, "request"));
    fake->opens++;
    if (fake->policy == FAKE_ERASED)
        return make_error("erased");
    if (fake->policy == FAKE_HELD)
        return make_error("held");
    if (open) {
        take_lineage(fake, message);
        take_facts(fake, message);
        fake->last_planned = json_is_true(json_object_get(message, "planned"));
        json_decref(fake->elements);
        fake->elements = json_incref(open);
        randombytes_buf(fake->request, sizeof(fake->request));
        text_format_hex(fake->last_request, fake->request, sizeof(fake->request));
    } else if (!asked || strcmp(asked, fake->last_request) != 0 || fake->forgets_requests) {
        return make_error("not-found");
    }
    json_t *result = json_pack("{s:s, s:s, s:[s], s:[s], s:i}", "state", states[fake->policy], "code", "1234",
                               "flags", "clock", "reasons", "the test wants it so", "expires_at", 1);
    set_hex(result, "request", fake->request, sizeof(fake->request));
    return fake->policy == FAKE_GRANTS ? granted(fake, result) : json_pack("{s:o}", "result", result);
}

static json_t *orders_of(const struct fake_authority *fake)
{
    json_t *orders = json_array();
    for (size_t i = 0; i < ARRAY_SIZE(fake->orders) && fake->orders[i][0]; i++)
        json_array_append_new(orders, json_string(fake->orders[i]));
    return orders;
}

static json_t *signed_erased(struct fake_authority *fake, const uint8_t *vault, enum fake_erased how)
{
    struct buffer text = {0}, wire = {0};
    struct secret *other = NULL;
    uint8_t unused[SIGN_PUBLIC_SIZE];
    struct erased erased = {.is_host = !vault, .sequence = 1};
    memcpy(erased.host, fake->host, sizeof(erased.host));
    if (vault)
        memcpy(erased.vault, vault, sizeof(erased.vault));
    erased.host[0] ^= how == FAKE_SIGNS_FOR_ANOTHER_HOST;
    erased.vault[0] ^= how == FAKE_SIGNS_FOR_ANOTHER_VAULT;
    erased.is_host ^= how == FAKE_SIGNS_THE_OTHER_EXTENT;
    must(erased_format(&erased, &text, NULL));
    if (how == FAKE_SIGNS_BY_ANOTHER_KEY)
        must(sign_key_new(&other, unused, NULL));
    must(sign_append(other ? other : fake->signing_key,
                     how == FAKE_SIGNS_ANOTHER_KIND ? ORDER_KIND : ERASED_KIND, text.data, text.length, &wire,
                     NULL));
    json_t *hex = json_hex(wire.data, wire.length);
    secret_free(other);
    buffer_done(&text);
    buffer_done(&wire);
    return hex;
}

static json_t *on_erase(struct fake_authority *fake, json_t *message)
{
    const enum fake_erased how = fake->erased;
    json_t *answers = json_array(), *vaults = json_object_get(message, "vaults");
    if (how != FAKE_SIGNS_NOTHING && json_is_true(json_object_get(message, "final")))
        json_array_append_new(answers, signed_erased(fake, NULL, how));
    for (size_t i = 0; how != FAKE_SIGNS_NOTHING && i < json_array_size(vaults); i++) {
        uint8_t vault[STATEMENT_ID_SIZE];
        must(text_parse_hex(json_string_value(json_array_get(vaults, i)), vault, sizeof(vault), NULL));
        json_array_append_new(answers, signed_erased(fake, vault, how));
    }
    return json_pack("{s:{s:o}}", "result", "erased", answers);
}

static json_t *on_heartbeat(struct fake_authority *fake, json_t *message)
{
    json_t *result = json_pack("{s:o}", "orders", orders_of(fake));
    take_facts(fake, message);
    const char *checkpoint =
        json_string_value(json_object_get(json_object_get(message, "checkpoint"), "signed"));
    snprintf(fake->last_checkpoint, sizeof(fake->last_checkpoint), "%s", checkpoint ? checkpoint : "");
    take_lineage(fake, message);
    set_hex(result, "lineage", fake->offered, sizeof(fake->offered));
    return json_pack("{s:o}", "result", result);
}

static json_t *decide(struct fake_authority *fake, json_t *message)
{
    uint8_t nonce[16];
    enum message_type type = MESSAGE_ENROLL;
    const bool is_enroll =
        json_string_value(json_object_get(message, "type"))[0] == 'e' && json_object_get(message, "token");
    must(message_get_type(message, is_enroll ? MESSAGE_BASE : MESSAGE_AUTH, &type, NULL));
    if (message_types[type].takes_nonce) {
        must(json_get_hex(message, "nonce", nonce, sizeof(nonce), NULL));
        bool is_stale = memcmp(nonce, fake->nonce, sizeof(nonce)) != 0;
        if (!is_stale && fake->stale_times > 0) {
            fake->stale_times--;
            is_stale = true;
        }
        randombytes_buf(fake->nonce, sizeof(fake->nonce));
        if (is_stale)
            return make_error("stale-nonce");
    }
    switch (type) {
    case MESSAGE_ENROLL:
        return on_enroll(fake, message);
    case MESSAGE_BIND:
        return on_bind(fake, message);
    case MESSAGE_UNBIND:
        return fake->unbinds++ ? make_error("not-found") : json_pack("{s:{}}", "result");
    case MESSAGE_OPEN:
        return on_open(fake, message);
    case MESSAGE_TICKET:
        fake->tickets++;
        return json_pack("{s:{s:i}}", "result", "expires_at", 2000000000);
    case MESSAGE_HEARTBEAT:
        return on_heartbeat(fake, message);
    case MESSAGE_POLL:
        return json_pack("{s:{s:o}}", "result", "orders", orders_of(fake));
    case MESSAGE_ERASE:
        return on_erase(fake, message);
    case MESSAGE_DONE:
    case MESSAGE_KEYCOPIES:
        return json_pack("{s:{}}", "result");
    default:
        return make_error("bad-message");
    }
}

static void answer_message(struct fake_authority *fake, const struct buffer *wire, struct buffer *body)
{
    struct message_header header;
    json_t *message = NULL;
    struct hpke_context *context = NULL;
    const struct hpke_sender sender = {fake->identity, NULL};
    if (message_parse_header(wire->data, wire->length, &header, NULL) ||
        message_open(wire->data, wire->length, (struct message_key){fake->message_key, fake->message_public},
                     header.mode == MESSAGE_AUTH ? &sender : NULL, &message, &context, NULL)) {
        must(answer_plain(ANSWER_DESCRIPTOR, fake->descriptor_wire.data, fake->descriptor_wire.length, body,
                          NULL));
        return;
    }
    json_t *answer = decide(fake, message);
    json_object_set(answer, "id", json_object_get(message, "id"));
    set_hex(answer, "nonce", fake->nonce, sizeof(fake->nonce));
    if (fake->checkpoint[0])
        json_object_set_new(answer, "checkpoint", json_pack("{s:s}", "signed", fake->checkpoint));
    must(answer_seal(answer, context, body, NULL));
    json_decref(answer);
    json_decref(message);
    hpke_context_free(context);
}

static enum fake_wire next_wire(struct fake_authority *fake)
{
    const enum fake_wire wire = fake->wire;
    if (fake->wire_times > 0 && --fake->wire_times == 0)
        fake->wire = FAKE_SPEAKS;
    return wire;
}

static void send_answer(int fd, enum fake_wire wire, const struct buffer *body)
{
    struct buffer answer = {0};
    must(buffer_printf(&answer, NULL, "HTTP/1.1 %s\r\n%s: %zu\r\nServer: a test\r\n\r\n",
                       wire == FAKE_SAYS_503 ? "503 Service Unavailable" : "200 OK",
                       wire == FAKE_IS_CHUNKED ? "Transfer-Encoding: chunked\r\nContent-Length"
                                               : "Content-Length",
                       body->length));
    must(buffer_append(&answer, body->data, body->length, NULL));
    (void)!send(fd, answer.data, wire == FAKE_CUTS_SHORT ? answer.length - body->length / 2 : answer.length,
                MSG_NOSIGNAL);
    buffer_done(&answer);
}

static void serve(struct fake_authority *fake, int fd)
{
    struct buffer wire = {0}, body = {0};
    const enum fake_wire how = next_wire(fake);
    if (read_message(fd, &wire) && how != FAKE_SAYS_NOTHING) {
        fake->messages++;
        if (how == FAKE_TRIES_AGAIN)
            must(answer_plain(ANSWER_TRY_AGAIN, "later", 5, &body, NULL));
        else
            answer_message(fake, &wire, &body);
        if (how == FAKE_FLIPS_A_BIT)
            body.data[body.length - 1] ^= 1;
        send_answer(fd, how, how == FAKE_ANSWERS_BEFORE ? &fake->before : &body);
        buffer_done(&fake->before);
        fake->before = body;
        body = (struct buffer){0};
    }
    buffer_done(&wire);
    buffer_done(&body);
}

static void *run(void *context)
{
    struct fake_authority *fake = context;
    for (;;) {
        int fd = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            return NULL;
        serve(fake, fd);
        close(fd);
    }
}

void fake_start(struct fake_authority *fake)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    uint8_t signing[SIGN_PUBLIC_SIZE];
    *fake = (struct fake_authority){0};
    fake->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fake->listener < 0 || bind(fake->listener, (struct sockaddr *)&address, sizeof(address)) ||
         listen(fake->listener, 16) || getsockname(fake->listener, (struct sockaddr *)&address, &size));
    fake->port = ntohs(address.sin_port);
    must(sign_key_new(&fake->root_key, fake->root, NULL));
    must(sign_key_new(&fake->signing_key, signing, NULL));
    must(oprf_key_new(&fake->scalar, NULL));
    memcpy(fake->descriptor.signing_key, signing, sizeof(signing));
    fake->descriptor.address_count = 1;
    fake_url(fake, fake->descriptor.addresses[0]);
    randombytes_buf(fake->token, sizeof(fake->token));
    randombytes_buf(fake->host, sizeof(fake->host));
    randombytes_buf(fake->nonce, sizeof(fake->nonce));
    randombytes_buf(fake->offered, sizeof(fake->offered));
    fake_rotate(fake);
    must(pthread_create(&fake->thread, NULL, run, fake));
}

void fake_stop(struct fake_authority *fake)
{
    shutdown(fake->listener, SHUT_RDWR);
    pthread_join(fake->thread, NULL);
    close(fake->listener);
    secret_free(fake->root_key);
    secret_free(fake->signing_key);
    secret_free(fake->message_key);
    secret_free(fake->scalar);
    buffer_done(&fake->descriptor_wire);
    buffer_done(&fake->before);
    json_decref(fake->elements);
    json_decref(fake->last_facts);
}
