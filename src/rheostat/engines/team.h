/* A team of threads that run one function together, each under its own rank. */
#ifndef TEAM_H
#define TEAM_H

typedef void (*Part)(void *shared, long rank, long size);

/* Runs the part on at most so many threads, the caller under rank 0, and returns when all have
 * ended. Where there are no more threads to give the team is smaller. */
void team_run(Part part, void *shared, long threads);

/* Waits until all of a part's members are here; what they wrote before is seen by all. */
void team_wait(long size);

/* Whether a team is made of the threads that torch computes on. */
int team_is_borrowed(void);

/* What a member does of `count` things: those from `from` to `to`. */
typedef struct {
  long from, to;
} Share;

static inline Share share_of(long count, long rank, long size) {
  return (Share){count * rank / size, count * (rank + 1) / size};
}

#endif
