/*
 * Answers every event with itself, by the Lambda Runtime API: the least that a function can be. Linked statically.
 * Source: AWS Lambda developer guide, "Using the Lambda runtime API for custom runtimes".
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define API "/2018-06-01/runtime/invocation/"

static char reply[1 << 16];

static int dial(const char *api) {
  char host[64];
  int port = 80;
  if (sscanf(api, "%63[^:]:%d", host, &port) < 1) exit(2);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  if (inet_pton(AF_INET, host, &address.sin_addr) != 1) exit(2);
  int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), now = 1;
  setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &now, sizeof now);
  if (connect(server, (struct sockaddr *)&address, sizeof address) != 0) exit(3);
  return server;
}

static void put(int server, const char *bytes, size_t length) {
  while (length > 0) {
    ssize_t written = write(server, bytes, length);
    if (written <= 0) exit(4);
    bytes += written;
    length -= written;
  }
}

static const char *header(const char *name) {
  for (char *line = reply; (line = strstr(line, "\r\n")) != NULL;) {
    line += 2;
    if (strncasecmp(line, name, strlen(name)) == 0) return line + strlen(name);
  }
  return NULL;
}

/* Reads a whole answer; its body, of *length bytes. */
static char *answer(int server, size_t *length) {
  size_t held = 0;
  for (;;) {
    ssize_t got = read(server, reply + held, sizeof reply - 1 - held);
    if (got <= 0) exit(5);
    held += got;
    reply[held] = 0;
    char *end = strstr(reply, "\r\n\r\n");
    if (end == NULL) continue;
    const char *text = header("content-length:");
    *length = text == NULL ? 0 : strtoul(text, NULL, 10);
    if (held >= (size_t)(end + 4 - reply) + *length) return end + 4;
  }
}

int main(void) {
  const char *api = getenv("AWS_LAMBDA_RUNTIME_API");
  if (api == NULL) return 2;
  int server = dial(api);
  for (;;) {
    char request[1024], id[128] = "";
    size_t length;
    int size = snprintf(request, sizeof request, "GET " API "next HTTP/1.1\r\nHost: %s\r\n\r\n", api);
    put(server, request, size);
    char *body = answer(server, &length);
    const char *value = header("lambda-runtime-aws-request-id:");
    if (value == NULL || sscanf(value, " %127[^\r\n]", id) != 1) return 6;
    size = snprintf(request, sizeof request,
                    "POST " API "%s/response HTTP/1.1\r\nHost: %s\r\nContent-Length: %zu\r\n\r\n", id, api, length);
    put(server, request, size);
    put(server, body, length);
    answer(server, &length);
  }
}
