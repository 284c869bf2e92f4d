#include "boot/asking.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "boot/online.h"

/* Each turn waits that long for approvals and connections, then says where it stands. */
enum { TURN_S = 20, PAUSE_MOST_S = 60, DENIED_PAUSE_S = 30 };
/* For what lies behind a card to notice it, before DHCP is tried. */
enum { FIRST_TURN_S = 5 };

struct asking {
    const struct boot_options *options;
    struct online online; /* of the thread alone while it runs, as the next */
    unsigned turn_s;
    bool has_told_pending;       /* in this turn: people are asked, and the console says so */
    struct finding_list told;    /* owned; of findings their kind and subject */
    struct vault *const *vaults; /* not owned */
    size_t vault_count;
    pthread_t thread;
    bool has_thread;
    int event_fd;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool stops; /* from here on under the mutex */
    bool rests; /* until asking_go_on */
    char *line; /* owned; not taken yet */
    struct unlock_answers answers;
};

static void wake(const struct asking *asking)
{
    const uint64_t one = 1;
    (void)!write(asking->event_fd, &one, sizeof(one));
}

static bool is_stopping(struct asking *asking)
{
    pthread_mutex_lock(&asking->mutex);
    const bool stops = asking->stops;
    pthread_mutex_unlock(&asking->mutex);
    return stops;
}

static void tell(struct asking *asking, const char *line, const char *remedy)
{
    pthread_mutex_lock(&asking->mutex);
    char *before = TAKE(asking->line);
    if (asprintf(&asking->line, "%s%s%s%s%s", before ? before : "", before ? "\n" : "", line,
                 remedy[0] ? " - " : "", remedy) < 0)
        asking->line = NULL;
    free(before);
    pthread_mutex_unlock(&asking->mutex);
    wake(asking);
}

/* Each once: it is asked again for ever, and what a cause counts moves on. */
static void tell_findings(struct asking *asking, const struct finding_list *findings)
{
    char line[1024];
    for (size_t i = 0; i < findings->count; i++) {
        const struct finding *finding = &findings->items[i];
        const size_t before = asking->told.count;
        finding_add(&asking->told, FINDING_TELLS, finding->kind, finding->subject, "", "%s", "");
        if (asking->told.count == before)
            continue;
        snprintf(line, sizeof(line), "%s: %s", finding->subject, finding->cause);
        tell(asking, line, finding->remedy);
    }
}

static void on_pending(void *context, const struct client_pin *pin, const struct client_decision *decision)
{
    struct asking *asking = context;
    char line[900];
    if (!unlock_waits_for_people(decision))
        snprintf(line, sizeof(line),
                 "the authority %.8s first asks whether an earlier boot of this host still runs",
                 client_id_shown(pin->id));
    else
        snprintf(line, sizeof(line), "waiting for approval%s%s at the authority %.8s%s%s%s%s",
                 decision->code[0] ? ", code " : "", decision->code, client_id_shown(pin->id),
                 decision->reasons[0] ? ": " : "", decision->reasons,
                 decision->flags[0] ? " - flagged: " : "", decision->flags);
    asking->has_told_pending = true;
    tell(asking, line, "");
}

static enum error_code ask_once(struct asking *asking, struct unlock_answers *answers, struct error *reterr)
{
    _cleanup_(client_closep) struct client *client = NULL;
    _cleanup_(finding_list_done) struct finding_list findings = {0};
    const struct unlock_watch watch = {on_pending, asking};
    asking->has_told_pending = false;
    enum error_code code = online_open_client(asking->options->at, &client, reterr);
    if (!code)
        code = unlock_ask(client, asking->vaults, asking->vault_count, asking->turn_s, &watch, answers,
                          &findings, reterr);
    tell_findings(asking, &findings);
    return code;
}

/* Until it is to ask, or for the end. */
static void wait_to_go_on(struct asking *asking)
{
    pthread_mutex_lock(&asking->mutex);
    while (asking->rests && !asking->stops)
        pthread_cond_wait(&asking->changed, &asking->mutex);
    pthread_mutex_unlock(&asking->mutex);
}

/* Hand the answers over, and ask no more until they are known not to do. */
static void hand_over(struct asking *asking, struct unlock_answers *answers)
{
    pthread_mutex_lock(&asking->mutex);
    asking->answers = *answers;
    *answers = (struct unlock_answers){0};
    asking->rests = true;
    wake(asking);
    pthread_mutex_unlock(&asking->mutex);
    wait_to_go_on(asking);
}

static void rest(unsigned seconds)
{
    uint32_t chance = 0;
    if (getrandom(&chance, sizeof(chance), 0) != (ssize_t)sizeof(chance))
        chance = 0;
    (void)!client_sleep(
        seconds * CLOCK_NS_PER_S + (int64_t)(chance % 1000) * seconds * (CLOCK_NS_PER_S / 2000), NULL);
}

/* As it was while the host ran; what is wrong with that is told. */
static void set_network(struct asking *asking)
{
    struct error why = ERROR_NONE;
    asking->turn_s = FIRST_TURN_S;
    if (!online_may_try_recorded(&asking->online) || !online_try_recorded(&asking->online, &why) ||
        why.code == ERR_INTERRUPTED)
        return;
    tell(asking, why.message, why.remedy);
    asking->turn_s = 0; /* nobody can be reached as it is */
}

/* The second way: true where it was tried, and the authorities are to be asked again at once. Not over
 * cards that are set up and only lack a carrier: that may come any moment, and DHCP would take minutes. Nor
 * where it came while they were asked: they are asked over it first. */
static bool try_dhcp(struct asking *asking, bool had_no_carrier)
{
    struct error why = ERROR_NONE;
    if (!online_may_try_dhcp(&asking->online) || network_awaits_carrier(asking->online.network))
        return false;
    if (had_no_carrier)
        return true;
    tell(asking, ONLINE_TRYING_DHCP, "");
    if (online_try_dhcp(&asking->online, &why) == OK)
        tell(asking, "DHCP has ended; asking again", "");
    else if (why.code != ERR_INTERRUPTED)
        tell(asking, why.message, why.remedy);
    return true;
}

/* What an authority says of itself is true of its own keyslots alone. */
static const char *what_to_do(const struct error *why)
{
    if (why->code == ERR_ERASED)
        return "keys of other kinds may still open this disk; if it is the host that is erased, its agent "
               "then "
               "erases it here as well";
    if (why->code == ERR_DENIED)
        return "ask who administers the authority; it is asked anew by itself";
    return why->remedy;
}

static void *run(void *context)
{
    struct asking *asking = context;
    set_network(asking);
    wait_to_go_on(asking);
    char told[sizeof(((struct error *)0)->message)] = "";
    for (unsigned pause_s = 1; !is_stopping(asking) && !interrupt_requested();) {
        _cleanup_(unlock_answers_done) struct unlock_answers answers = {0};
        struct error why = ERROR_NONE;
        const bool had_no_carrier = network_awaits_carrier(asking->online.network);
        enum error_code code = ask_once(asking, &answers, &why);
        asking->turn_s = TURN_S;
        if (code == ERR_INTERRUPTED || is_stopping(asking))
            break;
        /* A host on hold waits without anybody being asked. */
        const bool is_told = code == ERR_PENDING && asking->has_told_pending;
        if (code && !is_told && strcmp(told, why.message) != 0) {
            snprintf(told, sizeof(told), "%s", why.message);
            tell(asking, why.message, what_to_do(&why));
        }
        if (is_told) /* what was so before that is news where it comes back */
            told[0] = '\0';
        if (answers.count > 0)
            hand_over(asking, &answers);
        if (code == ERR_UNREACHABLE && online_may_try_again(&asking->online)) {
            set_network(asking);
            pause_s = 1;
            continue;
        }
        if (code == ERR_PENDING || (code == ERR_UNREACHABLE && try_dhcp(asking, had_no_carrier))) {
            pause_s = 1;
            continue;
        }
        rest(code == ERR_DENIED ? DENIED_PAUSE_S : pause_s);
        pause_s = pause_s * 2 < PAUSE_MOST_S ? pause_s * 2 : PAUSE_MOST_S;
    }
    return NULL;
}

enum error_code asking_new(const struct boot_options *options, struct vault *const *vaults, size_t count,
                           struct asking **ret_asking, struct error *reterr)
{
    struct asking *asking = calloc(1, sizeof(*asking));
    if (!asking)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    asking->options = options;
    asking->vaults = vaults;
    asking->vault_count = count;
    asking->rests = true;
    pthread_mutex_init(&asking->mutex, NULL);
    pthread_cond_init(&asking->changed, NULL);
    asking->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct error why = ERROR_NONE;
    if (asking->event_fd >= 0 && online_begin(options, &asking->online, &why)) /* as it is, then */
        tell(asking, why.message, why.remedy);
    int os_errno = asking->event_fd < 0 ? errno : pthread_create(&asking->thread, NULL, run, asking);
    asking->has_thread = !os_errno;
    if (os_errno) {
        asking_free(asking);
        return error_set(reterr, ERR_FAILED, os_errno, "cannot ask the authorities");
    }
    *ret_asking = asking;
    return OK;
}

int asking_fd(const struct asking *asking)
{
    return asking->event_fd;
}

enum error_code asking_take(struct asking *asking, char **ret_line, struct unlock_answers *answers,
                            struct error *reterr)
{
    uint64_t count;
    enum error_code code = OK;
    (void)!read(asking->event_fd, &count, sizeof(count));
    pthread_mutex_lock(&asking->mutex);
    *ret_line = TAKE(asking->line);
    for (size_t i = 0; !code && i < asking->answers.count; i++) {
        struct unlock_answer *answer = &asking->answers.items[i];
        code = unlock_answers_add(answers, answer->kind, TAKE(answer->bytes), answer->source, reterr);
    }
    unlock_answers_done(&asking->answers);
    pthread_mutex_unlock(&asking->mutex);
    return code;
}

void asking_go_on(struct asking *asking)
{
    pthread_mutex_lock(&asking->mutex);
    if (asking->answers.count == 0) /* those that came since are tried first */
        asking->rests = false;
    pthread_cond_broadcast(&asking->changed);
    pthread_mutex_unlock(&asking->mutex);
}

void asking_free(struct asking *asking)
{
    if (!asking)
        return;
    pthread_mutex_lock(&asking->mutex);
    asking->stops = true;
    pthread_cond_broadcast(&asking->changed);
    pthread_mutex_unlock(&asking->mutex);
    if (asking->has_thread) {
        /* The handler's flag ends what waits for the network, now or next. */
        pthread_kill(asking->thread, SIGHUP);
        pthread_join(asking->thread, NULL);
    }
    online_end(&asking->online);
    unlock_answers_done(&asking->answers);
    finding_list_done(&asking->told);
    free(asking->line);
    close_fdp(&asking->event_fd);
    pthread_cond_destroy(&asking->changed);
    pthread_mutex_destroy(&asking->mutex);
    free(asking);
}
