#include "content_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct content_reader {
	struct loop *loop;
	struct loop_task turn;   /* pieces of memory, and failures to begin a job */
	content_piece_fn on_piece;
	void *ctx;
	struct span memory;
	int fd;                  /* our own: the caller's may be closed while a job reads */
	uint64_t at, end;
	bool is_in_job, is_doomed; /* destroyed meanwhile: the job's end frees it */
	char *buffer;
	ssize_t got;             /* by the job; -1: failed */
	int err;
};

static void reader_free(struct content_reader *r)
{
	loop_task_cancel(&r->turn);
	if (r->fd >= 0)
		close(r->fd);
	free(r->buffer);
	free(r);
}

static size_t piece_len(const struct content_reader *r)
{
	uint64_t left = r->end - r->at;
	return left < CONTENT_READER_PIECE_BYTES ? (size_t)left : CONTENT_READER_PIECE_BYTES;
}

/* The next piece of memory, the end, or what went wrong. */
static void tell(void *ctx)
{
	struct content_reader *r = ctx;
	size_t len = r->err ? 0 : piece_len(r);
	struct span piece = len ? (struct span){ r->memory.ptr + r->at, len } : SPAN_NONE;
	r->at += len;
	r->on_piece(r->ctx, r->err, piece);
}

static void job_work(void *ctx)
{
	struct content_reader *r = ctx;
	do
		r->got = pread(r->fd, r->buffer, piece_len(r), (off_t)r->at);
	while (r->got < 0 && errno == EINTR);
}

static void job_done(void *ctx)
{
	struct content_reader *r = ctx;
	r->is_in_job = false;
	if (r->is_doomed) {
		reader_free(r);
		return;
	}
	if (r->got <= 0) {
		r->err = ERR_IO;
		tell(r);
		return;
	}
	r->at += (uint64_t)r->got;
	r->on_piece(r->ctx, 0, (struct span){ r->buffer, (size_t)r->got });
}

int content_reader_create(struct loop *loop, const struct content_image *image, uint64_t from, content_piece_fn on_piece, void *ctx,
			  struct content_reader **out)
{
	struct content_reader *r = calloc(1, sizeof *r);
	if (!r)
		return ERR_NOMEM;
	*r = (struct content_reader){
		.loop = loop, .turn = { .fn = tell, .ctx = r }, .on_piece = on_piece, .ctx = ctx,
		.memory = image->memory, .fd = -1, .at = from < image->len ? from : image->len, .end = image->len,
	};
	if (image->fd >= 0) {
		r->fd = fcntl(image->fd, F_DUPFD_CLOEXEC, 0);
		r->buffer = malloc(CONTENT_READER_PIECE_BYTES);
		if (r->fd < 0 || !r->buffer) {
			int err = r->fd < 0 ? err_from_errno(errno) : ERR_NOMEM;
			reader_free(r);
			return err;
		}
	}
	*out = r;
	return 0;
}

void content_reader_next(struct content_reader *r)
{
	if (r->fd >= 0 && !r->err && r->at < r->end) {
		r->is_in_job = loop_job_start(r->loop, job_work, job_done, r) == 0;
		if (r->is_in_job)
			return;
		r->err = ERR_NOMEM;
	}
	loop_task_post(r->loop, &r->turn);
}

void content_reader_destroy(struct content_reader **reader)
{
	struct content_reader *r = *reader;
	if (!r)
		return;
	*reader = NULL;
	r->is_doomed = true;
	loop_task_cancel(&r->turn);
	if (!r->is_in_job)
		reader_free(r);
}
