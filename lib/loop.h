/* loop.h - the event loop: timers, readiness of descriptors, signals, jobs on other threads.  The one home of libuv.
 * Promise: no callback runs before the function that started it has returned; after a destroy or cancel returns, its callback
 * never runs again.  Everything runs on the thread of loop_run, but for the work function of a job.
 * Owns: the handles it created.  Borrows: descriptors (the caller closes them after loop_io_destroy) and ctx pointers.
 * Fails: ERR_NOMEM, and ERR_IO with a descriptor that can't be polled.
 */
#ifndef POSTERN_LOOP_H
#define POSTERN_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_timer;
struct loop_io;
struct loop_signal;

typedef void (*loop_fn)(void *ctx);
typedef void (*loop_io_fn)(void *ctx, unsigned events);
typedef void (*loop_signal_fn)(void *ctx, int signum);

int loop_create(struct loop **out);

/* Runs the close callbacks that are due and gives everything back.  Handles must have been destroyed.  Clears the pointer. */
void loop_destroy(struct loop **loop);

/* Until loop_stop. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* Monotonic, read once an iteration. */
uint64_t loop_now_ms(struct loop *loop);

/* Seconds since 1970, for envelopes and logs. */
int64_t loop_wall_time(void);

/* One-shot timers.  start on a running timer moves it; a start that only moves it later costs next to nothing. */
int loop_timer_create(struct loop *loop, loop_fn fn, void *ctx, struct loop_timer **out);
void loop_timer_start(struct loop_timer *timer, uint64_t after_ms);
void loop_timer_stop(struct loop_timer *timer);
void loop_timer_destroy(struct loop_timer **timer);

/* Readiness, level-triggered.  LOOP_HANGUP arrives with LOOP_READ when the peer is gone or the descriptor has an error. */
enum { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_HANGUP = 4 };
int loop_io_create(struct loop *loop, int fd, loop_io_fn fn, void *ctx, struct loop_io **out);
int loop_io_want(struct loop_io *io, unsigned events); /* LOOP_READ | LOOP_WRITE, or 0 for nothing */
void loop_io_destroy(struct loop_io **io);

int loop_signal_create(struct loop *loop, int signum, loop_signal_fn fn, void *ctx, struct loop_signal **out);
void loop_signal_destroy(struct loop_signal **sig);

/* A call on the next turn of the loop.  Embedded in the caller's struct, costs no allocation.  Posting twice is posting once. */
struct loop_task {
	loop_fn fn;
	void *ctx;
	struct loop_task *next, *prev; /* the loop's; NULL while it is not queued */
};
void loop_task_post(struct loop *loop, struct loop_task *task);
void loop_task_cancel(struct loop_task *task);

/* work runs on another thread (it may block; it touches nothing but ctx), then done on the loop.  Can't be cancelled: what ctx
 * points to stays alive until done. */
int loop_job_start(struct loop *loop, loop_fn work, loop_fn done, void *ctx);

#endif
