#include "crowd.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, HEAD_SIZE = 256, READ_SIZE = 16384 };

/* A connection, or a request that waits to be tried again. */
struct line {
    struct line *next;
    struct crowd_request request;
    int fd;
    size_t sent;
    struct buffer outgoing, incoming;
    int64_t due_ns;
};

struct run {
    struct crowd *crowd;
    int epoll_fd;
    unsigned open;
    struct line *again; /* those that are to be asked again */
    int64_t again_ns;   /* when the first of them is due */
    int64_t next_ns;    /* when the crowd has another one */
    int64_t now_ns;
};

static void line_free(struct line *line)
{
    if (line->fd >= 0)
        close(line->fd);
    buffer_done(&line->outgoing);
    buffer_done(&line->incoming);
    free(line);
}

static void ask_again(struct run *run, struct line *line, int64_t after_ns)
{
    if (line->fd >= 0)
        close(line->fd);
    line->fd = -1;
    line->sent = 0;
    buffer_done(&line->incoming);
    line->due_ns = run->now_ns + after_ns;
    if (line->due_ns < run->again_ns)
        run->again_ns = line->due_ns;
    line->next = run->again;
    run->again = line;
}

static bool fill_line(const struct crowd *crowd, struct line *line, const struct crowd_request *request)
{
    line->request = *request;
    line->sent = 0;
    buffer_done(&line->outgoing);
    buffer_done(&line->incoming);
    return buffer_printf(&line->outgoing, NULL,
                         "POST %s HTTP/1.1\r\nHost: h\r\nConnection: %s\r\nContent-Type: %s\r\n"
                         "Content-Length: %zu\r\n\r\n",
                         crowd->path, crowd->keeps ? "keep-alive" : "close", crowd->type,
                         request->length) == OK &&
           buffer_append(&line->outgoing, request->body, request->length, NULL) == OK;
}

/* True when the connection goes on with another request. */
static bool settle(struct run *run, struct line *line, const struct crowd_answer *answer)
{
    struct crowd *crowd = run->crowd;
    struct crowd_request request = {.begun_ns = run->now_ns, .tries = 1};
    const int64_t after_ns = crowd->answered(crowd->context, &line->request, answer);
    if (after_ns > 0) {
        run->open--;
        ask_again(run, line, after_ns);
        return false;
    }
    if (crowd->keeps && answer->status && run->now_ns >= run->next_ns &&
        crowd->next(crowd->context, run->now_ns, &request, &run->next_ns) && fill_line(crowd, line, &request))
        return true;
    run->open--;
    line_free(line);
    return false;
}

/* The answer when it is whole; one that ended early is none. */
static bool is_whole(const struct line *line, struct crowd_answer *answer)
{
    const struct buffer *in = &line->incoming;
    const char *end = in->data ? strstr(in->data, "\r\n\r\n") : NULL;
    const char *length = end ? strcasestr(in->data, "\r\ncontent-length:") : NULL;
    if (!length || length > end)
        return false;
    const size_t head = (size_t)(end + 4 - in->data), body = strtoul(length + 17, NULL, 10);
    if (in->length < head + body)
        return false;
    *answer = (struct crowd_answer){
        .status = (unsigned)strtoul(in->data + 9, NULL, 10), .body = end + 4, .length = body};
    return true;
}

enum progress { BLOCKED, ENDED, WHOLE };

static enum progress send_rest(struct line *line)
{
    while (line->sent < line->outgoing.length) {
        const ssize_t sent = send(line->fd, line->outgoing.data + line->sent,
                                  line->outgoing.length - line->sent, MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN ? BLOCKED : ENDED;
        line->sent += (size_t)sent;
    }
    return WHOLE;
}

static enum progress receive(struct line *line, struct crowd_answer *answer)
{
    static char bytes[READ_SIZE];
    for (;;) {
        const ssize_t got = recv(line->fd, bytes, sizeof(bytes), 0);
        if (got < 0 && errno == EAGAIN)
            return BLOCKED;
        if (got <= 0 || buffer_append(&line->incoming, bytes, (size_t)got, NULL) != OK)
            return ENDED;
        if (is_whole(line, answer))
            return WHOLE;
    }
}

static void carry_on(struct run *run, struct line *line)
{
    for (;;) {
        struct crowd_answer answer = {0};
        enum progress progress = send_rest(line);
        if (progress == WHOLE)
            progress = receive(line, &answer);
        if (progress == BLOCKED || !settle(run, line, &answer))
            return;
    }
}

static bool start(struct run *run, struct line *line)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = line};
    const struct sockaddr *address = (const struct sockaddr *)&run->crowd->address;
    line->request.tries++;
    line->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (line->fd < 0)
        return false;
    run->open++;
    if ((connect(line->fd, address, sizeof(run->crowd->address)) < 0 && errno != EINPROGRESS) ||
        epoll_ctl(run->epoll_fd, EPOLL_CTL_ADD, line->fd, &event) < 0)
        (void)settle(run, line, &(struct crowd_answer){0});
    return true;
}

/* Those whose time has come, as long as there may be more connections. */
static bool start_again(struct run *run)
{
    if (run->now_ns < run->again_ns)
        return true;
    struct line *all = run->again;
    run->again = NULL;
    run->again_ns = INT64_MAX;
    while (all) {
        struct line *line = all;
        all = line->next;
        if (line->due_ns <= run->now_ns && run->open < run->crowd->connections) {
            if (!start(run, line))
                return false;
            continue;
        }
        if (line->due_ns < run->again_ns)
            run->again_ns = line->due_ns;
        line->next = run->again;
        run->again = line;
    }
    return true;
}

static struct line *line_new(const struct crowd *crowd, const struct crowd_request *request)
{
    struct line *line = calloc(1, sizeof(*line));
    if (!line)
        return NULL;
    line->fd = -1;
    if (fill_line(crowd, line, request))
        return line;
    line_free(line);
    return NULL;
}

static bool start_new(struct run *run)
{
    struct crowd *crowd = run->crowd;
    while (run->open < crowd->connections && run->now_ns >= run->next_ns) {
        struct crowd_request request = {.begun_ns = run->now_ns};
        if (!crowd->next(crowd->context, run->now_ns, &request, &run->next_ns))
            continue;
        struct line *line = line_new(crowd, &request);
        if (!line || !start(run, line))
            return false;
    }
    return true;
}

static int wait_ms(const struct run *run)
{
    int64_t due_ns = run->again_ns < run->next_ns ? run->again_ns : run->next_ns;
    if (run->crowd->until_ns && run->crowd->until_ns < due_ns)
        due_ns = run->crowd->until_ns;
    if (due_ns <= run->now_ns)
        return run->open < run->crowd->connections ? 0 : 1000;
    return due_ns - run->now_ns > CLOCK_NS_PER_S ? 1000 : (int)((due_ns - run->now_ns) / 1000000) + 1;
}

static bool is_over(const struct run *run)
{
    if (run->crowd->until_ns)
        return run->now_ns >= run->crowd->until_ns;
    return run->open == 0 && !run->again && run->next_ns == INT64_MAX;
}

bool crowd_run(struct crowd *crowd)
{
    struct run run = {.crowd = crowd, .again_ns = INT64_MAX, .now_ns = clock_monotonic_ns()};
    static struct epoll_event events[EVENTS];
    run.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    bool works = run.epoll_fd >= 0;
    while (works && !is_over(&run)) {
        works = start_again(&run) && start_new(&run);
        const int count = works ? epoll_wait(run.epoll_fd, events, EVENTS, wait_ms(&run)) : 0;
        run.now_ns = clock_monotonic_ns();
        for (int i = 0; i < count; i++)
            carry_on(&run, events[i].data.ptr);
    }
    if (run.epoll_fd >= 0)
        close(run.epoll_fd);
    return works;
}
