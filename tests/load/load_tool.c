/*
 * Many hosts at once, for measuring huskd and for killing it while it works. Hosts are those of player.h;
 * sockets are of 127.0.0.1; what came of it is one JSON object on standard output.
 *
 *     fill DIR GROUP UNLOCK FIRST COUNT DESCRIPTOR    write hosts FIRST, FIRST+1, … into a database
 *     greet DESCRIPTOR PORT FIRST COUNT CONNECTIONS   each says something, as a host that runs has done
 * before open DESCRIPTOR PORT FIRST COUNT CONNECTIONS    each opens once, its message made beforehand, and
 *                                                    its answer opened and checked when the clock has stopped
 *     kept DESCRIPTOR PORT FIRST COUNT CONNECTIONS    the same over connections that are kept
 *     seen DESCRIPTOR PORT FIRST COUNT CONNECTIONS    the same; a line for each grant: host and request
 *     poll DESCRIPTOR PORT FIRST COUNT SECONDS        each holds a poll for so long
 *     beat DESCRIPTOR PORT FIRST COUNT SECONDS        each says a heartbeat as often as once in so long
 *     post BODY PORT PATH TYPE COUNT CONNECTIONS      the same bytes again and again, for other servers
 *     keep BODY PORT PATH TYPE COUNT CONNECTIONS      the same over connections that are kept
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "crowd.h"
#include "fill.h"
#include "hosts.h"
#include "player.h"

enum { WORDS_MOST = 8 };

static uint64_t number(const char *text)
{
    uint64_t value = 0;
    if (text_parse_u64(text, UINT32_MAX, &value, NULL) != OK) {
        fprintf(stderr, "load_tool: %s is no number\n", text);
        exit(2);
    }
    return value;
}

static struct sockaddr_in address_of_port(const char *text)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)number(text)),
                                .sin_addr = {htonl(INADDR_LOOPBACK)}};
}

static enum error_code do_fill(char **words, struct error *reterr)
{
    return fill(words[0], words[1], words[2], number(words[3]), number(words[4]), words[5], reterr);
}

static enum error_code with_hosts(char **words, hosts_action *action, bool keeps, struct error *reterr)
{
    struct hosts hosts = {.address = address_of_port(words[1]),
                          .first = number(words[2]),
                          .count = number(words[3]),
                          .connections = (unsigned)number(words[4]),
                          .keeps = keeps};
    enum error_code code = player_start(words[0], reterr);
    return code ? code : action(&hosts, reterr);
}

static enum error_code do_open(char **words, struct error *reterr)
{
    return with_hosts(words, hosts_open, false, reterr);
}

static enum error_code do_greet(char **words, struct error *reterr)
{
    return with_hosts(words, hosts_greet, true, reterr);
}

static enum error_code do_kept(char **words, struct error *reterr)
{
    return with_hosts(words, hosts_open, true, reterr);
}

static enum error_code do_seen(char **words, struct error *reterr)
{
    return with_hosts(words, hosts_open_seen, false, reterr);
}

static enum error_code do_poll(char **words, struct error *reterr)
{
    return with_hosts(words, hosts_poll, false, reterr);
}

static enum error_code do_beat(char **words, struct error *reterr)
{
    return with_hosts(words, hosts_beat, false, reterr);
}

struct posting {
    const void *body;
    size_t length;
    size_t begun, count, answered, refused;
};

static bool next_post(void *context, int64_t now_ns, struct crowd_request *ret_request, int64_t *ret_due_ns)
{
    struct posting *posting = context;
    (void)now_ns;
    if (posting->begun == posting->count) {
        *ret_due_ns = INT64_MAX;
        return false;
    }
    ret_request->index = posting->begun++;
    ret_request->body = posting->body;
    ret_request->length = posting->length;
    return true;
}

static int64_t count_answer(void *context, const struct crowd_request *request,
                            const struct crowd_answer *answer)
{
    struct posting *posting = context;
    (void)request;
    if (answer->status == 200 && answer->length > 0)
        posting->answered++;
    else
        posting->refused++;
    return 0;
}

static enum error_code post_all(char **words, bool keeps, struct error *reterr)
{
    char body[8192];
    _cleanup_(close_fdp) int fd = open(words[0], O_RDONLY | O_CLOEXEC);
    const ssize_t length = fd < 0 ? -1 : read(fd, body, sizeof(body));
    struct posting posting = {.body = body, .length = (size_t)length, .count = number(words[4])};
    struct crowd crowd = {.address = address_of_port(words[1]),
                          .path = words[2],
                          .type = words[3],
                          .connections = (unsigned)number(words[5]),
                          .keeps = keeps,
                          .context = &posting,
                          .next = next_post,
                          .answered = count_answer};
    if (length < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot read %s", words[0]);
    const int64_t begun_ns = clock_monotonic_ns();
    if (!crowd_run(&crowd))
        return error_set(reterr, ERR_FAILED, errno, "cannot have so many sockets");
    printf("{\"answered\": %zu, \"refused\": %zu, \"seconds\": %.3f}\n", posting.answered, posting.refused,
           (double)(clock_monotonic_ns() - begun_ns) / CLOCK_NS_PER_S);
    return OK;
}

static enum error_code do_post(char **words, struct error *reterr)
{
    return post_all(words, false, reterr);
}

static enum error_code do_keep(char **words, struct error *reterr)
{
    return post_all(words, true, reterr);
}

static const struct {
    const char *name;
    int words;
    enum error_code (*act)(char **words, struct error *reterr);
} actions[] = {
    {"fill", 6, do_fill}, {"greet", 5, do_greet}, {"open", 5, do_open},
    {"kept", 5, do_kept}, {"seen", 5, do_seen},   {"poll", 5, do_poll},
    {"beat", 5, do_beat}, {"post", 6, do_post},   {"keep", 6, do_keep},
};

/* A connection each. */
static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    struct error error = ERROR_NONE;
    enum error_code code = secret_start(&error);
    raise_descriptors();
    for (size_t i = 0; !code && argc > 1 && i < sizeof(actions) / sizeof(actions[0]); i++)
        if (!strcmp(argv[1], actions[i].name) && argc == actions[i].words + 2) {
            code = actions[i].act(argv + 2, &error);
            if (code)
                fprintf(stderr, "load_tool: %s\n", error.message);
            return code != OK;
        }
    fprintf(stderr, "load_tool: %s\n",
            code ? error.message : "which of fill, greet, open, kept, seen, poll, beat, post, keep?");
    return 2;
}
