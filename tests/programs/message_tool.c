/*
 * A host that says what a test tells it: each line of standard input is the object of a message, its answer
 * is a line of standard output. Port of 127.0.0.1 as the only argument.
 *
 * In the objects "@id" becomes 16 random bytes in hexadecimal, "@point" a random element, "@boot" the boot id
 * of this process, "@identity" its public identity; "id" is added. After enroll it is that host, and carries
 * its nonce on. Header lines in MESSAGE_TOOL_HEADERS are sent with each. Answers:
 * {"kind":"sealed","object":…}, {"kind":"descriptor"}, {"kind":"try again","text":…},
 * {"kind":"http","status":503}, {"kind":"none"} where the connection ended.
 */
#include <netinet/in.h>
#include <sodium.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "message/descriptor.h"
#include "message/message.h"

enum { ID_SIZE = 16 };

static struct {
    struct sockaddr_in address;
    struct secret *identity;
    uint8_t identity_public[HPKE_KEY_SIZE], boot[ID_SIZE], host[MESSAGE_HOST_ID_SIZE];
    struct descriptor descriptor;
    bool is_enrolled;
    char nonce[2 * ID_SIZE + 1];
} tool;

static void die(const struct error *error)
{
    fprintf(stderr, "message_tool: %s\n", error->message);
    exit(1);
}

static void must(enum error_code code, const struct error *error)
{
    if (code)
        die(error);
}

static json_t *hex_of(const uint8_t *bytes, size_t length)
{
    char text[65];
    text_format_hex(text, bytes, length);
    return json_string(text);
}

static json_t *filled_in(const char *word)
{
    uint8_t bytes[32];
    if (!strcmp(word, "@boot"))
        return hex_of(tool.boot, sizeof(tool.boot));
    if (!strcmp(word, "@identity"))
        return hex_of(tool.identity_public, sizeof(tool.identity_public));
    if (!strcmp(word, "@point"))
        crypto_core_ristretto255_random(bytes);
    else
        randombytes_buf(bytes, sizeof(bytes));
    return hex_of(bytes, !strcmp(word, "@point") ? 32 : ID_SIZE);
}

static bool is_to_fill(const json_t *value)
{
    return json_is_string(value) && json_string_value(value)[0] == '@';
}

static void fill_in(json_t *value)
{
    const char *name;
    json_t *member;
    size_t index;
    void *next;
    json_object_foreach_safe(value, next, name, member)
    {
        if (is_to_fill(member))
            json_object_set_new(value, name, filled_in(json_string_value(member)));
        else
            fill_in(member);
    }
    json_array_foreach(value, index, member)
    {
        if (is_to_fill(member))
            json_array_set_new(value, index, filled_in(json_string_value(member)));
        else
            fill_in(member);
    }
}

/* The whole response; empty where the connection ended without one. */
static void post(const struct buffer *body, struct buffer *response)
{
    char head[512], bytes[16384];
    const char *more = getenv("MESSAGE_TOOL_HEADERS");
    struct error error = ERROR_NONE;
    _cleanup_(close_fdp) int fd = socket(AF_INET, SOCK_STREAM, 0);
    snprintf(head, sizeof(head),
             "POST /v1/message HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: %zu\r\n%s\r\n",
             body->length, more ? more : "");
    if (connect(fd, (const struct sockaddr *)&tool.address, sizeof(tool.address)) < 0 ||
        send(fd, head, strlen(head), MSG_NOSIGNAL) < 0 ||
        (body->length > 0 && send(fd, body->data, body->length, MSG_NOSIGNAL) < 0))
        return;
    for (ssize_t got; (got = recv(fd, bytes, sizeof(bytes), 0)) > 0;)
        must(buffer_append(response, bytes, (size_t)got, &error), &error);
}

static unsigned long split(const struct buffer *response, const char **ret_body, size_t *ret_length)
{
    const char *end = response->data ? strstr(response->data, "\r\n\r\n") : NULL;
    if (!end || strncmp(response->data, "HTTP/1.1 ", 9) != 0)
        return 0;
    *ret_body = end + 4;
    *ret_length = response->length - (size_t)(end + 4 - response->data);
    return strtoul(response->data + 9, NULL, 10);
}

static void take_descriptor(const void *wire, size_t length)
{
    struct error error = ERROR_NONE;
    must(descriptor_parse(wire, length, NULL, &tool.descriptor, &error), &error);
}

static void take_object(json_t *object, bool is_enroll)
{
    struct error error = ERROR_NONE;
    const char *nonce = json_string_value(json_object_get(object, "nonce"));
    snprintf(tool.nonce, sizeof(tool.nonce), "%s", nonce ? nonce : "");
    json_t *result = json_object_get(object, "result");
    if (is_enroll && json_is_object(result)) {
        must(json_get_hex(result, "host", tool.host, sizeof(tool.host), &error), &error);
        tool.is_enrolled = true;
    }
}

static json_t *read_answer(const struct buffer *response, const struct hpke_context *context, bool is_enroll)
{
    static const char *const kinds[] = {
        [ANSWER_SEALED] = "sealed", [ANSWER_DESCRIPTOR] = "descriptor", [ANSWER_TRY_AGAIN] = "try again"};
    struct error error = ERROR_NONE;
    const char *body;
    size_t length;
    enum answer_kind kind;
    json_t *object = NULL;
    _cleanup_(buffer_done) struct buffer plain = {0};
    unsigned long status = split(response, &body, &length);
    if (status != 200)
        return status ? json_pack("{s:s, s:i}", "kind", "http", "status", (int)status)
                      : json_pack("{s:s}", "kind", "none");
    must(answer_open(body, length, context, &kind, &object, &plain, &error), &error);
    json_t *told = json_pack("{s:s}", "kind", kinds[kind]);
    if (kind == ANSWER_SEALED) {
        take_object(object, is_enroll);
        json_object_set_new(told, "object", object);
    } else if (kind == ANSWER_TRY_AGAIN) {
        json_object_set_new(told, "text", json_string(plain.data));
    } else {
        take_descriptor(plain.data, plain.length);
    }
    return told;
}

static void fetch_descriptor(void)
{
    struct buffer nothing = {0};
    _cleanup_(buffer_done) struct buffer response = {0};
    post(&nothing, &response);
    json_t *told = read_answer(&response, NULL, false);
    if (strcmp(json_string_value(json_object_get(told, "kind")), "descriptor") != 0)
        die(&(struct error){.message = "no descriptor came"});
    json_decref(told);
}

static json_t *say(json_t *message)
{
    struct error error = ERROR_NONE;
    const char *type = json_string_value(json_object_get(message, "type"));
    bool is_enroll = type && !strcmp(type, "enroll");
    struct hpke_context *context = NULL;
    _cleanup_(buffer_done) struct buffer wire = {0};
    _cleanup_(buffer_done) struct buffer response = {0};
    fill_in(message);
    if (!json_object_get(message, "id"))
        json_object_set_new(message, "id", filled_in("@id"));
    if (tool.nonce[0] && !is_enroll && !json_object_get(message, "nonce"))
        json_object_set_new(message, "nonce", json_string(tool.nonce));
    must(message_seal(message, tool.descriptor.message_key, is_enroll ? NULL : tool.identity,
                      is_enroll ? NULL : tool.host, &wire, &context, &error),
         &error);
    post(&wire, &response);
    json_t *told = read_answer(&response, context, is_enroll);
    hpke_context_free(context);
    return told;
}

int main(int argc, char **argv)
{
    struct error error = ERROR_NONE;
    uint64_t port = 0;
    if (argc != 2)
        die(&(struct error){.message = "needs a port"});
    must(text_parse_u64(argv[1], UINT16_MAX, &port, &error), &error);
    must(secret_start(&error), &error);
    must(hpke_key_new(&tool.identity, tool.identity_public, &error), &error);
    randombytes_buf(tool.boot, sizeof(tool.boot));
    tool.address = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    fetch_descriptor();
    static char line[65536];
    while (fgets(line, sizeof(line), stdin)) {
        json_t *message = NULL;
        must(json_parse_object(line, strlen(line), "the line", &message, &error), &error);
        json_t *told = say(message);
        char *text = json_dumps(told, JSON_COMPACT);
        printf("%s\n", text);
        fflush(stdout);
        free(text);
        json_decref(told);
        json_decref(message);
    }
    secret_free(tool.identity);
    return 0;
}
