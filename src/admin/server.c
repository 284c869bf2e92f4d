/* A thread accepts, one more per connection answers: an operation waits for its commit, and must not keep
 * others from theirs. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "admin/actor.h"
#include "admin/admin.h"
#include "admin/answer.h"
#include "admin/line.h"
#include "base/cleanup.h"
#include "base/text.h"

_Static_assert(LINE_FILES_MAXIMUM == AUTHORITY_FILES, "all of them are handed on");
enum { CLIENTS_MAXIMUM = 32, REQUEST_S = 10, ANSWER_S = 30, BUSY_MS = 200 };

struct client {
    struct admin *admin;
    int fd; /* -1: the place is free */
};

struct admin {
    struct authority *authority;
    struct sockaddr_un address;
    int listener;
    int wake[2]; /* a pipe; closed on this side to end the accepting thread */
    pthread_t acceptor;
    pthread_mutex_t mutex; /* guards clients */
    pthread_cond_t left;
    struct client clients[CLIENTS_MAXIMUM];
    unsigned client_count;
    bool ends;
};

static void write_answer(int fd, json_t *result, bool changed, const struct error *error, int64_t until_ns)
{
    _cleanup_(buffer_done) struct buffer line = {.maximum = ADMIN_ANSWER_MAXIMUM};
    struct error why = ERROR_NONE;
    enum error_code code = admin_answer_format(result, changed, error, &line, &why);
    if (code && !error) {
        line.length = 0;
        error_prefix(&why, "the answer cannot be told");
        code = admin_answer_format(NULL, changed, &why, &line, NULL);
    }
    if (!code)
        code = line_write(fd, &line, until_ns, NULL);
    (void)code; /* nobody is left to be told */
}

static int64_t seconds_from_now(int seconds)
{
    return clock_monotonic_ns() + seconds * CLOCK_NS_PER_S;
}

static void serve(struct admin *admin, int fd)
{
    _cleanup_(buffer_done) struct buffer line = {0};
    _cleanup_(json_freep) json_t *result = NULL;
    struct admin_request request = {0};
    struct authority_actor actor;
    struct error error = ERROR_NONE;
    bool changed = false;
    struct line_files files = {.count = 0};
    enum error_code code =
        line_read_with_files(fd, ADMIN_REQUEST_MAXIMUM, seconds_from_now(REQUEST_S), &line, &files, &error);
    if (code == ERR_CORRUPT)
        error.code = code = ERR_USAGE;
    if (!code)
        code = admin_request_parse(&line, &request, &error);
    if (!code)
        code = actor_of(fd, request.sudo_uid, &actor, &error);
    if (!code) {
        memcpy(actor.files, files.fds, sizeof(actor.files));
        actor.file_count = files.count;
    }
    if (!code)
        code = authority_operate(admin->authority, request.operation, request.arguments, &actor, &result,
                                 &changed, &error);
    write_answer(fd, result, changed, code ? &error : NULL, seconds_from_now(ANSWER_S));
    json_decref(request.document);
    line_files_close(&files);
}

static void *serve_client(void *context)
{
    struct client *client = context;
    struct admin *admin = client->admin;
    serve(admin, client->fd);
    pthread_mutex_lock(&admin->mutex);
    close(client->fd);
    client->fd = -1;
    admin->client_count--;
    pthread_cond_broadcast(&admin->left);
    pthread_mutex_unlock(&admin->mutex);
    return NULL;
}

/* Takes over fd. False when every place is taken, or no thread can be had. */
static bool start_client(struct admin *admin, int fd)
{
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    bool started = false;
    pthread_mutex_lock(&admin->mutex);
    for (unsigned i = 0; !started && !admin->ends && i < CLIENTS_MAXIMUM; i++) {
        struct client *client = &admin->clients[i];
        if (client->fd >= 0)
            continue;
        pthread_t thread;
        *client = (struct client){admin, fd};
        started = pthread_create(&thread, &detached, serve_client, client) == 0;
        if (!started) {
            client->fd = -1;
            break;
        }
        admin->client_count++;
    }
    pthread_mutex_unlock(&admin->mutex);
    pthread_attr_destroy(&detached);
    return started;
}

static void turn_away(int fd)
{
    struct error error = ERROR_NONE;
    error_set(&error, ERR_BUSY, 0, "too many administrators at a time");
    error_remedy(&error, "try again");
    write_answer(fd, NULL, false, &error, clock_monotonic_ns() + BUSY_MS * 1000000L);
    close(fd);
}

static void *accept_clients(void *context)
{
    struct admin *admin = context;
    for (;;) {
        struct pollfd ready[] = {{.fd = admin->listener, .events = POLLIN},
                                 {.fd = admin->wake[0], .events = POLLIN}};
        if (poll(ready, ARRAY_SIZE(ready), -1) < 0 && errno != EINTR)
            return NULL;
        if (ready[1].revents)
            return NULL;
        int fd = accept4(admin->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0 && !start_client(admin, fd))
            turn_away(fd);
        /* Without descriptors or memory the connection stays where it is: not in a tight circle. */
        if (fd < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            nanosleep(&(struct timespec){.tv_nsec = 100 * 1000000L}, NULL);
    }
}

/* Under a name of its own first: nobody connects before mode and group are right. */
static enum error_code make_socket(const char *directory, const char *group, struct admin *admin,
                                   struct error *reterr)
{
    struct sockaddr_un fresh;
    enum error_code code = admin_address(directory, ADMIN_SOCKET_NAME, &admin->address, reterr);
    if (!code)
        code = admin_address(directory, ADMIN_SOCKET_NAME ".new", &fresh, reterr);
    if (code)
        return code;
    admin->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (admin->listener < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot make a socket");
    unlink(fresh.sun_path);
    if (bind(admin->listener, (const struct sockaddr *)&fresh, sizeof(fresh)) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot make %s", text_shown(fresh.sun_path));
    char space[4096];
    struct group entry, *found = NULL;
    if (group && getgrnam_r(group, &entry, space, sizeof(space), &found) == 0 && found &&
        chown(fresh.sun_path, (uid_t)-1, found->gr_gid) < 0 && errno != EPERM)
        return error_set(reterr, ERR_FAILED, errno, "cannot give %s to its group",
                         text_shown(fresh.sun_path));
    if (chmod(fresh.sun_path, 0660) < 0 || listen(admin->listener, CLIENTS_MAXIMUM) < 0 ||
        rename(fresh.sun_path, admin->address.sun_path) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot make %s", text_shown(admin->address.sun_path));
    return OK;
}

static void admin_free(struct admin *admin)
{
    close_fdp(&admin->listener);
    close_fdp(&admin->wake[0]);
    close_fdp(&admin->wake[1]);
    pthread_mutex_destroy(&admin->mutex);
    pthread_cond_destroy(&admin->left);
    free(admin);
}

enum error_code admin_start(const char *directory, const char *group, struct authority *authority,
                            struct admin **ret_admin, struct error *reterr)
{
    struct admin *admin = calloc(1, sizeof(*admin));
    if (!admin)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    *admin = (struct admin){.authority = authority, .listener = -1, .wake = {-1, -1}};
    pthread_mutex_init(&admin->mutex, NULL);
    pthread_cond_init(&admin->left, NULL);
    for (unsigned i = 0; i < CLIENTS_MAXIMUM; i++)
        admin->clients[i].fd = -1;
    enum error_code code = make_socket(directory, group, admin, reterr);
    if (!code && pipe2(admin->wake, O_CLOEXEC) < 0)
        code = error_set(reterr, ERR_FAILED, errno, "cannot make a pipe");
    int failed = code ? 0 : pthread_create(&admin->acceptor, NULL, accept_clients, admin);
    if (failed)
        code = error_set(reterr, ERR_FAILED, failed, "cannot start a thread");
    if (code) {
        unlink(admin->address.sun_path);
        admin_free(admin);
        return code;
    }
    *ret_admin = admin;
    return OK;
}

void admin_end(struct admin *admin)
{
    if (!admin)
        return;
    unlink(admin->address.sun_path);
    close_fdp(&admin->wake[1]);
    pthread_join(admin->acceptor, NULL);
    pthread_mutex_lock(&admin->mutex);
    admin->ends = true;
    /* Those that have not asked yet see the end of their connection; what was asked is answered. */
    for (unsigned i = 0; i < CLIENTS_MAXIMUM; i++)
        if (admin->clients[i].fd >= 0)
            shutdown(admin->clients[i].fd, SHUT_RD);
    while (admin->client_count > 0)
        pthread_cond_wait(&admin->left, &admin->mutex);
    pthread_mutex_unlock(&admin->mutex);
    admin_free(admin);
}
