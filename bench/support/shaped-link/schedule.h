/*
 * One direction of a link of known bandwidth and delay, shared by any number of flows: when do which bytes arrive? No clock and no
 * sockets, so that it can be held to arithmetic (test/link-schedule.test.ts).
 *
 * Bytes of one flow arrive in order. The link sends one quantum after another, of flows that have something in turn, each taking
 * size / bandwidth, and each arriving `delay_ms` after it was sent. Someone who calls late gets the same times, so that a busy machine
 * makes the link later, but never slower.
 */
#ifndef THAW_BENCH_SCHEDULE_H
#define THAW_BENCH_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>

/* A flow, as its direction knows it; zero at first. It must stay until `flow_is_idle`. */
struct flow {
  size_t waiting_bytes;
  bool end_waits;
  bool is_sending;
  size_t pieces_in_transit;
  struct flow *next; /* of those that have something to send */
};

struct piece {
  struct flow *flow;
  size_t bytes; /* 0: the end of the flow */
  double due_ms;
};

struct schedule {
  double bytes_per_ms; /* may be infinite */
  double delay_ms;     /* one way */
  size_t quantum_bytes;
  struct flow *first, *last; /* flows that have something to send, the next one first */
  double free_at_ms;
  double last_due_ms;
  struct piece *in_transit; /* a ring */
  size_t capacity, head, count;
};

/* Of one that is zero, or where nothing is on its way. */
void schedule_shape(struct schedule *, double bits_per_second, double delay_ms);

/* Hands over what a flow has at `now_ms`, bytes or (0) its end; calls come in order of time. */
void schedule_push(struct schedule *, struct flow *, size_t bytes, double now_ms);

/* The next piece that has arrived by `now_ms`; false: none. */
bool schedule_take(struct schedule *, double now_ms, struct piece *arrived);

/* Nothing arrives before; infinity if nothing is on its way. */
double schedule_next_ms(const struct schedule *);

/* When the last of what is on its way arrives, infinity if some of it was not sent yet when somebody last called. */
double schedule_last_ms(const struct schedule *);

bool flow_is_idle(const struct flow *);

#endif
