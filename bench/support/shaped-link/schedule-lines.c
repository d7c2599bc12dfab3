/*
 * The schedule by lines, for its test. Arguments: bits a second, delay in ms. Lines of standard input: `push FLOW BYTES NOW_MS` (0 bytes:
 * the end) and `take NOW_MS`; at its end, everything is taken, each piece as soon as something may have arrived. Prints each piece:
 * `FLOW BYTES DUE_MS`.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "schedule.h"

static struct flow flows[16];

static void take(struct schedule *link, double now_ms) {
  struct piece piece;
  while (schedule_take(link, now_ms, &piece)) {
    printf("%td %zu %.9f\n", piece.flow - flows, piece.bytes, piece.due_ms);
  }
}

int main(int count, char **arguments) {
  struct schedule link = {0};
  char line[256];
  double now_ms;
  size_t flow, bytes;
  if (count != 3) return 2;
  schedule_shape(&link, atof(arguments[1]), atof(arguments[2]));
  while (fgets(line, sizeof line, stdin) != NULL) {
    if (sscanf(line, "push %zu %zu %lf", &flow, &bytes, &now_ms) == 3 && flow < 16) {
      schedule_push(&link, &flows[flow], bytes, now_ms);
    } else if (sscanf(line, "take %lf", &now_ms) == 1) {
      take(&link, now_ms);
    } else {
      return 2;
    }
  }
  while (!isinf(schedule_next_ms(&link))) take(&link, schedule_next_ms(&link));
  return 0;
}
