/* A team is made of the threads that torch computes on, where its OpenMP can be called: two pools
 * would take the cores from each other, because their threads stay awake after their work.
 *
 * Elsewhere threads of our own are started when they are first asked for, each on a core of its own
 * where there are enough, and sleep between parts; a member that waits for others spins for some
 * microseconds, and then lets other threads have its core.
 */
#define _GNU_SOURCE
#include "team.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { MOST = 64, SPINS = 4000 };

static pthread_mutex_t taken = PTHREAD_MUTEX_INITIALIZER, lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static long started, first_turn[MOST];
static int ready;
static Part job;
static void *job_shared;
static long job_size;
static atomic_long turn, left, arrived, phase;
static atomic_int forked;

/* Of the OpenMP that is loaded with torch; null where there is none. */
#if defined(__linux__)
extern void GOMP_parallel(void (*part)(void *), void *shared, unsigned threads, unsigned flags)
    __attribute__((weak));
extern void GOMP_barrier(void) __attribute__((weak));
extern int omp_get_thread_num(void) __attribute__((weak));
extern int omp_get_num_threads(void) __attribute__((weak));
int team_is_borrowed(void) {
  return GOMP_parallel && GOMP_barrier && omp_get_thread_num && omp_get_num_threads &&
         !atomic_load(&forked);
}
#else
static void GOMP_parallel(void (*part)(void *), void *shared, unsigned threads, unsigned flags) {
  (void)part, (void)shared, (void)threads, (void)flags;
}
static void GOMP_barrier(void) {}
static int omp_get_thread_num(void) { return 0; }
static int omp_get_num_threads(void) { return 1; }
int team_is_borrowed(void) { return 0; }
#endif

typedef struct {
  Part part;
  void *shared;
} Work;

static void borrowed(void *given) {
  const Work *work = given;
  work->part(work->shared, omp_get_thread_num(), omp_get_num_threads());
}

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

/* A forked process has none of its parent's threads, of which OpenMP would wait for some. */
static void forget(void) {
  atomic_store(&forked, 1);
  started = 0;
  pthread_mutex_init(&taken, 0);
  pthread_mutex_init(&lock, 0);
  pthread_cond_init(&wake, 0);
  atomic_store(&arrived, 0);
}

/* Sees to it, once, that a forked process forgets its parent's threads. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static void heed_forks(void) { ready = !pthread_atfork(0, 0, forget); }

static int start_one(void) {
  pthread_t thread;
  first_turn[started + 1] = atomic_load(&turn);
  if (!ready || pthread_create(&thread, 0, member, (void *)(started + 1))) return 0;
  started++;
  settle(thread);
  pthread_detach(thread);
  return 1;
}

void team_run(Part part, void *shared, long threads) {
  if (threads > MOST) threads = MOST;
  pthread_once(&once, heed_forks);
  if (threads > 1 && ready && team_is_borrowed()) {
    Work work = {part, shared};
    GOMP_parallel(borrowed, &work, (unsigned)threads, 0);
    return;
  }
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
  if (team_is_borrowed()) {
    GOMP_barrier();
    return;
  }
  long now = atomic_load(&phase);
  if (atomic_fetch_add(&arrived, 1) == size - 1) {
    atomic_store(&arrived, 0);
    atomic_fetch_add(&phase, 1);
    return;
  }
  for (long spun = 0; atomic_load(&phase) == now; spun++) relax(spun);
}
