#include "schedule.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* The link changes flows after as much as it sends in this time, within bounds: less would cost a call for each. */
static const double quantum_ms = 0.1;
static const double quantum_bytes_min = 32768;
static const double quantum_bytes_max = 65536;
static const size_t first_capacity = 256;

void schedule_shape(struct schedule *link, double bits_per_second, double delay_ms) {
  link->bytes_per_ms = bits_per_second / 8000;
  link->delay_ms = delay_ms;
  double quantum = round(link->bytes_per_ms * quantum_ms);
  link->quantum_bytes = (size_t)fmin(fmax(quantum, quantum_bytes_min), quantum_bytes_max);
}

static void grow(struct schedule *link) {
  size_t capacity = link->capacity == 0 ? first_capacity : 2 * link->capacity;
  struct piece *ring = malloc(capacity * sizeof *ring);
  if (ring == NULL) {
    fputs("shaped-link: out of memory\n", stderr);
    exit(1);
  }
  for (size_t at = 0; at < link->count; at += 1) {
    ring[at] = link->in_transit[(link->head + at) % link->capacity];
  }
  free(link->in_transit);
  link->in_transit = ring;
  link->capacity = capacity;
  link->head = 0;
}

static void append(struct schedule *link, struct flow *flow) {
  flow->is_sending = true;
  flow->next = NULL;
  if (link->first == NULL) link->first = flow;
  else link->last->next = flow;
  link->last = flow;
}

/* Sends whatever is sent by `now_ms`. */
static void send_until(struct schedule *link, double now_ms) {
  while (link->first != NULL && link->free_at_ms <= now_ms) {
    struct flow *flow = link->first;
    link->first = flow->next;
    flow->is_sending = false;
    size_t bytes = flow->waiting_bytes;
    if (bytes > link->quantum_bytes) bytes = link->quantum_bytes;
    flow->waiting_bytes -= bytes;
    if (bytes == 0) flow->end_waits = false;
    link->free_at_ms += (double)bytes / link->bytes_per_ms;
    link->last_due_ms = fmax(link->free_at_ms + link->delay_ms, link->last_due_ms);
    if (link->count == link->capacity) grow(link);
    size_t tail = (link->head + link->count) % link->capacity;
    link->in_transit[tail] = (struct piece){flow, bytes, link->last_due_ms};
    link->count += 1;
    flow->pieces_in_transit += 1;
    if (flow->waiting_bytes > 0 || flow->end_waits) append(link, flow);
  }
}

void schedule_push(struct schedule *link, struct flow *flow, size_t bytes, double now_ms) {
  send_until(link, now_ms); /* so that whatever is sent from now on was there when its turn came */
  if (link->first == NULL) link->free_at_ms = fmax(link->free_at_ms, now_ms);
  flow->waiting_bytes += bytes;
  if (bytes == 0) flow->end_waits = true;
  if (!flow->is_sending) append(link, flow);
}

bool schedule_take(struct schedule *link, double now_ms, struct piece *arrived) {
  send_until(link, now_ms);
  if (link->count == 0 || link->in_transit[link->head].due_ms > now_ms) return false;
  *arrived = link->in_transit[link->head];
  link->head = (link->head + 1) % link->capacity;
  link->count -= 1;
  arrived->flow->pieces_in_transit -= 1;
  return true;
}

double schedule_next_ms(const struct schedule *link) {
  if (link->count > 0) return link->in_transit[link->head].due_ms;
  return link->first == NULL ? INFINITY : link->free_at_ms + link->delay_ms;
}

double schedule_last_ms(const struct schedule *link) {
  return link->first == NULL ? link->last_due_ms : INFINITY;
}

bool flow_is_idle(const struct flow *flow) {
  return !flow->is_sending && flow->pieces_in_transit == 0;
}
