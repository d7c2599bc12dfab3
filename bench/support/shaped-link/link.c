/*
 * The process of a shaped link: takes bytes off sockets, asks the schedules when they arrive, and puts them on others. Bytes go through
 * pipes by splice(2), which hands pages on and copies nothing, so that the link takes next to nothing of the machine that it is measured on.
 *
 * Arguments: bits a second, delay in ms one way, and NAME=PORT of each target on 127.0.0.1. Prints one line of JSON for itself, the port of each
 * target's other end by name, and one for each line of standard input: `shape BITS_PER_SECOND DELAY_MS`, `fault NAME none|stopped|killed`,
 * `fault NAME slow MS`, `lateness`. Ends with its input.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "schedule.h"

enum { targets_max = 64, events_max = 64, backlog = 1024, lateness_buckets = 512 };

/*
 * As large as anybody may have one. It counts pages, and each of its 256 holds what one page of the sender does: up to 32 KB of what is written,
 * 4 KiB of what sendfile(2) sends; then a connection gets 4 Gbit/s at most.
 */
static const int pipe_bytes = 1 << 20;
static const size_t read_bytes_max = 64 << 20;
/*
 * Shares of the delay. As network cards do: what arrives within this time is handed on together, unless nothing more is on its way; and while there is
 * much to do, sockets are looked at only so often.
 */
static const double coalesced_share = 0.2;
static const double looked_at_share = 0.1;
/* What is due so soon is not worth a timer. */
static const double timer_slack_ms = 0.03;

enum fault { NONE, SLOW, STOPPED, KILLED };
enum kind { INPUT, LISTENER, END };

/* What epoll tells of. */
struct source {
  enum kind kind;
  int fd;
};

/* What a slow or stopped target has sent and the link has not got yet. */
struct late {
  struct half *half;
  size_t bytes;
  double due_ms;
  struct late *next;
};

struct late_list {
  struct late *first, *last;
};

struct target {
  struct source listener; /* first */
  const char *name;
  int port;
  enum fault fault;
  double extra_delay_ms;
  struct late_list late[2]; /* by direction */
};

enum direction { UP, DOWN };

/* One direction of one connection: out of one socket, through a pipe, into the other. */
struct half {
  struct flow flow; /* first */
  struct connection *connection;
  enum direction direction;
  struct end *from, *to;
  int pipe_in, pipe_out;
  size_t held_bytes; /* in the pipe */
  size_t full_bytes; /* of them when it was last full */
  size_t due_bytes;  /* of them arrived */
  size_t late_count;
  bool has_ended, end_is_due, is_flushing;
  struct half *next_flushed;
};

/* One socket of a connection. */
struct end {
  struct source source; /* first */
  struct connection *connection;
  struct half *out_of, *into;
  uint32_t events; /* that epoll tells of; EPOLLIN and EPOLLOUT */
  bool is_read_to_end, is_written_to_end;
};

struct connection {
  struct target *target;
  struct end client, server;
  struct half halves[2]; /* by direction */
  bool is_dead;
  struct connection *previous, *next;
};

static struct target targets[targets_max];
static size_t target_count;
static struct schedule schedules[2]; /* by direction */
static struct connection *connections, *dead;
static unsigned long lateness[lateness_buckets];
static const double lateness_growth = 1.05; /* of a bucket, from 1 us on */
static int poller;
static double delay_ms; /* one way */
static double now_ms;

static void die(const char *what) {
  fprintf(stderr, "shaped-link: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void *zeroed(size_t bytes) {
  void *memory = calloc(1, bytes);
  if (memory == NULL) die("memory");
  return memory;
}

static void look_at_clock(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  now_ms = (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* --- Sockets and what epoll tells of them --- */

static void watch(struct source *source, uint32_t events) {
  struct epoll_event event = {.events = events, .data.ptr = source};
  if (epoll_ctl(poller, EPOLL_CTL_ADD, source->fd, &event) != 0) die("epoll_ctl");
}

static void want(struct end *end, uint32_t events) {
  if (end->events == events) return;
  end->events = events;
  /* That both directions are shut, epoll tells unasked; if nothing else is wanted, once is enough. */
  struct epoll_event event = {.events = events == 0 ? EPOLLET : events, .data.ptr = &end->source};
  epoll_ctl(poller, EPOLL_CTL_MOD, end->source.fd, &event);
}

/* Whoever is at the other end sees a reset. */
static void reset(int fd) {
  struct linger at_once = {.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  close(fd);
}

/* Before it listens or connects. The pace is the schedule's: a congestion control that paces (BBR) would cost a timer for each send. */
static int new_socket(void) {
  int yes = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", strlen("reno"));
  return fd;
}

static struct sockaddr_in loopback(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

static int listen_on_any_port(void) {
  struct sockaddr_in address = loopback(0);
  int fd = new_socket(); /* those that it accepts are like it */
  if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0) die("bind");
  if (listen(fd, backlog) != 0) die("listen");
  return fd;
}

static int port_of(int fd) {
  struct sockaddr_in address;
  socklen_t length = sizeof address;
  if (getsockname(fd, (struct sockaddr *)&address, &length) != 0) die("getsockname");
  return ntohs(address.sin_port);
}

/* --- Connections --- */

static void open_half(struct connection *connection, enum direction direction) {
  struct half *half = &connection->halves[direction];
  bool is_up = direction == UP;
  half->connection = connection;
  half->direction = direction;
  half->from = is_up ? &connection->client : &connection->server;
  half->to = is_up ? &connection->server : &connection->client;
  half->from->out_of = half;
  half->to->into = half;
  int ends[2];
  if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) die("pipe2");
  if (fcntl(ends[1], F_SETPIPE_SZ, pipe_bytes) < 0) die("a pipe of 1 MiB");
  half->pipe_out = ends[0];
  half->pipe_in = ends[1];
}

static void join(struct target *target, int client) {
  int server = new_socket();
  struct sockaddr_in address = loopback(target->port);
  bool is_refused = connect(server, (struct sockaddr *)&address, sizeof address) != 0;
  if (is_refused && errno != EINPROGRESS) {
    close(server);
    reset(client);
    return;
  }
  struct connection *connection = zeroed(sizeof *connection);
  connection->target = target;
  connection->next = connections;
  if (connections != NULL) connections->previous = connection;
  connections = connection;
  const int fds[] = {client, server};
  struct end *ends[] = {&connection->client, &connection->server};
  for (int at = 0; at < 2; at += 1) {
    *ends[at] = (struct end){.source = {END, fds[at]}, .connection = connection, .events = EPOLLIN};
  }
  open_half(connection, UP);
  open_half(connection, DOWN);
  for (int at = 0; at < 2; at += 1) watch(&ends[at]->source, EPOLLIN);
}

/* Both sockets must be closed. What is on its way is passed over; the memory stays until nothing refers to it. */
static void bury(struct connection *connection) {
  for (int at = 0; at < 2; at += 1) {
    close(connection->halves[at].pipe_in);
    close(connection->halves[at].pipe_out);
  }
  connection->is_dead = true;
  if (connection->previous != NULL) connection->previous->next = connection->next;
  else connections = connection->next;
  if (connection->next != NULL) connection->next->previous = connection->previous;
  connection->next = dead;
  dead = connection;
}

static void break_off(struct connection *connection) {
  if (connection->is_dead) return;
  reset(connection->client.source.fd);
  reset(connection->server.source.fd);
  bury(connection);
}

static bool is_referred_to(const struct half *half) {
  return half->late_count > 0 || half->is_flushing || !flow_is_idle(&half->flow);
}

static void free_dead(void) {
  struct connection **at = &dead;
  while (*at != NULL) {
    struct connection *connection = *at;
    if (is_referred_to(&connection->halves[UP]) || is_referred_to(&connection->halves[DOWN])) {
      at = &connection->next;
      continue;
    }
    *at = connection->next;
    free(connection);
  }
}

/* Once a socket is done with in both directions, epoll would tell of nothing but that. */
static void leave_if_done(struct end *end) {
  if (!end->is_read_to_end || !end->is_written_to_end) return;
  epoll_ctl(poller, EPOLL_CTL_DEL, end->source.fd, NULL);
  struct connection *connection = end->connection;
  const struct end *ends[] = {&connection->client, &connection->server};
  for (int at = 0; at < 2; at += 1) {
    if (!ends[at]->is_read_to_end || !ends[at]->is_written_to_end) return;
  }
  close(connection->client.source.fd);
  close(connection->server.source.fd);
  bury(connection);
}

/* --- Bytes on their way --- */

static void append_late(struct target *target, struct half *half, size_t bytes, double due_ms) {
  struct late *late = zeroed(sizeof *late);
  struct late_list *list = &target->late[half->direction];
  *late = (struct late){half, bytes, due_ms, NULL};
  if (list->first == NULL) list->first = late;
  else list->last->next = late;
  list->last = late;
  half->late_count += 1;
}

/* Bytes, or (0) the end, have come out of a socket. */
static void set_off(struct half *half, size_t bytes) {
  struct target *target = half->connection->target;
  double starts_ms = now_ms;
  if (target->fault == STOPPED) starts_ms = INFINITY;
  if (target->fault == SLOW && half->direction == DOWN) starts_ms += target->extra_delay_ms;
  if (starts_ms == now_ms && target->late[half->direction].first == NULL) {
    schedule_push(&schedules[half->direction], &half->flow, bytes, now_ms);
  } else {
    append_late(target, half, bytes, starts_ms);
  }
}

static void take_from(struct end *end) {
  struct half *half = end->out_of;
  const unsigned flags = SPLICE_F_NONBLOCK | SPLICE_F_MOVE;
  ssize_t bytes = splice(end->source.fd, NULL, half->pipe_in, NULL, read_bytes_max, flags);
  if (bytes > 0) {
    half->held_bytes += (size_t)bytes;
    set_off(half, (size_t)bytes);
  } else if (bytes == 0) {
    half->has_ended = end->is_read_to_end = true;
    want(end, end->events & ~(uint32_t)EPOLLIN);
    set_off(half, 0);
    leave_if_done(end);
  } else if (errno != EAGAIN) {
    break_off(end->connection);
  } else if (half->held_bytes > 0) {
    half->full_bytes = half->held_bytes;
    want(end, end->events & ~(uint32_t)EPOLLIN);
  }
}

/* Puts what has arrived on the other socket, as far as it takes it. */
static void flush_half(struct half *half) {
  struct end *from = half->from, *to = half->to;
  if (half->connection->is_dead) return;
  while (half->due_bytes > 0) {
    const unsigned flags = SPLICE_F_NONBLOCK | SPLICE_F_MOVE;
    ssize_t bytes = splice(half->pipe_out, NULL, to->source.fd, NULL, half->due_bytes, flags);
    if (bytes <= 0) {
      if (errno == EAGAIN) want(to, to->events | EPOLLOUT);
      else break_off(half->connection);
      return;
    }
    half->due_bytes -= (size_t)bytes;
    half->held_bytes -= (size_t)bytes;
    /* Not for each page that a full pipe has room for. */
    bool has_room = half->held_bytes <= half->full_bytes / 4 * 3 || half->held_bytes == 0;
    if (has_room && !half->has_ended) want(from, from->events | EPOLLIN);
  }
  want(to, to->events & ~(uint32_t)EPOLLOUT);
  if (!half->end_is_due || to->is_written_to_end) return;
  shutdown(to->source.fd, SHUT_WR);
  to->is_written_to_end = true;
  leave_if_done(to);
}

static void record_lateness(double late_ms) {
  double bucket = log(fmax(late_ms * 1000, 1)) / log(lateness_growth);
  lateness[(int)fmin(bucket, lateness_buckets - 1)] += 1;
}

static void move_late(struct target *target, enum direction direction) {
  struct late_list *list = &target->late[direction];
  while (list->first != NULL && list->first->due_ms <= now_ms) {
    struct late *late = list->first;
    list->first = late->next;
    late->half->late_count -= 1;
    schedule_push(&schedules[direction], &late->half->flow, late->bytes, now_ms);
    free(late);
  }
}

/* Moves on whatever is due. */
static void move_due(void) {
  struct half *flushed = NULL;
  for (enum direction direction = UP; direction <= DOWN; direction += 1) {
    for (size_t at = 0; at < target_count; at += 1) move_late(&targets[at], direction);
    struct piece piece;
    while (schedule_take(&schedules[direction], now_ms + timer_slack_ms, &piece)) {
      struct half *half = (struct half *)piece.flow;
      record_lateness(now_ms - piece.due_ms);
      half->due_bytes += piece.bytes;
      if (piece.bytes == 0) half->end_is_due = true;
      if (half->is_flushing) continue;
      half->is_flushing = true;
      half->next_flushed = flushed;
      flushed = half;
    }
  }
  while (flushed != NULL) {
    struct half *half = flushed;
    flushed = half->next_flushed;
    half->is_flushing = false;
    flush_half(half);
  }
}

static double next_ms(void) {
  double next = INFINITY;
  for (int direction = UP; direction <= DOWN; direction += 1) {
    const struct schedule *schedule = &schedules[direction];
    double first = schedule_next_ms(schedule);
    double together = first + delay_ms * coalesced_share;
    next = fmin(next, schedule->count == 0 ? first : fmin(together, schedule_last_ms(schedule)));
    for (size_t at = 0; at < target_count; at += 1) {
      const struct late *late = targets[at].late[direction].first;
      if (late != NULL) next = fmin(next, late->due_ms);
    }
  }
  return next;
}

/* --- Commands --- */

static struct target *target_named(const char *name) {
  for (size_t at = 0; at < target_count; at += 1) {
    if (strcmp(targets[at].name, name) == 0) return &targets[at];
  }
  return NULL;
}

static void set_fault(struct target *target, enum fault fault, double extra_delay_ms) {
  target->fault = fault;
  target->extra_delay_ms = extra_delay_ms;
  for (int direction = UP; fault != STOPPED && direction <= DOWN; direction += 1) {
    struct late *late = target->late[direction].first;
    for (; late != NULL; late = late->next) late->due_ms = fmin(late->due_ms, now_ms + extra_delay_ms);
  }
  if (fault != KILLED) return;
  for (struct connection *at = connections, *next; at != NULL; at = next) {
    next = at->next;
    if (at->target == target) break_off(at);
  }
}

/* So much of the lateness of all pieces is at most this, ms. */
static double lateness_quantile(double share) {
  unsigned long total = 0, seen = 0;
  for (int at = 0; at < lateness_buckets; at += 1) total += lateness[at];
  for (int at = 0; at < lateness_buckets; at += 1) {
    seen += lateness[at];
    if (total > 0 && (double)seen >= share * (double)total) return pow(lateness_growth, at + 1) / 1000;
  }
  return 0;
}

/*
 * All of the round trip's delay is on the way back: to whoever asks it makes no difference, and what asks goes on as soon as it is read.
 */
static void shape(double bits_per_second, double one_way_ms) {
  delay_ms = one_way_ms;
  schedule_shape(&schedules[UP], bits_per_second, 0);
  schedule_shape(&schedules[DOWN], bits_per_second, 2 * one_way_ms);
}

static void obey(const char *line) {
  char name[64], kind[16];
  double bits_per_second, one_way_ms, extra_ms = 0;
  if (strcmp(line, "lateness\n") == 0) {
    printf("{\"p50Ms\":%.4f,\"p99Ms\":%.4f}\n", lateness_quantile(0.5), lateness_quantile(0.99));
    memset(lateness, 0, sizeof lateness);
  } else if (sscanf(line, "shape %lf %lf", &bits_per_second, &one_way_ms) == 2) {
    shape(bits_per_second, one_way_ms);
    puts("{}");
  } else if (sscanf(line, "fault %63s %15s %lf", name, kind, &extra_ms) >= 2) {
    static const char *const kinds[] = {"none", "slow", "stopped", "killed"};
    struct target *target = target_named(name);
    for (enum fault fault = NONE; target != NULL && fault <= KILLED; fault += 1) {
      if (strcmp(kind, kinds[fault]) == 0) set_fault(target, fault, extra_ms);
    }
    puts("{}");
  } else {
    fprintf(stderr, "shaped-link: what is \"%s\"?\n", line);
    exit(2);
  }
}

static void obey_input(void) {
  char line[256];
  if (fgets(line, sizeof line, stdin) == NULL) exit(0);
  obey(line);
}

/* --- The loop --- */

static void accept_all(struct target *target) {
  for (;;) {
    int client = accept4(target->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0) return;
    if (target->fault == KILLED) reset(client);
    else join(target, client);
  }
}

static void look_at_end(struct end *end, uint32_t events) {
  if (end->connection->is_dead) return;
  if (events & EPOLLERR) {
    break_off(end->connection);
    return;
  }
  if (events & EPOLLOUT) flush_half(end->into);
  if (end->connection->is_dead) return;
  if ((events & (EPOLLIN | EPOLLHUP)) && (end->events & EPOLLIN)) take_from(end);
}

static struct timespec span(double ms) {
  double seconds = fmin(fmax(ms / 1000, 0), 3600);
  struct timespec span = {.tv_sec = (time_t)seconds};
  span.tv_nsec = (long)((seconds - (double)span.tv_sec) * 1e9);
  return span;
}

/* If the last two turns were close together, the next one comes only a while after. */
static void rest(double next_due_ms) {
  static double before_ms;
  const double last_ms = now_ms, apart_ms = delay_ms * looked_at_share;
  look_at_clock();
  if (last_ms - before_ms < apart_ms) {
    struct timespec left = span(fmin(last_ms + apart_ms, next_due_ms) - now_ms);
    if (left.tv_nsec > 0) nanosleep(&left, NULL);
    look_at_clock();
  }
  before_ms = last_ms;
}

static void turn(void) {
  struct epoll_event events[events_max];
  double next = next_ms();
  rest(next);
  struct timespec timeout = span(next - now_ms);
  int count = epoll_pwait2(poller, events, events_max, isinf(next) ? NULL : &timeout, NULL);
  look_at_clock();
  for (int at = 0; at < count; at += 1) {
    struct source *source = events[at].data.ptr;
    if (source->kind == END) look_at_end((struct end *)source, events[at].events);
    else if (source->kind == LISTENER) accept_all((struct target *)source);
    else obey_input();
  }
  move_due();
  free_dead();
}

/* A wire waits for no processor. Without privilege it stays as it is: what that costs shows where the link is held against itself. */
static void come_first(void) {
  struct sched_param first = {.sched_priority = 1};
  if (sched_setscheduler(0, SCHED_FIFO, &first) != 0) setpriority(PRIO_PROCESS, 0, -20);
  prctl(PR_SET_TIMERSLACK, 1);
}

static void add_target(char *argument) {
  char *equals = strchr(argument, '=');
  if (equals == NULL || target_count == targets_max) exit(2);
  *equals = '\0';
  struct target *target = &targets[target_count];
  target_count += 1;
  target->name = argument;
  target->port = atoi(equals + 1);
  target->listener = (struct source){LISTENER, listen_on_any_port()};
  watch(&target->listener, EPOLLIN);
}

int main(int count, char **arguments) {
  static struct source input = {INPUT, STDIN_FILENO};
  if (count < 3) return 2;
  /* It ends with whoever began it, whatever signal a terminal sends to both. */
  const int ignored[] = {SIGINT, SIGTERM, SIGPIPE};
  for (size_t at = 0; at < sizeof ignored / sizeof *ignored; at += 1) signal(ignored[at], SIG_IGN);
  setvbuf(stdin, NULL, _IONBF, 0);
  setvbuf(stdout, NULL, _IOLBF, 0);
  poller = epoll_create1(EPOLL_CLOEXEC);
  if (poller < 0) die("epoll_create1");
  shape(atof(arguments[1]), atof(arguments[2]));
  watch(&input, EPOLLIN);
  for (int at = 3; at < count; at += 1) add_target(arguments[at]);
  come_first();
  for (size_t at = 0; at < target_count; at += 1) {
    printf("%s\"%s\":%d", at == 0 ? "{" : ",", targets[at].name, port_of(targets[at].listener.fd));
  }
  puts("}");
  for (;;) turn();
}
