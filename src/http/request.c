#include "http/request.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "http/forwarded.h"

enum { DRAINED_MAXIMUM = 4 * MESSAGE_MAXIMUM };

static bool refuse(struct request *request, unsigned status, const char *text)
{
    request->status = status;
    request->text = text;
    return true;
}

/* What stands in the headers that matter here. */
struct headers {
    unsigned lengths, encodings;
    const char *length;
    struct buffer forwarded;
    bool no_memory;
};

static enum MHD_Result look_at_header(void *context, enum MHD_ValueKind kind, const char *name,
                                      const char *value)
{
    (void)kind;
    struct headers *headers = context;
    if (!value)
        value = "";
    if (!strcasecmp(name, MHD_HTTP_HEADER_CONTENT_LENGTH)) {
        headers->lengths++;
        headers->length = value;
    } else if (!strcasecmp(name, MHD_HTTP_HEADER_TRANSFER_ENCODING)) {
        headers->encodings++;
    } else if (!strcasecmp(name, "X-Forwarded-For")) {
        headers->no_memory |= buffer_printf(&headers->forwarded, NULL, "%s%s",
                                            headers->forwarded.length ? "," : "", value) != OK;
    }
    return MHD_YES;
}

/* Before anything of the body is read. Two lengths, or a length and chunks, may mean different things to a
 * proxy in front: where the body ends must not be a question. */
static bool check_length(struct request *request, const struct headers *headers)
{
    uint64_t length = 0;
    if (headers->lengths > 1 || (headers->encodings > 0 && headers->lengths > 0))
        return refuse(request, MHD_HTTP_BAD_REQUEST,
                      "one Content-Length, and nothing else, tells the length\n");
    if (headers->encodings > 0)
        return refuse(request, MHD_HTTP_LENGTH_REQUIRED, "a body comes whole, with its Content-Length\n");
    if (headers->lengths > 0 && text_parse_u64(headers->length, UINT64_MAX, &length, NULL))
        return refuse(request, MHD_HTTP_BAD_REQUEST, "Content-Length is no number\n");
    request->length = length > SIZE_MAX ? SIZE_MAX : (size_t)length;
    return true;
}

static bool check_words(struct request *request, const char *path, const char *method, bool has_length)
{
    bool is_reading = !strcmp(method, MHD_HTTP_METHOD_GET) || !strcmp(method, MHD_HTTP_METHOD_HEAD);
    if (!strcmp(path, "/healthz")) {
        request->allow = "GET, HEAD";
        return is_reading ? refuse(request, MHD_HTTP_OK, "")
                          : refuse(request, MHD_HTTP_METHOD_NOT_ALLOWED, "GET is what is allowed here\n");
    }
    if (strcmp(path, "/v1/message") != 0)
        return refuse(request, MHD_HTTP_NOT_FOUND, "there is only /v1/message here\n");
    request->allow = "POST";
    if (strcmp(method, MHD_HTTP_METHOD_POST) != 0)
        return refuse(request, MHD_HTTP_METHOD_NOT_ALLOWED, "POST is what is allowed here\n");
    if (!has_length)
        return refuse(request, MHD_HTTP_LENGTH_REQUIRED, "a body comes whole, with its Content-Length\n");
    if (request->length > MESSAGE_MAXIMUM)
        return refuse(request, MHD_HTTP_CONTENT_TOO_LARGE, "a message has at most 65536 bytes\n");
    return true;
}

static void take_room(struct request *request, struct connections *connections)
{
    if (connections_reserve(connections, &request->peer, request->length))
        request->reserved = request->length;
    else
        refuse(request, MHD_HTTP_SERVICE_UNAVAILABLE, "too much of this address is on its way, try again\n");
}

bool request_check(struct request *request, struct connections *connections, const char *path,
                   const char *method)
{
    struct headers headers = {0};
    MHD_get_connection_values(request->connection, MHD_HEADER_KIND, look_at_header, &headers);
    request->peer = request->place->address;
    if (headers.forwarded.length > 0)
        request->peer = forwarded_peer(connections, &request->place->address, headers.forwarded.data,
                                       headers.forwarded.length);
    buffer_done(&headers.forwarded);
    if (headers.no_memory)
        return false;
    check_length(request, &headers);
    if (request->status == 0)
        check_words(request, path, method, headers.lengths > 0);
    if (request->status == 0)
        take_room(request, connections);
    if (request->status == 0)
        request->body = malloc(request->length > 0 ? request->length : 1);
    return request->status != 0 || request->body;
}

bool request_can_drain(const struct request *request)
{
    return request->length <= DRAINED_MAXIMUM && request->status != MHD_HTTP_BAD_REQUEST &&
           request->status != MHD_HTTP_LENGTH_REQUIRED;
}

bool request_take(struct request *request, const char *bytes, size_t length)
{
    if (request->status != 0)
        return true;
    if (length > request->length - request->received)
        return false;
    memcpy(request->body + request->received, bytes, length);
    request->received += length;
    return true;
}

enum MHD_Result request_reply(struct request *request)
{
    const char *text = request->text ? request->text : "";
    const struct MHD_IoVec line = {text, strlen(text)};
    struct MHD_Response *response =
        request->answer
            ? MHD_create_response_from_buffer(request->answer_length, request->answer, MHD_RESPMEM_MUST_FREE)
            : MHD_create_response_from_iovec(&line, line.iov_len > 0, NULL, NULL);
    if (!response)
        return MHD_NO;
    if (request->answer)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/octet-stream");
    else if (*text)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "text/plain; charset=utf-8");
    request->answer = NULL;
    if (request->status == MHD_HTTP_SERVICE_UNAVAILABLE)
        MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, "1");
    if (request->status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, request->allow);
    enum MHD_Result queued = MHD_queue_response(request->connection, request->status, response);
    MHD_destroy_response(response);
    return queued;
}

void request_drop_body(struct request *request, struct connections *connections)
{
    free(TAKE(request->body));
    connections_release(connections, &request->peer, request->reserved);
    request->reserved = 0;
}

void request_free(struct request *request, struct connections *connections)
{
    if (!request)
        return;
    request_drop_body(request, connections);
    free(request->answer);
    free(request);
}
