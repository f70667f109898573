#include "check_args.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "addr.h"
#include "err.h"

#define COUNT_TEXT_CAP 24
#define FIXED_WORDS 8 /* -s FILE -a CLIENT -f SENDER -t COUNT */

/* ---- the packet */

static bool has_control(struct span text)
{
	for (size_t i = 0; i < text.len; i++)
		if ((unsigned char)text.ptr[i] < 0x20 || text.ptr[i] == 0x7f)
			return true;
	return false;
}

/* The brackets keep a path from being taken for an option, whatever is in it. */
static int append_path(struct buf *packet, struct span path)
{
	const size_t len_before = packet->len;
	int err = has_control(path) ? ERR_INVAL : buf_append(packet, "<", 1);
	if (!err)
		err = buf_append_span(packet, path);
	if (!err)
		err = buf_append(packet, ">", 2);
	if (err)
		packet->len = len_before;
	return err;
}

int check_args_begin(struct buf *packet, const char *client, struct span sender)
{
	int err = buf_append(packet, client, strlen(client) + 1);
	return err ? err : append_path(packet, sender);
}

int check_args_recipient(struct buf *packet, struct span recipient)
{
	return append_path(packet, recipient);
}

static bool is_path(const char *text)
{
	size_t len = strlen(text);
	return len >= 2 && text[0] == '<' && text[len - 1] == '>' && !has_control(span_of(text));
}

static size_t count_texts(struct span packet)
{
	size_t count = 0;
	for (size_t i = 0; i < packet.len; i++)
		count += packet.ptr[i] == '\0';
	return count;
}

int check_args_parse(struct span packet, struct check_args *out)
{
	struct check_args args = { 0 };
	struct addr client;
	size_t count = count_texts(packet);
	if (count < 3 || packet.len > CHECK_ARGS_BYTES_MAX || packet.ptr[packet.len - 1] != '\0')
		return ERR_SYNTAX;
	args.recipient_count = count - 2;
	args.packet = malloc(packet.len);
	args.recipients = malloc(args.recipient_count * sizeof *args.recipients);
	if (!args.packet || !args.recipients) {
		check_args_free(&args);
		return ERR_NOMEM;
	}
	memcpy(args.packet, packet.ptr, packet.len);
	args.client = args.packet;
	args.sender = args.client + strlen(args.client) + 1;
	bool is_good = addr_parse(span_of(args.client), &client) == 0 && is_path(args.sender);
	const char *at = args.sender;
	for (size_t i = 0; is_good && i < args.recipient_count; i++) {
		at += strlen(at) + 1;
		args.recipients[i] = at;
		is_good = is_path(at);
	}
	if (!is_good) {
		check_args_free(&args);
		return ERR_SYNTAX;
	}
	*out = args;
	return 0;
}

void check_args_free(struct check_args *args)
{
	free(args->packet);
	free(args->recipients);
	*args = (struct check_args){ 0 };
}

/* ---- the vector */

/* Cuts text at blanks, in place; returns how many words. */
static size_t split(char *text, char **words)
{
	size_t count = 0;
	char *rest = NULL;
	for (char *word = strtok_r(text, " \t", &rest); word && count < CONF_COMMAND_WORDS_MAX; word = strtok_r(NULL, " \t", &rest))
		words[count++] = word;
	return count;
}

static char *copy_to(char **room, const char *text)
{
	char *copy = *room;
	size_t size = strlen(text) + 1;
	memcpy(copy, text, size);
	*room += size;
	return copy;
}

/* Only execve() sees it, which changes nothing. */
static char *as_word(const char *text)
{
	return (char *)(uintptr_t)text;
}

char **check_args_vector(const struct check_args *args, const char *command, const char *file)
{
	size_t slots = CONF_COMMAND_WORDS_MAX + FIXED_WORDS + args->recipient_count + 1;
	size_t bytes = strlen(command) + 1 + strlen(file) + 1 + COUNT_TEXT_CAP;
	char **words = malloc(slots * sizeof *words + bytes);
	if (!words)
		return NULL;
	char *room = (char *)(words + slots), number[COUNT_TEXT_CAP];
	(void)snprintf(number, sizeof number, "%zu", args->recipient_count);
	size_t n = split(copy_to(&room, command), words);
	words[n++] = as_word("-s");
	words[n++] = copy_to(&room, file);
	words[n++] = as_word("-a");
	words[n++] = as_word(args->client);
	words[n++] = as_word("-f");
	words[n++] = as_word(args->sender);
	words[n++] = as_word("-t");
	words[n++] = copy_to(&room, number);
	for (size_t i = 0; i < args->recipient_count; i++)
		words[n++] = as_word(args->recipients[i]);
	words[n] = NULL;
	return words;
}
