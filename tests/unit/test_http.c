/* The fronts of the authority with an authority of this test behind them: addresses, whom a proxy speaks for,
 * requests over a real socket, answers that come early, late, from anywhere. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "http/forwarded.h"
#include "unit.h"

/* The authority of this test: what a message's first byte says. */
struct authority {
    char peer[64]; /* of the last message */
    pthread_mutex_t mutex;
    struct held {
        authority_answer *answer;
        void *context;
    } held[64];
    size_t held_count;
    unsigned refused;
};

static struct authority authority = {.mutex = PTHREAD_MUTEX_INITIALIZER};

struct late {
    authority_answer *answer;
    void *context;
};

static void *answer_late(void *context)
{
    struct late *late = context;
    late->answer(late->context, "late", 4, false);
    free(late);
    return NULL;
}

enum error_code authority_message(struct authority *where, const void *bytes, size_t length, const char *peer,
                                  authority_answer *answer, void *context, struct error *reterr)
{
    const char *text = bytes;
    snprintf(where->peer, sizeof(where->peer), "%s", peer);
    if (length > 0 && text[0] == 'B')
        return error_set(reterr, ERR_BUSY, 0, "too much waits");
    if (length > 0 && text[0] == 'L') {
        struct late *late = malloc(sizeof(*late));
        *late = (struct late){answer, context};
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, answer_late, late), 0);
        pthread_detach(thread);
        return OK;
    }
    if (length > 0 && text[0] == 'H') {
        pthread_mutex_lock(&where->mutex);
        assert_true(where->held_count < ARRAY_SIZE(where->held));
        where->held[where->held_count++] = (struct held){answer, context};
        pthread_mutex_unlock(&where->mutex);
        return OK;
    }
    answer(context, bytes, length, length > 0 && text[0] == 'V');
    return OK;
}

void authority_close(struct authority *where)
{
    pthread_mutex_lock(&where->mutex);
    for (size_t i = 0; i < where->held_count; i++)
        where->held[i].answer(where->held[i].context, "again", 5, false);
    where->held_count = 0;
    pthread_mutex_unlock(&where->mutex);
}

/* --- addresses --- */

static bool holds(const char *network_text, const char *address_text)
{
    struct network network;
    struct address address;
    assert_ok(network_parse(network_text, &network, &error));
    assert_true(address_parse(address_text, strlen(address_text), &address));
    return network_holds(&network, &address);
}

static void networks_hold_their_addresses_and_no_others(void **state)
{
    (void)state;
    assert_true(holds("10.0.0.0/8", "10.255.0.1"));
    assert_false(holds("10.0.0.0/8", "11.0.0.1"));
    assert_true(holds("10.0.0.0/8", "::ffff:10.1.2.3"));
    assert_true(holds("192.0.2.128/25", "192.0.2.200"));
    assert_false(holds("192.0.2.128/25", "192.0.2.100"));
    assert_true(holds("192.0.2.7", "192.0.2.7"));
    assert_false(holds("192.0.2.7", "192.0.2.6"));
    assert_true(holds("0.0.0.0/0", "255.255.255.255"));
    assert_false(holds("0.0.0.0/0", "2001:db8::1"));
    assert_true(holds("2001:db8::/33", "2001:db8:7fff::1"));
    assert_false(holds("2001:db8::/33", "2001:db8:8000::1"));
    assert_true(holds("::/0", "192.0.2.1"));
    struct network network;
    static const char *const wrong[] = {
        "",      "/8",          "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0/8", "::1/129",
        "::1/x", "10.0.0.0/8 ", "localhost", "10.0.0.0/+8", "%lo",         "1::2::3",  "[::1]/64"};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_fails(ERR_USAGE, network_parse(wrong[i], &network, &error));
}

static const char *peer_behind(const char *from, const char *header)
{
    static char text[ADDRESS_TEXT_SIZE];
    struct network trusted[2];
    assert_ok(network_parse("10.0.0.0/8", &trusted[0], &error));
    assert_ok(network_parse("fd00::/8", &trusted[1], &error));
    struct connections connections = {.options = {.trusted = trusted, .trusted_count = 2}};
    struct address address, peer;
    assert_true(address_parse(from, strlen(from), &address));
    peer = forwarded_peer(&connections, &address, header, strlen(header));
    address_format(&peer, text);
    return text;
}

static void a_forwarded_address_counts_only_from_a_trusted_proxy(void **state)
{
    (void)state;
    assert_string_equal(peer_behind("192.0.2.1", "198.51.100.7"), "192.0.2.1");
    assert_string_equal(peer_behind("10.0.0.1", "198.51.100.7"), "198.51.100.7");
    assert_string_equal(peer_behind("fd00::1", " 2001:db8::7 "), "2001:db8::7");
    /* What stands before the first address that is no proxy anybody may have written. */
    assert_string_equal(peer_behind("10.0.0.1", "1.2.3.4, 198.51.100.7"), "198.51.100.7");
    assert_string_equal(peer_behind("10.0.0.1", "1.2.3.4,198.51.100.7 ,10.0.0.2"), "198.51.100.7");
    assert_string_equal(peer_behind("10.0.0.1", "10.9.9.9, 10.0.0.2"), "10.9.9.9");
    assert_string_equal(peer_behind("10.0.0.1", "1.2.3.4, unknown"), "10.0.0.1");
    assert_string_equal(peer_behind("10.0.0.1", "1.2.3.4,,"), "10.0.0.1");
    assert_string_equal(peer_behind("10.0.0.1", "1.2.3.4:80"), "10.0.0.1");
    assert_string_equal(peer_behind("10.0.0.1", ""), "10.0.0.1");
}

/* --- requests --- */

struct served {
    struct http *http;
    struct sockaddr_in address;
};

static struct served serve(const struct http_options *with)
{
    struct served served = {.address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}}};
    struct http_options options = *with;
    socklen_t length = sizeof(served.address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&served.address, length), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&served.address, &length), 0);
    assert_int_equal(listen(listener, 64), 0);
    options.listeners = &listener;
    options.listener_count = 1;
    assert_ok(http_start(&options, &authority, &served.http, &error));
    return served;
}

static void end(struct served *served)
{
    http_quiet(served->http);
    authority_close(&authority);
    http_end(served->http);
}

static int reach(const struct served *served)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval patience = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    assert_int_equal(connect(fd, (const struct sockaddr *)&served->address, sizeof(served->address)), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void post(int fd, const char *body)
{
    char request[512];
    snprintf(request, sizeof(request),
             "POST /v1/message HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    say(fd, request);
}

/* One answer with its body, which ends where its length says; empty where the connection ends. */
static const char *hear(int fd)
{
    static char text[65536];
    size_t length = 0, whole = 0;
    while (whole == 0 || length < whole) {
        ssize_t got = recv(fd, text + length, whole ? whole - length : 1, 0);
        if (got <= 0)
            break;
        length += (size_t)got;
        text[length] = '\0';
        const char *told = strstr(text, "Content-Length: ");
        if (whole == 0 && length > 4 && !strcmp(text + length - 4, "\r\n\r\n"))
            whole = length + (told ? strtoul(told + 16, NULL, 10) : 0);
    }
    text[length] = '\0';
    return text;
}

static void assert_heard(int fd, const char *begins, const char *ends)
{
    const char *text = hear(fd);
    if (strncmp(text, begins, strlen(begins)) || strlen(text) < strlen(ends) ||
        strcmp(text + strlen(text) - strlen(ends), ends))
        fail_msg("\"%s\" does not begin with %s and end with %s", text, begins, ends);
}

static void answers_come_back_at_once_late_or_as_try_again(void **state)
{
    (void)state;
    struct served served = serve(&http_defaults);
    int fd = reach(&served);
    for (int i = 0; i < 20; i++) {
        post(fd, "now");
        assert_heard(fd, "HTTP/1.1 200 ", "\r\n\r\nnow");
        post(fd, "Late");
        assert_heard(fd, "HTTP/1.1 200 ", "\r\n\r\nlate");
        post(fd, "Busy");
        assert_heard(fd, "HTTP/1.1 503 ", "\r\n\r\ntoo much waits, try again\n");
        post(fd, "");
        assert_heard(fd, "HTTP/1.1 200 ", "\r\n\r\n");
    }
    assert_string_equal(authority.peer, "127.0.0.1");
    int held = reach(&served);
    post(held, "Hold");
    post(fd, "now");
    assert_heard(fd, "HTTP/1.1 200 ", "now");
    end(&served);
    assert_heard(held, "HTTP/1.1 200 ", "\r\n\r\nagain");
    close(held);
    close(fd);
}

static void what_is_no_message_is_refused_with_a_line(void **state)
{
    (void)state;
    static const struct {
        const char *request, *begins, *ends;
    } cases[] = {
        {"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 ", "\r\n\r\n"},
        {"GET /v1/message HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 405 ", "POST is what is allowed here\n"},
        {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 404 ", "there is only /v1/message here\n"},
        {"GET /v1/message/ HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 404 ", "\n"},
        {"POST /healthz HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1 405 ", "\n"},
        {"POST /v1/message HTTP/1.1\r\nHost: h\r\nContent-Length: 65537\r\n\r\n", "HTTP/1.1 413 ", ""},
        {"POST /v1/message HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 411 ", "with its Content-Length\n"},
        {"POST /v1/message HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
         "HTTP/1.1 411 ", "with its Content-Length\n"},
        {"POST /v1/message HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
         "HTTP/1.1 400 ", "\n"},
        {"POST /v1/message HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 4", ""},
        {"POST /v1/message HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 400 ", ""},
    };
    struct served served = serve(&http_defaults);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        int fd = reach(&served);
        say(fd, cases[i].request);
        if (strstr(cases[i].request, "65537"))
            for (int k = 0; k < 65537; k++)
                say(fd, "x");
        assert_heard(fd, cases[i].begins, cases[i].ends);
        close(fd);
    }
    end(&served);
}

static void time_ends_for_those_that_are_slow(void **state)
{
    (void)state;
    struct http_options options = http_defaults;
    options.request_s = 1;
    options.idle_s = 1;
    struct served served = serve(&options);
    int silent = reach(&served), half = reach(&served), idle = reach(&served), held = reach(&served);
    say(half, "POST /v1/message HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
    post(idle, "now");
    assert_heard(idle, "HTTP/1.1 200 ", "now");
    post(held, "Hold");
    for (int i = 0; i < 8; i++) { /* a byte now and then is no help */
        nanosleep(&(struct timespec){.tv_nsec = 250 * 1000000L}, NULL);
        (void)!send(half, "d", 1, MSG_NOSIGNAL);
    }
    assert_string_equal(hear(silent), "");
    assert_string_equal(hear(half), "");
    assert_string_equal(hear(idle), "");
    authority_close(&authority); /* a held one has its time from the authority */
    assert_heard(held, "HTTP/1.1 200 ", "again");
    close(silent);
    close(half);
    close(idle);
    close(held);
    end(&served);
}

/* How many are, until the next is turned away. */
static unsigned count_heard_in_vain(int fd)
{
    for (unsigned count = 0; count < 100; count++) {
        post(fd, "Vain");
        if (strncmp(hear(fd), "HTTP/1.1 503 ", 13) == 0)
            return count;
    }
    return 100;
}

static void what_is_in_vain_counts_against_the_address_and_nothing_else_does(void **state)
{
    (void)state;
    struct http_options options = http_defaults;
    options.connection_rate = 1; /* twenty in vain at once */
    struct served served = serve(&options);
    int fd = reach(&served), other = socket(AF_INET, SOCK_STREAM, 0);
    const struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK + 1)}};
    assert_int_equal(bind(other, (const struct sockaddr *)&from, sizeof(from)), 0);
    assert_int_equal(connect(other, (const struct sockaddr *)&served.address, sizeof(served.address)), 0);
    for (int i = 0; i < 100; i++) {
        post(fd, "now");
        assert_heard(fd, "HTTP/1.1 200 ", "now");
    }
    assert_in_range(count_heard_in_vain(fd), 20, 30);
    post(fd, "Vain");
    assert_heard(fd, "HTTP/1.1 503 ", "too much of what this address says is in vain, try again\n");
    post(other, "now");
    assert_heard(other, "HTTP/1.1 200 ", "now");
    nanosleep(&(struct timespec){.tv_sec = 1, .tv_nsec = 200 * 1000000L}, NULL);
    post(fd, "now"); /* a second later there is room, which what is not in vain does not take */
    assert_heard(fd, "HTTP/1.1 200 ", "now");
    assert_in_range(count_heard_in_vain(fd), 1, 10);
    close(fd);
    close(other);
    end(&served);
}

/* True when the connection is taken. */
static bool is_served(int fd)
{
    say(fd, "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n");
    return !strncmp(hear(fd), "HTTP/1.1 200 ", 13);
}

static void one_address_has_its_limits_and_a_trusted_proxy_none(void **state)
{
    (void)state;
    struct network loopback;
    assert_ok(network_parse("127.0.0.0/8", &loopback, &error));
    for (unsigned trusted = 0; trusted < 2; trusted++) {
        struct http_options options = http_defaults;
        options.connections_per_address = 3;
        options.trusted = &loopback;
        options.trusted_count = trusted;
        struct served served = serve(&options);
        int fds[5];
        for (unsigned i = 0; i < 5; i++) {
            fds[i] = reach(&served);
            assert_int_equal(is_served(fds[i]), trusted || i < 3);
        }
        close(fds[0]);
        nanosleep(&(struct timespec){.tv_nsec = 100 * 1000000L}, NULL);
        int again = reach(&served);
        assert_true(is_served(again));
        close(again);
        for (unsigned i = 1; i < 5; i++)
            close(fds[i]);
        end(&served);
    }
}

static void connections_come_no_faster_than_allowed(void **state)
{
    (void)state;
    struct http_options options = http_defaults;
    options.connection_rate = 2; /* 20 at once */
    struct served served = serve(&options);
    unsigned taken = 0;
    for (unsigned i = 0; i < 40; i++) {
        int fd = reach(&served);
        taken += is_served(fd);
        close(fd);
    }
    assert_in_range(taken, 19, 24);
    end(&served);
}

static void more_held_answers_than_allowed_are_turned_away(void **state)
{
    (void)state;
    struct http_options options = http_defaults;
    options.held = 2;
    struct served served = serve(&options);
    int first = reach(&served), second = reach(&served), third = reach(&served);
    post(first, "Hold");
    post(second, "Hold");
    while (pthread_mutex_lock(&authority.mutex), authority.held_count < 2) {
        pthread_mutex_unlock(&authority.mutex);
        sched_yield();
    }
    pthread_mutex_unlock(&authority.mutex);
    post(third, "Hold");
    assert_heard(third, "HTTP/1.1 503 ", "too many are waiting, try again\n");
    end(&served);
    assert_heard(first, "HTTP/1.1 200 ", "again");
    assert_heard(second, "HTTP/1.1 200 ", "again");
    close(first);
    close(second);
    close(third);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks_hold_their_addresses_and_no_others),
        cmocka_unit_test(a_forwarded_address_counts_only_from_a_trusted_proxy),
        cmocka_unit_test(answers_come_back_at_once_late_or_as_try_again),
        cmocka_unit_test(what_is_no_message_is_refused_with_a_line),
        cmocka_unit_test(time_ends_for_those_that_are_slow),
        cmocka_unit_test(what_is_in_vain_counts_against_the_address_and_nothing_else_does),
        cmocka_unit_test(one_address_has_its_limits_and_a_trusted_proxy_none),
        cmocka_unit_test(connections_come_no_faster_than_allowed),
        cmocka_unit_test(more_held_answers_than_allowed_are_turned_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
