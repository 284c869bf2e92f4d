/*
 * Enrolling: fetch the descriptor, check its root against the token, send token and identity, pin, confirm.
 * The identity is on disk before it is sent, and sent again with it a token gets the same answer: so a crash
 * anywhere loses nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "client/files.h"
#include "client/wire.h"

enum { FIRST_ANSWER_S = 15 };

/* Anything the authority cannot read brings its descriptor. */
static enum error_code fetch_descriptor(const char *url, struct buffer *ret_bytes, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *nobody = NULL;
    _cleanup_(hpke_context_freep) struct hpke_context *context = NULL;
    _cleanup_(json_freep) json_t *message = NULL, *answer = NULL;
    _cleanup_(buffer_done) struct buffer wire = {0}, body = {0};
    uint8_t unknown_key[HPKE_KEY_SIZE];
    enum answer_kind kind = ANSWER_TRY_AGAIN;
    enum error_code code = client_message_new(MESSAGE_ENROLL, &message, reterr);
    if (!code)
        code = hpke_key_new(&nobody, unknown_key, reterr);
    if (!code)
        code = message_seal(message, unknown_key, NULL, NULL, &wire, &context, reterr);
    if (!code)
        code = client_post(url, NULL, wire.data, wire.length, FIRST_ANSWER_S, &body, reterr);
    if (code)
        return code;
    code = answer_open(body.data, body.length, context, &kind, &answer, ret_bytes, reterr);
    if (code || kind != ANSWER_DESCRIPTOR)
        return error_set(reterr, ERR_UNREACHABLE, 0, "%s: no authority answers there, or not now",
                         text_shown(url));
    return OK;
}

static enum error_code meet(const char *url, const struct client_token *token, struct client_pin *pin,
                            struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer bytes = {0};
    uint8_t fingerprint[DESCRIPTOR_FINGERPRINT_SIZE];
    enum error_code code = fetch_descriptor(url, &bytes, reterr);
    if (!code)
        code = descriptor_parse(bytes.data, bytes.length, NULL, &pin->descriptor, reterr);
    if (code == ERR_CORRUPT)
        return error_set(reterr, ERR_UNREACHABLE, 0, "%s: what answers there is damaged, or no authority",
                         text_shown(url));
    if (code)
        return code;
    descriptor_fingerprint(pin->descriptor.root, fingerprint);
    if (memcmp(fingerprint, token->fingerprint, sizeof(fingerprint)) != 0) {
        error_set(reterr, ERR_DENIED, 0, "%s is another authority than the one that made the token",
                  text_shown(url));
        return error_remedy(reterr, "check the address; if it is right, something between answers instead");
    }
    code = descriptor_check_reachable(&pin->descriptor, reterr);
    if (code)
        return code;
    memcpy(pin->id, fingerprint, sizeof(pin->id));
    return buffer_append(&pin->descriptor_signed, bytes.data, bytes.length, reterr);
}

static enum error_code take_enrolled(struct client_pin *pin, json_t *result, struct error *reterr)
{
    const char *text = NULL;
    enum error_code code = json_get_hex(result, "host", pin->host, sizeof(pin->host), reterr);
    if (!code)
        code = json_get_string(result, "descriptor", &text, reterr);
    if (code)
        return code;
    const size_t length = strlen(text) / 2;
    _cleanup_(freep) uint8_t *bytes = malloc(length + 1);
    if (!bytes)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    code = text_parse_hex(text, bytes, length, reterr);
    if (!code)
        code = client_pin_take_descriptor(pin, bytes, length, reterr);
    return code == ERR_EXISTS ? OK : code; /* the one that came first */
}

static enum error_code send_token(struct client *client, struct client_pin *pin,
                                  const struct client_token *token, struct error *reterr)
{
    _cleanup_(json_freep) json_t *message = NULL, *result = NULL;
    uint8_t public_key[HPKE_KEY_SIZE];
    enum error_code code = hpke_public_key(client->identity, public_key, reterr);
    if (!code)
        code = client_message_new(MESSAGE_ENROLL, &message, reterr);
    if (!code)
        code = json_set_hex(message, "token", token->token, sizeof(token->token), reterr);
    if (!code)
        code = json_set_new(message, "name", json_string(pin->name), reterr);
    if (!code)
        code = json_set_hex(message, "identity", public_key, sizeof(public_key), reterr);
    if (!code)
        code = client_exchange(client, pin, message, CLIENT_PROMPT, &result, reterr);
    if (code == ERR_DENIED)
        error_remedy(
            reterr, "ask who administers the authority: huskd token create makes another token; --name gives "
                    "the host another name");
    return code ? code : take_enrolled(pin, result, reterr);
}

/* The first message in mode auth: from it on the host counts. */
static enum error_code confirm(struct client *client, struct client_pin *pin, struct error *reterr)
{
    _cleanup_(client_news_done) struct client_news news = {0};
    enum error_code code = client_poll(client, pin, CLIENT_PROMPT, &news, reterr);
    if (!code && news.is_erased)
        code = error_set(reterr, ERR_ERASED, 0, "the authority %.8s says that this host is erased",
                         client_id_shown(pin->id));
    return code;
}

static enum error_code copy_pin(const struct client_pin *pin, struct client_pin *ret_pin,
                                struct error *reterr)
{
    struct client_pin copy = *pin;
    copy.descriptor_signed = (struct buffer){0};
    enum error_code code = buffer_append(&copy.descriptor_signed, pin->descriptor_signed.data,
                                         pin->descriptor_signed.length, reterr);
    if (!code)
        *ret_pin = copy;
    return code;
}

/* What answers at url may be the authority at another address, which no descriptor here has yet. Whoever is
 * there, only what the pinned root signed is taken, and only what is newer. */
static enum error_code follow(struct client *client, const char *url, struct client_pin *pin,
                              bool *ret_changed, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer bytes = {0};
    enum error_code code = fetch_descriptor(url, &bytes, reterr);
    if (!code)
        code = client_pin_take_descriptor(pin, bytes.data, bytes.length, reterr);
    if (!code)
        code = client_pin_write(client, pin, reterr);
    if (!code)
        *ret_changed = true;
    return code == ERR_EXISTS ? OK : code;
}

/* Enrolled already: the authority is looked for at url and where it was, and either will do. */
static enum error_code enroll_again(struct client *client, const char *url, const struct client_pin *there,
                                    struct client_pin *pin, bool *ret_changed, struct error *reterr)
{
    struct error why = ERROR_NONE;
    enum error_code code = client_identity_read(client, reterr);
    if (code == ERR_NOT_FOUND) {
        error_set(reterr, code, 0,
                  "the identity with which this host was enrolled at the authority %.8s is gone",
                  client_id_shown(there->id));
        error_remedy(reterr,
                     "where husk status shows that every vault here is erased, remove .husk, and enrol it as "
                     "another host; else put .husk/host.key back: .husk is what opens the vaults");
        return code;
    }
    if (!code)
        code = copy_pin(there, pin, reterr);
    if (code)
        return code;
    enum error_code followed = follow(client, url, pin, ret_changed, &why);
    code = confirm(client, pin, reterr);
    if (code == ERR_UNREACHABLE && followed && reterr)
        *reterr = why;
    return code == ERR_UNREACHABLE && followed ? followed : code;
}

static enum error_code enroll_new(struct client *client, const char *url, const struct client_token *token,
                                  const char *name, const struct clock *clock, struct client_pin *pin,
                                  struct error *reterr)
{
    if (client->pin_count == CLIENT_AUTHORITIES_MAXIMUM)
        return error_set(reterr, ERR_DENIED, 0, "this host is enrolled at %d authorities, more cannot be",
                         CLIENT_AUTHORITIES_MAXIMUM);
    if (client->husk_fd >= 0 &&
        faccessat(client->husk_fd, CLIENT_ERASED_NAME, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        error_set(reterr, ERR_ERASED, 0, "this host was erased, or is being");
        return error_remedy(reterr,
                            "where husk status shows that every vault here is erased, remove .husk, and "
                            "enrol it as another host");
    }
    snprintf(pin->name, sizeof(pin->name), "%s", name);
    pin->enrolled_unix_s = clock_unix_s(clock) > 0 ? clock_unix_s(clock) : 0;
    enum error_code code = meet(url, token, pin, reterr);
    if (!code)
        code = client_identity_make(client, reterr);
    if (!code)
        code = send_token(client, pin, token, reterr);
    if (!code)
        code = client_pin_write(client, pin, reterr);
    return code ? code : confirm(client, pin, reterr);
}

enum error_code client_enroll(const char *at, const char *url, const struct client_token *token,
                              const char *name, const struct clock *clock, struct client_pin *ret_pin,
                              bool *ret_changed, struct error *reterr)
{
    _cleanup_(client_closep) struct client *client = NULL;
    _cleanup_(client_pin_done) struct client_pin pin = {0};
    enum error_code code = client_check_name(name, reterr);
    if (!code)
        code = client_open(at, &client, reterr);
    if (!code && client->husk_fd < 0)
        code = client_open_husk(at, CLIENT_DIRECTORY_MAKE, client, reterr);
    if (code)
        return code;
    const struct client_pin *there = client_find(client, token->fingerprint);
    bool changed = !there;
    code = there ? enroll_again(client, url, there, &pin, &changed, reterr)
                 : enroll_new(client, url, token, name, clock, &pin, reterr);
    if (code)
        return code;
    *ret_pin = pin;
    *ret_changed = changed;
    pin = (struct client_pin){0};
    return OK;
}
