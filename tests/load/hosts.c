#include "hosts.h"

#include <errno.h>
#include <sodium.h>
#include <unistd.h>

#include "base/text.h"
#include "crowd.h"
#include "player.h"

enum { GREETERS = 64, BEATERS = 1000, HEX_SIZE = 2 * PLAYER_ID_SIZE + 1 };

/* One host's side of one exchange. */
struct part {
    struct buffer wire; /* of an open, made beforehand */
    struct hpke_context *context;
    struct buffer answer; /* to an open, opened afterwards */
    int64_t took_ns;
    char nonce[HEX_SIZE], lineage[HEX_SIZE];
};

struct play {
    const struct hosts *hosts;
    struct part *parts;
    size_t begun, settled, refused, tries;
    int64_t start_ns, period_ns; /* of heartbeats; 0: all at once */
    const char *type;
    bool tells;            /* each grant */
    bool puts_aside;       /* answers that are opened afterwards */
    double seconds, cpu_s; /* of the run, and what the hosts themselves took of the processors in it */
    struct error error;
};

/* Not in the order in which they stand in the database. */
static uint64_t number_of(const struct play *play, size_t index)
{
    enum { STEP = 7919 }; /* a prime that divides no count anybody gives */
    return play->hosts->first + (uint64_t)index * STEP % play->hosts->count;
}

static void play_done(struct play *play)
{
    for (size_t i = 0; i < play->hosts->count; i++) {
        buffer_done(&play->parts[i].wire);
        buffer_done(&play->parts[i].answer);
        hpke_context_free(play->parts[i].context);
    }
    free(play->parts);
}

static int compare(const void *a, const void *b)
{
    const int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

/* Ends the line that the caller began. */
static void print_times(const struct play *play)
{
    const size_t count = play->hosts->count;
    int64_t *times = calloc(count, sizeof(*times));
    for (size_t i = 0; times && i < count; i++)
        times[i] = play->parts[i].took_ns;
    if (times)
        qsort(times, count, sizeof(*times), compare);
    if (times)
        printf("\"refused\": %zu, \"tries\": %zu, \"seconds\": %.3f, \"cpu_s\": %.3f, \"p50_ms\": %.2f, "
               "\"p99_ms\": %.2f, "
               "\"most_ms\": %.2f}\n",
               play->refused, play->tries, play->seconds, play->cpu_s, (double)times[count / 2] / 1e6,
               (double)times[count * 99 / 100] / 1e6, (double)times[count - 1] / 1e6);
    fflush(stdout);
    free(times);
}

/* docs/protocol.md: after 1 s, then twice as long, up to half as much more by chance. */
static int64_t pause_ns(unsigned tries)
{
    const int64_t pause = CLOCK_NS_PER_S << (tries < 6 ? tries - 1 : 5);
    return pause + (int64_t)randombytes_uniform(1000) * pause / 2000;
}

static bool next_one(void *context, int64_t now_ns, struct crowd_request *ret_request, int64_t *ret_due_ns)
{
    struct play *play = context;
    const size_t count = play->hosts->count, index = play->begun;
    const int64_t due_ns =
        play->start_ns + (play->period_ns ? (int64_t)index * (play->period_ns / (int64_t)count) : 0);
    if (index == count || play->error.code || now_ns < due_ns) {
        *ret_due_ns = index == count || play->error.code ? INT64_MAX : due_ns;
        return false;
    }
    struct part *part = &play->parts[index];
    struct player player;
    if (!part->context) {
        player_of(number_of(play, index), &player);
        json_t *more =
            !strcmp(play->type, "poll")        ? player_poll(&player, play->hosts->connections > 0 ? 300 : 0)
            : !strcmp(play->type, "heartbeat") ? player_heartbeat(&player, part->nonce, part->lineage)
                                               : player_open(&player);
        buffer_done(&part->wire);
        if (player_seal(&player, play->type, more, &part->wire, &part->context, &play->error) != OK)
            return false;
    }
    play->begun++;
    *ret_request = (struct crowd_request){
        .index = index, .body = part->wire.data, .length = part->wire.length, .begun_ns = now_ns};
    return true;
}

static void keep(char *to, json_t *object, const char *member)
{
    const char *text = json_string_value(json_object_get(object, member));
    if (text)
        snprintf(to, HEX_SIZE, "%s", text);
}

static void tell(const struct play *play, size_t index, json_t *result)
{
    struct player player;
    char host[HEX_SIZE];
    player_of(number_of(play, index), &player);
    text_format_hex(host, player.id, sizeof(player.id));
    printf("%s %s\n", host, json_string_value(json_object_get(result, "request")));
}

/* Whether it is what was hoped for. */
static bool take(struct play *play, size_t index, json_t *object)
{
    json_t *result = json_object_get(object, "result");
    keep(play->parts[index].nonce, object, "nonce");
    keep(play->parts[index].lineage, result, "lineage");
    if (strcmp(play->type, "open") != 0)
        return result != NULL;
    const char *state = json_string_value(json_object_get(result, "state"));
    const bool is_granted =
        state && !strcmp(state, "granted") && json_array_size(json_object_get(result, "evaluated")) == 1;
    if (is_granted && play->tells)
        tell(play, index, result);
    return is_granted;
}

/* What the answer says it is, or what came instead: an answer that does not open is the host's end. */
static enum answer_kind open_answer(struct play *play, size_t index, const void *bytes, size_t length)
{
    struct part *part = &play->parts[index];
    _cleanup_(buffer_done) struct buffer plain = {0};
    _cleanup_(json_freep) json_t *object = NULL;
    enum answer_kind kind = ANSWER_TRY_AGAIN;
    if (answer_open(bytes, length, part->context, &kind, &object, &plain, NULL) != OK)
        kind = ANSWER_DESCRIPTOR;
    if (kind == ANSWER_TRY_AGAIN)
        return kind;
    if (kind == ANSWER_SEALED && take(play, index, object))
        play->settled++;
    else
        play->refused++;
    hpke_context_free(TAKE(part->context));
    return kind;
}

/* Every host has a processor of its own to open its answer with, here they have two together with the
 * authority: those nobody waits for are opened when the clock has stopped. */
static bool put_aside(struct play *play, struct part *part, const struct crowd_answer *answer)
{
    enum { AT_KIND = 5 }; /* docs/protocol.md, "Answers" */
    const uint8_t *bytes = answer->body;
    return play->puts_aside && answer->length > AT_KIND && bytes[AT_KIND] == ANSWER_SEALED &&
           buffer_append(&part->answer, answer->body, answer->length, NULL) == OK;
}

static void open_those_aside(struct play *play)
{
    for (size_t i = 0; i < play->hosts->count; i++)
        if (play->parts[i].answer.length > 0)
            (void)open_answer(play, i, play->parts[i].answer.data, play->parts[i].answer.length);
}

static int64_t answered(void *context, const struct crowd_request *request, const struct crowd_answer *answer)
{
    struct play *play = context;
    struct part *part = &play->parts[request->index];
    play->tries++;
    if (play->tells && answer->status == 0)
        exit(0); /* nobody listens any more */
    if (answer->status != 200)
        return pause_ns(request->tries);
    if (!put_aside(play, part, answer) &&
        open_answer(play, request->index, answer->body, answer->length) == ANSWER_TRY_AGAIN)
        return pause_ns(request->tries);
    part->took_ns = clock_monotonic_ns() - request->begun_ns;
    return 0;
}

static double taken_cpu_s(void)
{
    struct timespec taken = {0};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &taken);
    return (double)taken.tv_sec + (double)taken.tv_nsec / CLOCK_NS_PER_S;
}

static enum error_code run(struct play *play, unsigned connections, int64_t until_ns, struct error *reterr)
{
    struct crowd crowd = {.address = play->hosts->address,
                          .path = "/v1/message",
                          .type = "application/octet-stream",
                          .connections = connections,
                          .keeps = play->hosts->keeps,
                          .context = play,
                          .next = next_one,
                          .answered = answered,
                          .until_ns = until_ns};
    play->begun = play->settled = play->refused = play->tries = 0;
    play->start_ns = clock_monotonic_ns();
    const double cpu_s = taken_cpu_s();
    if (!crowd_run(&crowd))
        return error_set(reterr, ERR_FAILED, errno, "cannot have so many sockets");
    play->seconds = (double)(clock_monotonic_ns() - play->start_ns) / CLOCK_NS_PER_S;
    play->cpu_s = taken_cpu_s() - cpu_s;
    open_those_aside(play);
    if (play->error.code && reterr)
        *reterr = play->error;
    return play->error.code;
}

static enum error_code begin(struct play *play, const struct hosts *hosts, const char *type,
                             struct error *reterr)
{
    *play = (struct play){.hosts = hosts, .type = type, .parts = calloc(hosts->count, sizeof(*play->parts))};
    return play->parts ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
}

/* What takes the host's own time is done before the clock runs. */
static enum error_code seal_all(struct play *play, struct error *reterr)
{
    enum error_code code = OK;
    for (size_t i = 0; !code && i < play->hosts->count; i++) {
        struct player player;
        player_of(number_of(play, i), &player);
        code = player_seal(&player, play->type, player_open(&player), &play->parts[i].wire,
                           &play->parts[i].context, reterr);
    }
    return code;
}

static enum error_code open_all(struct play *play, struct error *reterr)
{
    enum error_code code = seal_all(play, reterr);
    if (!code)
        code = run(play, play->hosts->connections, 0, reterr);
    return code;
}

enum error_code hosts_open(const struct hosts *hosts, struct error *reterr)
{
    struct play play;
    enum error_code code = begin(&play, hosts, "open", reterr);
    play.puts_aside = true;
    if (!code)
        code = open_all(&play, reterr);
    if (!code) {
        printf("{\"granted\": %zu, ", play.settled);
        print_times(&play);
    }
    play_done(&play);
    return code;
}

enum error_code hosts_open_seen(const struct hosts *hosts, struct error *reterr)
{
    struct play play;
    enum error_code code = begin(&play, hosts, "open", reterr);
    play.tells = true;
    if (!code)
        code = open_all(&play, reterr);
    play_done(&play);
    return code;
}

enum error_code hosts_greet(const struct hosts *hosts, struct error *reterr)
{
    struct play play;
    struct hosts greeting = *hosts;
    greeting.connections = 0; /* polls that are not held */
    enum error_code code = begin(&play, &greeting, "poll", reterr);
    if (!code)
        code = run(&play, hosts->connections, 0, reterr);
    if (!code)
        printf("{\"greeted\": %zu}\n", play.settled);
    play_done(&play);
    return code;
}

enum error_code hosts_poll(const struct hosts *hosts, struct error *reterr)
{
    struct play play;
    enum error_code code = begin(&play, hosts, "poll", reterr);
    if (!code)
        code = run(&play, (unsigned)hosts->count, clock_monotonic_ns() + hosts->connections * CLOCK_NS_PER_S,
                   reterr);
    if (!code)
        printf("{\"held\": %zu}\n", play.begun - play.settled - play.refused);
    play_done(&play);
    return code;
}

enum error_code hosts_beat(const struct hosts *hosts, struct error *reterr)
{
    struct play play;
    struct hosts greeting = *hosts;
    greeting.connections = 0; /* polls that are not held */
    enum error_code code = begin(&play, &greeting, "poll", reterr);
    if (!code)
        code = run(&play, GREETERS, 0, reterr);
    play.type = "heartbeat";
    if (!code)
        code = run(&play, GREETERS, 0, reterr); /* the first of all, in which the authority learns most */
    if (!code) {
        printf("{\"greeted\": %zu, ", play.settled);
        print_times(&play);
        play.period_ns = hosts->connections * CLOCK_NS_PER_S;
        code = run(&play, BEATERS, 0, reterr);
    }
    if (!code) {
        printf("{\"beats\": %zu, ", play.settled);
        print_times(&play);
    }
    play_done(&play);
    return code;
}
