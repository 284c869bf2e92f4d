/*
 * Asking authorities: each gets one request for all keyslots that are bound to it, and the first whose answer
 * is there wins. Per authority:
 *
 *   NEW ──request──> PENDING ──again──> ENDED, with answers or with why
 *    └─── granted or denied at once ────────┘      no answer: the same again, later
 *   PENDING ── expired or forgotten ──> NEW
 */
#include <sodium.h>

#include "base/text.h"
#include "unlock/kept.h"
#include "unlock/unlock.h"

/* The authority may first ask an earlier boot of this host whether it still runs: PROBE_S. */
enum { HOLD_ALONE_S = 20, HOLD_AMONG_S = 2, PAUSE_MOST_S = 60, KEEP_S = 24 * 3600, PROBE_S = 4 };
enum {
    KEPT_VERSION = 1,
    KEPT_HEAD_SIZE = 2 + CLIENT_ID_SIZE,
    KEPT_ITEM_SIZE = CLIENT_ID_SIZE + OPRF_SCALAR_SIZE
};
_Static_assert(KEPT_HEAD_SIZE + CLIENT_ELEMENTS_MAXIMUM * KEPT_ITEM_SIZE <= KEPT_MAXIMUM, "kept.h");

struct asked_keyslot {
    struct keyslot keyslot;
    size_t vault; /* index */
    struct keyslot_question question;
};

struct asked {
    struct client_pin *pin;
    struct asked_keyslot *keyslots; /* owned */
    size_t count;
    enum { ASKED_NEW, ASKED_PENDING, ASKED_ENDED } phase;
    struct client_decision decision; /* the last */
    struct error why;                /* of the last step that brought no answer */
    int64_t due_ns;                  /* when to try again */
    bool is_told;                    /* that it waits for people */
    bool is_heard;                   /* decision is what the authority says of this request */
    bool is_sent;                    /* the request that message made, if it arrived, is not known yet */
    uint8_t message[CLIENT_ID_SIZE];
    unsigned pause_s;
};

struct asking {
    struct client *client;
    struct vault *const *vaults;
    size_t vault_count;
    bool *covered; /* owned; per vault: an answer is there */
    struct asked asked[CLIENT_AUTHORITIES_MAXIMUM];
    size_t count;
    const struct unlock_watch *watch;
    struct unlock_answers *answers;
    struct finding_list *findings;
    size_t vault; /* while gathering */
};

static void asking_done(struct asking *asking)
{
    for (size_t i = 0; i < asking->count; i++) {
        for (size_t k = 0; k < asking->asked[i].count; k++)
            keyslot_question_done(&asking->asked[i].keyslots[k].question);
        free(asking->asked[i].keyslots);
    }
    free(asking->covered);
}

/* The entry of an authority, made where there is none yet. */
static struct asked *entry_of(struct asking *asking, struct client_pin *pin)
{
    for (size_t i = 0; i < asking->count; i++)
        if (asking->asked[i].pin == pin)
            return &asking->asked[i];
    struct asked *asked = &asking->asked[asking->count++];
    *asked = (struct asked){.pin = pin, .pause_s = 1};
    return asked;
}

static enum error_code add_keyslot(struct asked *asked, const struct keyslot *keyslot, size_t vault,
                                   struct error *reterr)
{
    if (asked->count == CLIENT_ELEMENTS_MAXIMUM)
        return error_set(reterr, ERR_UNSUPPORTED, 0, "more than %d authority keyslots at once",
                         CLIENT_ELEMENTS_MAXIMUM);
    struct asked_keyslot *more = reallocarray(asked->keyslots, asked->count + 1, sizeof(*more));
    if (!more)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    asked->keyslots = more;
    asked->keyslots[asked->count++] = (struct asked_keyslot){.keyslot = *keyslot, .vault = vault};
    return OK;
}

static enum error_code gather(const struct keyslot_id *id, const struct keyslot *keyslot,
                              const struct error *why, void *context, struct error *reterr)
{
    struct asking *asking = context;
    (void)id;
    (void)why; /* damaged ones are told where keyslots are tried */
    if (!keyslot || keyslot->kind != KEYSLOT_AUTHORITY)
        return OK;
    struct client_pin *pin = client_find(asking->client, keyslot->authority.bytes);
    if (!pin) {
        finding_add(asking->findings, FINDING_TELLS, "authority-unknown",
                    client_id_shown(keyslot->authority.bytes), "husk enroll, where this is meant",
                    "a keyslot of vault %s is bound to an authority this host is not enrolled at",
                    asking->vaults[asking->vault]->name);
        return OK;
    }
    return add_keyslot(entry_of(asking, pin), keyslot, asking->vault, reterr);
}

static void keep(const struct asking *asking, const struct asked *asked)
{
    _cleanup_(secret_freep) struct secret *bytes = NULL;
    if (secret_new(KEPT_HEAD_SIZE + asked->count * KEPT_ITEM_SIZE, &bytes, NULL))
        return;
    uint8_t *next = bytes->bytes;
    *next++ = KEPT_VERSION;
    *next++ = (uint8_t)asked->count;
    memcpy(next, asked->decision.request, CLIENT_ID_SIZE);
    next += CLIENT_ID_SIZE;
    for (size_t i = 0; i < asked->count; i++, next += KEPT_ITEM_SIZE) {
        memcpy(next, asked->keyslots[i].keyslot.id.bytes, CLIENT_ID_SIZE);
        memcpy(next + CLIENT_ID_SIZE, asked->keyslots[i].question.blind->bytes, OPRF_SCALAR_SIZE);
    }
    kept_put(asking->client, asked->pin, bytes, KEEP_S);
}

/* A request an earlier husk made for exactly these keyslots. */
static bool take_up(const struct asking *asking, struct asked *asked)
{
    _cleanup_(secret_freep) struct secret *bytes = NULL;
    if (kept_get(asking->client, asked->pin, &bytes) ||
        bytes->length != KEPT_HEAD_SIZE + asked->count * KEPT_ITEM_SIZE || bytes->bytes[0] != KEPT_VERSION ||
        bytes->bytes[1] != asked->count)
        return false;
    const uint8_t *items = bytes->bytes + KEPT_HEAD_SIZE;
    for (size_t i = 0; i < asked->count; i++)
        if (memcmp(items + i * KEPT_ITEM_SIZE, asked->keyslots[i].keyslot.id.bytes, CLIENT_ID_SIZE) != 0)
            return false;
    asked->is_sent = false; /* its questions go */
    for (size_t i = 0; i < asked->count; i++) {
        struct keyslot_question *question = &asked->keyslots[i].question;
        keyslot_question_done(question);
        if (secret_new_copy(items + i * KEPT_ITEM_SIZE + CLIENT_ID_SIZE, OPRF_SCALAR_SIZE, &question->blind,
                            NULL))
            return false;
    }
    memcpy(asked->decision.request, bytes->bytes + 2, CLIENT_ID_SIZE);
    asked->phase = ASKED_PENDING;
    return true;
}

static enum error_code draw_questions(struct asked *asked, struct error *reterr)
{
    enum error_code code = OK;
    randombytes_buf(asked->message, sizeof(asked->message));
    for (size_t i = 0; !code && i < asked->count; i++) {
        struct asked_keyslot *item = &asked->keyslots[i];
        keyslot_question_done(&item->question);
        code = keyslot_blind(&item->keyslot, &item->question, reterr);
    }
    return code;
}

/* Restored from a backup that is older than the keyslot, or damaged. */
static void format_remedy(const struct asking *asking, const struct asked_keyslot *item, char remedy[256])
{
    const char *vault = asking->vaults[item->vault]->name;
    snprintf(
        remedy, 256,
        "open it with another of its keys, then bind it anew: husk keyslot remove %s %.8s, husk keyslot add "
        "%s --authority",
        vault, client_id_shown(item->keyslot.id.bytes), vault);
}

static enum error_code make_request(struct asking *asking, struct asked *asked, struct error *reterr)
{
    struct client_element elements[CLIENT_ELEMENTS_MAXIMUM];
    enum error_code code = asked->is_sent ? OK : draw_questions(asked, reterr);
    if (code)
        return code;
    for (size_t i = 0; i < asked->count; i++) {
        const struct asked_keyslot *item = &asked->keyslots[i];
        memcpy(elements[i].keyslot, item->keyslot.id.bytes, CLIENT_ID_SIZE);
        memcpy(elements[i].blinded, item->question.blinded, CLIENT_ELEMENT_SIZE);
    }
    code = client_request(asking->client, asked->pin, asked->message, elements, asked->count,
                          (struct client_effort){0, 0}, &asked->decision, asking->findings, reterr);
    asked->is_sent = code == ERR_UNREACHABLE;
    if (code == ERR_NOT_FOUND) {
        char remedy[256];
        format_remedy(asking, &asked->keyslots[0], remedy);
        return error_remedy(reterr, "%s", remedy);
    }
    return code;
}

static void tell_missing(const struct asking *asking, const struct asked *asked,
                         const struct asked_keyslot *item)
{
    char remedy[256];
    const char *vault = asking->vaults[item->vault]->name;
    format_remedy(asking, item, remedy);
    finding_add(asking->findings, FINDING_TELLS, "keyslot-not-there", vault, remedy,
                "the authority %.8s does not have its part of a keyslot of vault %s",
                client_id_shown(asked->pin->id), vault);
}

static enum error_code take_grant(struct asking *asking, struct asked *asked, struct error *reterr)
{
    char source[64];
    snprintf(source, sizeof(source), "the authority %.8s", client_id_shown(asked->pin->id));
    for (size_t i = 0; i < asked->count; i++) {
        const struct asked_keyslot *item = &asked->keyslots[i];
        struct secret *answer = NULL;
        if (!asked->decision.is_there[i]) {
            tell_missing(asking, asked, item);
            continue;
        }
        enum error_code code = keyslot_unblind(&item->keyslot, item->question.blind,
                                               asked->decision.evaluated[i], &answer, reterr);
        if (!code)
            code = unlock_answers_add(asking->answers, KEYSLOT_AUTHORITY, answer, source, reterr);
        if (code)
            return error_prefix(reterr, "%s", source);
        asking->covered[item->vault] = true;
    }
    return OK;
}

static enum error_code say_denied(const struct asked *asked, struct error *reterr)
{
    const bool has_reasons = asked->decision.reasons[0] != '\0';
    error_set(reterr, ERR_DENIED, 0, "the authority %.8s denies the request%s%s",
              client_id_shown(asked->pin->id), has_reasons ? ": " : "", asked->decision.reasons);
    error_subject(reterr, "%s", client_id_shown(asked->decision.request));
    return error_remedy(reterr,
                        "ask who administers the authority; the same command again makes a new request");
}

bool unlock_waits_for_people(const struct client_decision *decision)
{
    return decision->reasons[0] || decision->flags[0];
}

static enum error_code say_pending(struct asked *asked, struct error *reterr)
{
    const struct client_decision *decision = &asked->decision;
    const char *authority = client_id_shown(asked->pin->id), *again = "run the same command again";
    const bool has_code = decision->code[0] != '\0';
    if (!unlock_waits_for_people(decision)) {
        error_set(reterr, ERR_PENDING, 0,
                  "the authority %.8s first asks whether an earlier boot of this host still runs", authority);
    } else {
        error_set(reterr, ERR_PENDING, 0, "waiting for approval%s%s at the authority %.8s%s%s",
                  has_code ? ", code " : "", decision->code, authority, decision->reasons[0] ? ": " : "",
                  decision->reasons);
        again = "have the request approved, then run the same command again";
    }
    error_subject(reterr, "%s", client_id_shown(decision->request));
    return error_remedy(reterr, "%s (or with --wait S)", again);
}

static void tell_pending(struct asking *asking, struct asked *asked)
{
    if (asking->watch && !asked->is_told)
        asking->watch->pending(asking->watch->context, asked->pin, &asked->decision);
    asked->is_told = true;
}

/* What a decision means; the code of a step. */
static enum error_code take_decision(struct asking *asking, struct asked *asked, bool is_new,
                                     struct error *reterr)
{
    const enum client_state state = asked->decision.state;
    asked->pause_s = 1;
    asked->is_heard = state == CLIENT_PENDING;
    if (state == CLIENT_PENDING) {
        asked->phase = ASKED_PENDING;
        if (is_new)
            keep(asking, asked);
        if (unlock_waits_for_people(&asked->decision))
            tell_pending(asking, asked);
        return say_pending(asked, reterr);
    }
    kept_drop(asking->client, asked->pin);
    if (state == CLIENT_EXPIRED) {
        asked->phase = ASKED_NEW;
        return error_set(reterr, ERR_PENDING, 0, "the request at the authority %.8s has expired",
                         client_id_shown(asked->pin->id));
    }
    asked->phase = ASKED_ENDED;
    return state == CLIENT_GRANTED ? take_grant(asking, asked, reterr) : say_denied(asked, reterr);
}

/* A request whose id the authority does not know any more is as good as expired. */
static enum error_code ask_again(struct asking *asking, struct asked *asked, unsigned wait_s,
                                 struct error *reterr)
{
    enum error_code code =
        client_request_again(asking->client, asked->pin, asked->decision.request, asked->count,
                             (struct client_effort){wait_s, 0}, &asked->decision, asking->findings, reterr);
    if (code != ERR_NOT_FOUND)
        return code;
    asked->decision.state = CLIENT_EXPIRED;
    return OK;
}

static void step(struct asking *asking, struct asked *asked, unsigned wait_s)
{
    struct error why = ERROR_NONE;
    const bool is_new = asked->phase == ASKED_NEW;
    const bool taken_up = is_new && take_up(asking, asked);
    enum error_code code = asked->phase == ASKED_NEW ? make_request(asking, asked, &why)
                                                     : ask_again(asking, asked, taken_up ? 0 : wait_s, &why);
    if (taken_up && !code && asked->decision.state == CLIENT_EXPIRED) {
        kept_drop(asking->client, asked->pin);
        asked->phase = ASKED_NEW;
        code = make_request(asking, asked, &why);
    }
    const bool is_off = code == ERR_UNREACHABLE || code == ERR_PENDING; /* or on hold */
    if (!code)
        code = take_decision(asking, asked, is_new, &why);
    else if (!is_off) /* erased, denied, no memory: for good */
        asked->phase = ASKED_ENDED;
    if (is_off || (code == ERR_PENDING && asked->phase == ASKED_NEW)) {
        asked->due_ns = clock_monotonic_ns() + asked->pause_s * CLOCK_NS_PER_S;
        asked->pause_s = asked->pause_s * 2 < PAUSE_MOST_S ? asked->pause_s * 2 : PAUSE_MOST_S;
    }
    asked->why = why;
}

static bool is_covered(const struct asking *asking)
{
    for (size_t i = 0; i < asking->vault_count; i++)
        if (!asking->covered[i])
            return false;
    return true;
}

static size_t count_active(const struct asking *asking)
{
    size_t active = 0;
    for (size_t i = 0; i < asking->count; i++)
        active += asking->asked[i].phase != ASKED_ENDED;
    return active;
}

static bool has_pending(const struct asking *asking)
{
    for (size_t i = 0; i < asking->count; i++)
        if (asking->asked[i].phase == ASKED_PENDING && asking->asked[i].is_heard)
            return true;
    return false;
}

/* Sleep until the next authority is due. */
static enum error_code rest(const struct asking *asking, int64_t until_ns, struct error *reterr)
{
    int64_t next_ns = until_ns;
    for (size_t i = 0; i < asking->count; i++)
        if (asking->asked[i].phase != ASKED_ENDED && asking->asked[i].due_ns < next_ns)
            next_ns = asking->asked[i].due_ns;
    return client_sleep(next_ns - clock_monotonic_ns(), reterr);
}

/* Every authority once, and then, while there is time, again. */
static enum error_code ask_all(struct asking *asking, unsigned wait_s, struct error *reterr)
{
    int64_t until_ns = clock_monotonic_ns() + wait_s * CLOCK_NS_PER_S;
    for (bool first = true;; first = false) {
        for (size_t i = 0; i < asking->count && !is_covered(asking); i++) {
            struct asked *asked = &asking->asked[i];
            const int64_t now_ns = clock_monotonic_ns();
            const unsigned left_s = now_ns < until_ns ? (unsigned)((until_ns - now_ns) / CLOCK_NS_PER_S) : 0;
            const unsigned hold_s = count_active(asking) > 1 ? HOLD_AMONG_S : HOLD_ALONE_S;
            if (asked->phase == ASKED_ENDED || now_ns < asked->due_ns)
                continue;
            step(asking, asked, first ? 0 : hold_s < left_s ? hold_s : left_s + 1);
            if (asked->why.code == ERR_INTERRUPTED) {
                *reterr = asked->why;
                return ERR_INTERRUPTED;
            }
        }
        if (first && wait_s < PROBE_S && has_pending(asking))
            until_ns = clock_monotonic_ns() + PROBE_S * CLOCK_NS_PER_S;
        if (is_covered(asking) || count_active(asking) == 0 || clock_monotonic_ns() >= until_ns)
            return OK;
        enum error_code code = rest(asking, until_ns, reterr);
        if (code)
            return code;
    }
}

/* Why some vault has no answer: what passes by itself comes first. */
static enum error_code say_why(const struct asking *asking, struct error *reterr)
{
    const struct error *why = NULL;
    for (size_t i = 0; i < asking->count; i++) {
        const struct error *this = &asking->asked[i].why;
        if (this->code && (!why || this->code == ERR_PENDING ||
                           (this->code == ERR_UNREACHABLE && why->code != ERR_PENDING)))
            why = this;
    }
    if (why) {
        *reterr = *why;
        return why->code;
    }
    error_set(reterr, ERR_WRONG_KEY, 0, "no authority this host is enrolled at opens %s%s",
              asking->vault_count == 1 ? "the vault " : "these vaults",
              asking->vault_count == 1 ? asking->vaults[0]->name : "");
    return error_remedy(reterr, "open it with one of its other keys");
}

enum error_code unlock_ask(struct client *client, struct vault *const *vaults, size_t count, unsigned wait_s,
                           const struct unlock_watch *watch, struct unlock_answers *answers,
                           struct finding_list *findings, struct error *reterr)
{
    _cleanup_(asking_done) struct asking asking = {.client = client,
                                                   .vaults = vaults,
                                                   .vault_count = count,
                                                   .watch = watch,
                                                   .answers = answers,
                                                   .findings = findings};
    struct error why = ERROR_NONE;
    asking.covered = calloc(count + 1, sizeof(*asking.covered));
    if (!asking.covered)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = OK;
    for (asking.vault = 0; !code && asking.vault < count; asking.vault++)
        code = vault_each_keyslot(vaults[asking.vault], gather, &asking, reterr);
    if (!code)
        code = ask_all(&asking, wait_s, reterr);
    for (size_t i = 0; !code && !is_covered(&asking) && i < asking.count; i++)
        if (asking.asked[i].phase == ASKED_PENDING && asking.asked[i].is_heard)
            tell_pending(&asking, &asking.asked[i]);
    if (!code && !is_covered(&asking)) {
        code = say_why(&asking, &why);
        if (reterr)
            *reterr = why;
    }
    return code;
}
