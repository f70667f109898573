/* check_file.h - the message as a file for the external command, and what the command has left of it.
 * Each message has a directory of its own in the place (check_place.h), with the file in it: what the command puts beside it goes when the message goes.
 * The file is native text: LF ends a line, no dot is stuffed, no dot line ends it; that is what programs expect.
 * Everything here blocks on the disk: to be called in a job.
 */
#ifndef POSTERN_CHECK_FILE_H
#define POSTERN_CHECK_FILE_H

#include <fcntl.h>
#include <stdint.h>

#include "check_place.h"
#include "err.h"

#define CHECK_FILE_NAME "message"
#define CHECK_FILE_SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

struct check_file {
	int place_fd;                 /* borrowed */
	int dir_fd;                   /* -1: there is none */
	char dir[CHECK_PLACE_NAME_LEN + 1]; /* its name in the place */
};

/* A zeroed struct with dir_fd -1 is no file. */
#define CHECK_FILE_NONE ((struct check_file){ .place_fd = -1, .dir_fd = -1 })

/* Write wire_len bytes of wire_fd, from its beginning: a message in wire form.  number: never given twice by this process.  On failure nothing is left.
 * ERR_CORRUPT: it is no such message. */
int check_file_make(int place_fd, uint64_t number, int wire_fd, uint64_t wire_len, struct check_file *out, struct reason *why);

/* What is there now.  Unchanged: *changed_fd_out is -1.  Else a sealed memory file with it in wire form, whatever ends its lines (LF or CRLF; other CRs are
 * dropped), and its length.  ERR_CORRUPT with a reason: gone, no regular file of our user, empty, over max_bytes (of native text), or with a NUL in it. */
int check_file_take(const struct check_file *file, int wire_fd, uint64_t wire_len, uint64_t max_bytes, int *changed_fd_out, uint64_t *changed_len_out,
		    struct reason *why);

/* With all that is in its directory. */
void check_file_remove(struct check_file *file);

/* Without touching the disk: the next sweep removes it. */
void check_file_abandon(struct check_file *file);

#endif
