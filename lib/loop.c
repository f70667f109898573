#include "loop.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>
#include <uv.h>

#include "err.h"

/* The jobs of one process that run at a time: on a slow disk six batches and two large bodies sync side by side. */
#define LOOP_THREADS "8"

struct loop {
	uv_loop_t uv;
	uv_idle_t idle; /* active only while tasks wait: it keeps the poll from sleeping */
	struct loop_task tasks; /* head of a ring */
};

/* There is one of each for every idle session: the handle comes first, so that its address is ours, and its data is the caller's ctx. */
struct loop_timer {
	uv_timer_t uv;
	loop_fn fn;
	uint64_t due_ms; /* 0: stopped */
};

struct loop_io {
	uv_poll_t uv;
	loop_io_fn fn;
	unsigned wanted;
};

struct loop_signal {
	uv_signal_t uv;
	loop_signal_fn fn;
};

struct job {
	uv_work_t uv;
	loop_fn work, done;
	void *ctx;
};

static int err_from_uv(int status)
{
	/* On Unix libuv's codes are negative errno values. */
	return status < 0 ? err_from_errno(-status) : 0;
}

static void ring_init(struct loop_task *head)
{
	head->next = head->prev = head;
}

static void run_tasks(uv_idle_t *idle)
{
	struct loop *loop = idle->data;
	/* Take the ring over: what is posted from here on waits for the next turn, so a task that posts itself starves nobody. */
	struct loop_task batch;
	ring_init(&batch);
	if (loop->tasks.next != &loop->tasks) {
		batch = loop->tasks;
		batch.next->prev = batch.prev->next = &batch;
		ring_init(&loop->tasks);
	}
	while (batch.next != &batch) {
		struct loop_task *task = batch.next;
		loop_task_cancel(task);
		task->fn(task->ctx);
	}
	if (loop->tasks.next == &loop->tasks)
		uv_idle_stop(&loop->idle);
}

int loop_create(struct loop **out)
{
	struct loop *loop = calloc(1, sizeof *loop);
	if (!loop)
		return ERR_NOMEM;
	/* libuv reads it with the first job, and has no other way to be told. */
	(void)setenv("UV_THREADPOOL_SIZE", LOOP_THREADS, 0);
	int err = err_from_uv(uv_loop_init(&loop->uv));
	if (err) {
		free(loop);
		return err;
	}
	(void)uv_idle_init(&loop->uv, &loop->idle);
	loop->idle.data = loop;
	ring_init(&loop->tasks);
	*out = loop;
	return 0;
}

void loop_destroy(struct loop **loop)
{
	if (!*loop)
		return;
	uv_close((uv_handle_t *)&(*loop)->idle, NULL);
	(void)uv_run(&(*loop)->uv, UV_RUN_DEFAULT);
	int busy = uv_loop_close(&(*loop)->uv);
	assert(busy == 0);
	(void)busy;
	free(*loop);
	*loop = NULL;
}

void loop_run(struct loop *loop)
{
	(void)uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void loop_stop(struct loop *loop)
{
	uv_stop(&loop->uv);
}

uint64_t loop_now_ms(struct loop *loop)
{
	return uv_now(&loop->uv);
}

int64_t loop_wall_time(void)
{
	return (int64_t)time(NULL);
}

static void free_handle(uv_handle_t *handle)
{
	free(handle); /* the struct that begins with it */
}

/* A timer that was moved later keeps its old place in libuv's heap until that place comes up. */
static void timer_fired(uv_timer_t *uv)
{
	struct loop_timer *timer = (struct loop_timer *)uv;
	uint64_t now = uv_now(uv->loop);
	if (timer->due_ms == 0)
		return;
	if (timer->due_ms > now) {
		(void)uv_timer_start(uv, timer_fired, timer->due_ms - now, 0);
		return;
	}
	timer->due_ms = 0;
	timer->fn(uv->data);
}

int loop_timer_create(struct loop *loop, loop_fn fn, void *ctx, struct loop_timer **out)
{
	struct loop_timer *timer = calloc(1, sizeof *timer);
	if (!timer)
		return ERR_NOMEM;
	(void)uv_timer_init(&loop->uv, &timer->uv);
	timer->uv.data = ctx;
	timer->fn = fn;
	*out = timer;
	return 0;
}

void loop_timer_start(struct loop_timer *timer, uint64_t after_ms)
{
	uint64_t now = uv_now(timer->uv.loop);
	timer->due_ms = now + after_ms;
	if (timer->due_ms == 0)
		timer->due_ms = 1;
	if (uv_is_active((uv_handle_t *)&timer->uv) && uv_timer_get_due_in(&timer->uv) <= after_ms)
		return;
	(void)uv_timer_start(&timer->uv, timer_fired, after_ms, 0);
}

void loop_timer_stop(struct loop_timer *timer)
{
	timer->due_ms = 0;
	(void)uv_timer_stop(&timer->uv);
}

void loop_timer_destroy(struct loop_timer **timer)
{
	if (!*timer)
		return;
	uv_close((uv_handle_t *)&(*timer)->uv, free_handle);
	*timer = NULL;
}

static void io_ready(uv_poll_t *uv, int status, int events)
{
	struct loop_io *io = (struct loop_io *)uv;
	unsigned ready = 0;
	if (status < 0) {
		/* libuv has stopped watching; but bytes may stand in front of the error, and only a later read finds the error itself. */
		unsigned wanted = io->wanted;
		io->wanted = 0;
		(void)loop_io_want(io, wanted);
		ready |= LOOP_READ | LOOP_HANGUP;
	}
	if (events & UV_READABLE)
		ready |= LOOP_READ;
	if (events & UV_WRITABLE)
		ready |= LOOP_WRITE;
	if (events & UV_DISCONNECT)
		ready |= LOOP_READ | LOOP_HANGUP;
	io->fn(uv->data, ready);
}

int loop_io_create(struct loop *loop, int fd, loop_io_fn fn, void *ctx, struct loop_io **out)
{
	struct loop_io *io = calloc(1, sizeof *io);
	if (!io)
		return ERR_NOMEM;
	int err = err_from_uv(uv_poll_init(&loop->uv, &io->uv, fd));
	if (err) {
		free(io);
		return err;
	}
	io->uv.data = ctx;
	io->fn = fn;
	*out = io;
	return 0;
}

int loop_io_want(struct loop_io *io, unsigned events)
{
	if (events == io->wanted)
		return 0;
	int uv_events = (events & LOOP_READ ? UV_READABLE : 0) | (events & LOOP_WRITE ? UV_WRITABLE : 0);
	int err = uv_events ? uv_poll_start(&io->uv, uv_events, io_ready) : uv_poll_stop(&io->uv);
	if (err == 0)
		io->wanted = events;
	return err_from_uv(err);
}

void loop_io_destroy(struct loop_io **io)
{
	if (!*io)
		return;
	uv_close((uv_handle_t *)&(*io)->uv, free_handle); /* stops it, too: told twice, it asks the kernel twice */
	*io = NULL;
}

static void signal_arrived(uv_signal_t *uv, int signum)
{
	struct loop_signal *sig = (struct loop_signal *)uv;
	sig->fn(uv->data, signum);
}

int loop_signal_create(struct loop *loop, int signum, loop_signal_fn fn, void *ctx, struct loop_signal **out)
{
	struct loop_signal *sig = calloc(1, sizeof *sig);
	if (!sig)
		return ERR_NOMEM;
	int err = err_from_uv(uv_signal_init(&loop->uv, &sig->uv));
	if (err) {
		free(sig);
		return err;
	}
	sig->uv.data = ctx;
	sig->fn = fn;
	err = err_from_uv(uv_signal_start(&sig->uv, signal_arrived, signum));
	if (err) {
		loop_signal_destroy(&sig);
		return err;
	}
	*out = sig;
	return 0;
}

void loop_signal_destroy(struct loop_signal **sig)
{
	if (!*sig)
		return;
	uv_close((uv_handle_t *)&(*sig)->uv, free_handle);
	*sig = NULL;
}

void loop_task_post(struct loop *loop, struct loop_task *task)
{
	if (task->next)
		return;
	task->next = &loop->tasks;
	task->prev = loop->tasks.prev;
	task->prev->next = task;
	loop->tasks.prev = task;
	(void)uv_idle_start(&loop->idle, run_tasks);
}

void loop_task_cancel(struct loop_task *task)
{
	if (!task->next)
		return;
	task->next->prev = task->prev;
	task->prev->next = task->next;
	task->next = task->prev = NULL;
}

static void job_work(uv_work_t *uv)
{
	struct job *job = uv->data;
	job->work(job->ctx);
}

static void job_done(uv_work_t *uv, int status)
{
	struct job *job = uv->data;
	struct job copy = *job;
	(void)status;
	free(job);
	copy.done(copy.ctx);
}

int loop_job_start(struct loop *loop, loop_fn work, loop_fn done, void *ctx)
{
	struct job *job = calloc(1, sizeof *job);
	if (!job)
		return ERR_NOMEM;
	job->uv.data = job;
	job->work = work;
	job->done = done;
	job->ctx = ctx;
	int err = err_from_uv(uv_queue_work(&loop->uv, &job->uv, job_work, job_done));
	if (err)
		free(job);
	return err;
}
