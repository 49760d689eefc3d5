/* Threads are started when they are first asked for, each on a core of its own where there are
 * enough, and sleep between parts; a member that waits for others spins for some microseconds, and
 * then lets other threads have its core.
 */
#define _GNU_SOURCE
#include "team.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { MOST = 64, SPINS = 4000 };

static pthread_mutex_t taken = PTHREAD_MUTEX_INITIALIZER, lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static long started, first_turn[MOST], ready;
static Part job;
static void *job_shared;
static long job_size;
static atomic_long turn, left, arrived, phase;

static inline void relax(long spun) {
  if (spun >= SPINS)
    sched_yield();
  else {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
  }
}

/* Keeps the newest thread off the caller's core and off those of others: a scheduler that puts two
 * members on one core makes every meeting as long as a turn on it. */
static void settle(pthread_t thread) {
#ifdef __linux__
  cpu_set_t all, own;
  int here = sched_getcpu(), rank = 0;
  if (sched_getaffinity(0, sizeof all, &all)) return;
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
    if (CPU_ISSET(cpu, &all) && cpu != here && ++rank == started) {
      CPU_ZERO(&own);
      CPU_SET(cpu, &own);
      pthread_setaffinity_np(thread, sizeof own, &own);
    }
#else
  (void)thread;
#endif
}

static void *member(void *given) {
  long rank = (long)given, seen = first_turn[rank];
  for (;;) {
    for (long spun = 0; spun < SPINS && atomic_load(&turn) == seen; spun++) relax(0);
    if (atomic_load(&turn) == seen) {
      pthread_mutex_lock(&lock);
      while (atomic_load(&turn) == seen) pthread_cond_wait(&wake, &lock);
      pthread_mutex_unlock(&lock);
    }
    seen = atomic_load(&turn);
    if (rank < job_size) job(job_shared, rank, job_size);
    atomic_fetch_sub(&left, 1);
  }
  return 0;
}

/* A forked process has none of its parent's threads. */
static void forget(void) {
  started = 0;
  pthread_mutex_init(&taken, 0);
  pthread_mutex_init(&lock, 0);
  pthread_cond_init(&wake, 0);
  atomic_store(&arrived, 0);
}

static int start_one(void) {
  pthread_t thread;
  if (!ready) ready = !pthread_atfork(0, 0, forget);
  first_turn[started + 1] = atomic_load(&turn);
  if (!ready || pthread_create(&thread, 0, member, (void *)(started + 1))) return 0;
  started++;
  settle(thread);
  pthread_detach(thread);
  return 1;
}

void team_run(Part part, void *shared, long threads) {
  if (threads > MOST) threads = MOST;
  if (threads <= 1 || pthread_mutex_trylock(&taken)) {
    part(shared, 0, 1);
    return;
  }
  while (started < threads - 1 && start_one()) continue;
  job = part;
  job_shared = shared;
  job_size = started + 1 < threads ? started + 1 : threads;
  atomic_store(&left, started); /* members without work tell that they have seen so */
  pthread_mutex_lock(&lock);
  atomic_fetch_add(&turn, 1);
  pthread_cond_broadcast(&wake);
  pthread_mutex_unlock(&lock);
  part(shared, 0, job_size);
  for (long spun = 0; atomic_load(&left); spun++) relax(spun);
  pthread_mutex_unlock(&taken);
}

void team_wait(long size) {
  if (size == 1) return;
  long now = atomic_load(&phase);
  if (atomic_fetch_add(&arrived, 1) == size - 1) {
    atomic_store(&arrived, 0);
    atomic_fetch_add(&phase, 1);
    return;
  }
  for (long spun = 0; atomic_load(&phase) == now; spun++) relax(spun);
}
