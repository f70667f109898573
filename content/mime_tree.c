#include "mime_tree.h"

#include <stdlib.h>

#include "err.h"
#include "mime_facts.h"
#include "mime_lines.h"
#include "mime_text.h"
#include "mime_word.h"

/* Messages and multiparts that are decoded at the same time, the message itself among them. */
#define TREES_MAX 4u

enum part_state {
	PART_HEADER,
	PART_SHADOW, /* a body that may still have fields in it */
	PART_BODY,
};

struct part {
	struct part *around;
	enum part_state state;
	uint32_t number;
	bool has_line;       /* of its header */
	struct mime_facts facts;
	struct mime_decode decode; /* into the inner tree */
	struct mime_lines lines;
	struct mime_tree *inner;
};

struct mime_tree {
	struct mime_shared *shared;
	struct part *part; /* the innermost */
	unsigned depth;
	bool skips_line; /* the rest of a delimiter line */
	/* The header field that is being read. */
	struct buf field;
	bool is_in_field;
	bool is_in_rest; /* of a field that was too long: shown as text */
	/* The body of the innermost part, where it is no multipart with parts in it. */
	bool is_in_text;
	bool must_guess; /* whether it is base64 at all */
	struct mime_decode decode;
	struct mime_text text;
	struct buf decoded;
};

static int push_part(struct mime_tree *tree, bool is_message_by_default)
{
	struct part *part = calloc(1, sizeof *part);
	if (!part)
		return ERR_NOMEM;
	part->around = tree->part;
	part->number = tree->shared->parts++;
	if (is_message_by_default)
		part->facts.body = MIME_BODY_MESSAGE;
	tree->part = part;
	tree->depth++;
	return 0;
}

static void free_part(struct mime_tree *tree)
{
	struct part *part = tree->part;
	tree->part = part->around;
	tree->depth--;
	mime_facts_free(&part->facts, &tree->shared->boundary_room);
	buf_free(&part->lines.head);
	mime_tree_close(&part->inner);
	free(part);
}

int mime_tree_open(struct mime_shared *shared, unsigned depth, struct mime_tree **out)
{
	struct mime_tree *tree = calloc(1, sizeof *tree);
	if (!tree)
		return ERR_NOMEM;
	tree->shared = shared;
	tree->depth = depth;
	tree->field.cap = MIME_FIELD_MAX;
	shared->trees++;
	if (push_part(tree, false) != 0) {
		mime_tree_close(&tree);
		return ERR_NOMEM;
	}
	*out = tree;
	return 0;
}

/* --- the body of a part that is shown --- */

static void begin_text(struct mime_tree *tree, bool is_plain)
{
	struct mime_facts *facts = &tree->part->facts;
	bool must_sniff = !is_plain && facts->body == MIME_BODY_OTHER;
	mime_text_begin(&tree->text, &tree->shared->emit, is_plain ? SPAN_NONE : span_of(facts->charset), must_sniff);
	tree->decode = (struct mime_decode){ .encoding = is_plain ? MIME_IDENTITY : facts->encoding };
	tree->must_guess = facts->is_ambiguous && tree->decode.encoding == MIME_BASE64;
	tree->is_in_text = true;
}

static int decode(struct mime_shared *shared, struct mime_decode *decode, struct span bytes, struct buf *out)
{
	int err = mime_decode_push(decode, bytes, out);
	if (decode->is_odd)
		shared->emit.flags |= MIME_FLAG_BASE64;
	return err;
}

static int push_text(struct mime_tree *tree, struct span bytes)
{
	if (tree->decode.encoding == MIME_IDENTITY)
		return mime_text_push(&tree->text, bytes);
	if (tree->text.is_binary)
		return 0;
	buf_clear(&tree->decoded);
	int err = decode(tree->shared, &tree->decode, bytes, &tree->decoded);
	return err ? err : mime_text_push(&tree->text, buf_span(&tree->decoded));
}

static int end_text(struct mime_tree *tree)
{
	if (!tree->is_in_text)
		return 0;
	tree->is_in_text = tree->is_in_rest = false;
	buf_clear(&tree->decoded);
	int err = mime_decode_finish(&tree->decode, &tree->decoded);
	if (!err)
		err = mime_text_push(&tree->text, buf_span(&tree->decoded));
	return err ? err : mime_text_end(&tree->text);
}

static bool is_base64(struct span line)
{
	for (size_t i = 0; i < line.len; i++) {
		char c = span_lower(line.ptr[i]);
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/' || c == '='))
			return false;
	}
	return true;
}

static int text_line(struct mime_tree *tree, struct span piece, bool is_first, bool is_end)
{
	if (!tree->is_in_text)
		return 0;
	if (tree->must_guess && is_first && piece.len > 0) {
		tree->must_guess = false;
		if (!is_base64(span_trim(piece)))
			tree->decode.encoding = MIME_IDENTITY;
	}
	int err = push_text(tree, piece);
	return !err && is_end ? push_text(tree, SPAN_LIT("\n")) : err;
}

/* --- encoded messages --- */

static int begin_inner(struct mime_tree *tree, struct part *part)
{
	struct mime_shared *shared = tree->shared;
	if (shared->trees >= TREES_MAX || tree->depth >= MIME_DEPTH_MAX) {
		shared->emit.flags |= MIME_FLAG_ENCODED;
		return 0;
	}
	part->decode = (struct mime_decode){ .encoding = part->facts.encoding };
	int err = mime_tree_open(shared, tree->depth, &part->inner);
	part->lines = (struct mime_lines){ .show = mime_tree_line, .owner = part->inner };
	if (err || part->facts.body != MIME_BODY_MULTIPART)
		return err;
	/* The encoded body of a multipart has no header: its parts are found by what the header in clear text says. */
	struct part *root = part->inner->part;
	root->facts.body = MIME_BODY_MULTIPART;
	root->facts.is_digest = part->facts.is_digest;
	root->state = PART_BODY;
	for (size_t i = 0; !err && i < part->facts.boundary_count; i++) {
		bool added;
		err = mime_facts_boundary(&root->facts, part->facts.boundary[i], &shared->emit, &shared->boundary_room, &added);
	}
	begin_text(part->inner, true);
	return err;
}

static int inner_push(struct mime_tree *tree, struct part *part, struct span bytes)
{
	struct mime_shared *shared = tree->shared;
	uint32_t number = shared->emit.part;
	struct buf decoded = { .cap = 0 };
	int err = decode(shared, &part->decode, bytes, &decoded);
	if (!err)
		err = mime_lines_push(&part->lines, buf_span(&decoded));
	buf_free(&decoded);
	shared->emit.part = number;
	return err;
}

static int end_inner(struct mime_tree *tree, struct part *part)
{
	struct buf decoded = { .cap = 0 };
	if (!part->inner)
		return 0;
	int err = mime_decode_finish(&part->decode, &decoded);
	if (!err)
		err = mime_lines_push(&part->lines, buf_span(&decoded));
	if (!err)
		err = mime_lines_finish(&part->lines);
	if (!err)
		err = mime_tree_finish(part->inner);
	buf_free(&decoded);
	mime_tree_close(&part->inner);
	tree->shared->emit.part = tree->part->number;
	return err;
}

static int line_to_inner(struct mime_tree *tree, struct span piece, bool is_end)
{
	int err = 0;
	for (struct part *part = tree->part; !err && part; part = part->around) {
		if (!part->inner || part->state != PART_BODY)
			continue;
		err = inner_push(tree, part, piece);
		if (!err && is_end)
			err = inner_push(tree, part, SPAN_LIT("\n"));
	}
	return err;
}

/* --- headers --- */

/* The length of a field's name: printable without a colon (RFC 5322 section 2.2), and with white space behind it as old programs wrote (section 4.5). */
static size_t name_len(struct span line, size_t *colon_out)
{
	size_t len = 0;
	while (len < line.len && line.ptr[len] > ' ' && line.ptr[len] != ':' && line.ptr[len] != 0x7f)
		len++;
	size_t colon = len;
	while (colon < line.len && (line.ptr[colon] == ' ' || line.ptr[colon] == '\t'))
		colon++;
	*colon_out = colon;
	return colon < line.len && line.ptr[colon] == ':' ? len : 0;
}

static int end_field(struct mime_tree *tree)
{
	struct mime_shared *shared = tree->shared;
	struct span field = buf_span(&tree->field), value;
	size_t colon, name = name_len(field, &colon);
	struct buf text = { .cap = 0 };
	bool changed = false;
	if (!tree->is_in_field)
		return 0;
	tree->is_in_field = false;
	value = span_trim(span_sub(field, colon + 1, field.len));
	shared->emit.part = tree->part->number;
	int err = 0;
	if (tree->part->state == PART_HEADER) {
		err = buf_append_span(&text, span_sub(field, 0, name));
		if (!err)
			err = buf_append(&text, ": ", 2);
		if (!err)
			err = mime_word_decode(value, &text);
		if (!err)
			mime_emit_whole(&shared->emit, MIME_HEADER, buf_span(&text));
		buf_free(&text);
	}
	if (!err)
		err = mime_facts_field(&tree->part->facts, span_sub(field, 0, name), value, &shared->emit, &shared->boundary_room, &changed);
	buf_clear(&tree->field);
	if (tree->field.room > MIME_HEAD_MAX)
		buf_free(&tree->field);
	if (err || !changed || tree->part->state != PART_SHADOW)
		return err;
	/* What the body is was learned in its middle. */
	err = end_text(tree);
	begin_text(tree, tree->part->facts.body >= MIME_BODY_MESSAGE);
	return err;
}

static int add_to_field(struct mime_tree *tree, struct span piece, bool is_end)
{
	struct span fits = span_sub(piece, 0, MIME_FIELD_MAX - tree->field.len);
	int err = buf_append_span(&tree->field, fits);
	if (err || fits.len == piece.len)
		return err;
	tree->shared->emit.flags |= MIME_FLAG_FIELD;
	err = end_field(tree);
	if (err || tree->part->state == PART_SHADOW) /* which is text anyway */
		return err;
	begin_text(tree, true);
	tree->is_in_rest = true;
	return text_line(tree, span_sub(piece, fits.len, piece.len), false, is_end);
}

/* --- bodies --- */

/* Over the bound a part is text of the one around it. */
static int begin_part(struct mime_tree *tree, bool is_message_by_default)
{
	if (tree->depth < MIME_DEPTH_MAX)
		return push_part(tree, is_message_by_default);
	tree->shared->emit.flags |= MIME_FLAG_DEPTH;
	begin_text(tree, true);
	return 0;
}

static int begin_body(struct mime_tree *tree)
{
	struct part *part = tree->part;
	int err = end_field(tree);
	if (!err)
		err = end_text(tree);
	bool is_composite = part->facts.body >= MIME_BODY_MESSAGE;
	part->state = PART_BODY;
	if (!err && is_composite && part->facts.encoding != MIME_IDENTITY)
		err = begin_inner(tree, part);
	if (!err && part->facts.body == MIME_BODY_MESSAGE)
		return begin_part(tree, false);
	begin_text(tree, is_composite);
	return err;
}

/* End the innermost part and all that is in it. */
static int pop_part(struct mime_tree *tree)
{
	int err = end_field(tree);
	if (!err)
		err = end_text(tree);
	if (!err)
		err = end_inner(tree, tree->part);
	free_part(tree);
	if (tree->part)
		tree->shared->emit.part = tree->part->number;
	return err;
}

enum delimiter { DELIMITER_NONE, DELIMITER_BEGINS, DELIMITER_EXACT, DELIMITER_CLOSES };

static enum delimiter compare(struct span line, struct span boundary)
{
	/* line is without its "--". */
	if (line.len < boundary.len || memcmp(line.ptr, boundary.ptr, boundary.len) != 0)
		return DELIMITER_NONE;
	struct span rest = span_trim(span_sub(line, boundary.len, line.len));
	if (rest.len == 0)
		return DELIMITER_EXACT;
	return span_eq(rest, SPAN_LIT("--")) ? DELIMITER_CLOSES : DELIMITER_BEGINS;
}

static enum delimiter find_delimiter(struct mime_tree *tree, struct span line, struct part **part_out)
{
	enum delimiter found = DELIMITER_NONE;
	size_t longest = 0;
	struct span rest = span_sub(line, 2, line.len);
	for (struct part *part = tree->part; part; part = part->around) {
		for (size_t i = 0; i < part->facts.boundary_count; i++) {
			enum delimiter is = compare(rest, part->facts.boundary[i]);
			if (is == DELIMITER_NONE || (is == DELIMITER_BEGINS && part->facts.boundary[i].len <= longest))
				continue;
			longest = part->facts.boundary[i].len;
			found = is;
			*part_out = part;
			if (is != DELIMITER_BEGINS)
				return is;
		}
	}
	return found;
}

/* A multipart that names no boundary. */
static int guess_boundary(struct mime_tree *tree, struct span line)
{
	struct part *part = tree->part;
	struct span boundary = span_trim(span_sub(line, 2, line.len));
	bool added;
	if (part->facts.body != MIME_BODY_MULTIPART || part->facts.boundary_count > 0 || boundary.len == 0)
		return 0;
	return mime_facts_boundary(&part->facts, boundary, &tree->shared->emit, &tree->shared->boundary_room, &added);
}

/* *is_one_out: the line was a delimiter and is done with. */
static int delimiter_line(struct mime_tree *tree, struct span line, bool is_end, bool *is_one_out)
{
	struct part *part = NULL;
	*is_one_out = false;
	int err = tree->part->state != PART_BODY ? end_field(tree) : 0;
	if (!err)
		err = guess_boundary(tree, line);
	enum delimiter is = err ? DELIMITER_NONE : find_delimiter(tree, line, &part);
	if (is == DELIMITER_NONE)
		return err;
	*is_one_out = true;
	while (!err && tree->part != part)
		err = pop_part(tree);
	if (!err)
		err = end_text(tree);
	/* For who decodes all of it, it is a line like others. */
	if (!err)
		err = line_to_inner(tree, line, is_end);
	if (err)
		return err;
	part->state = PART_BODY; /* also where its header had no end */
	if (is != DELIMITER_CLOSES)
		return begin_part(tree, part->facts.is_digest);
	begin_text(tree, true);
	return 0;
}

/* A line of a header that is no field: the body has begun without an empty line, or the line is rubbish. */
static int stray_line(struct mime_tree *tree, struct span piece, bool is_end)
{
	struct part *part = tree->part;
	int err = part->state == PART_HEADER ? begin_body(tree) : 0;
	if (!err && tree->part == part && part->facts.body < MIME_BODY_MESSAGE)
		part->state = PART_SHADOW;
	/* The stray line may be the first of a message in this one. */
	return err ? err : tree->part == part ? text_line(tree, piece, true, is_end) : mime_tree_line(tree, piece, true, is_end);
}

static int header_line(struct mime_tree *tree, struct span piece, bool is_end)
{
	struct part *part = tree->part;
	bool is_folded = piece.len > 0 && (piece.ptr[0] == ' ' || piece.ptr[0] == '\t');
	size_t colon;
	int err = 0;
	if (tree->is_in_rest && is_folded)
		return text_line(tree, piece, true, is_end);
	if (tree->is_in_rest)
		err = end_text(tree);
	if (err)
		return err;
	if (piece.len == 0 && is_end) {
		err = end_field(tree);
		if (err || part->state == PART_HEADER || part->facts.body >= MIME_BODY_MESSAGE)
			return err ? err : begin_body(tree);
		part->state = PART_BODY;
		return text_line(tree, piece, true, is_end);
	}
	if (is_folded && tree->is_in_field) {
		err = add_to_field(tree, piece, is_end);
	} else if (!is_folded && name_len(piece, &colon) > 0) {
		err = end_field(tree);
		tree->is_in_field = true;
		if (!err)
			err = add_to_field(tree, piece, is_end);
	} else if (!part->has_line && part->state == PART_HEADER && (span_starts_nocase(piece, SPAN_LIT("From ")) || span_starts_nocase(piece, SPAN_LIT(">From ")))) {
		tree->skips_line = !is_end; /* of a mailbox file */
		part->has_line = true;
		return 0;
	} else {
		err = end_field(tree);
		return err ? err : stray_line(tree, piece, is_end);
	}
	part->has_line = true;
	/* The fields of a body that may still be a header are its text too. */
	return !err && part->state == PART_SHADOW ? text_line(tree, piece, true, is_end) : err;
}

int mime_tree_line(void *owner, struct span piece, bool is_first, bool is_end)
{
	struct mime_tree *tree = owner;
	int err = 0;
	if (tree->skips_line) {
		tree->skips_line = !is_end;
		return 0;
	}
	tree->shared->emit.part = tree->part->number;
	if (is_first && piece.len >= 2 && piece.ptr[0] == '-' && piece.ptr[1] == '-') {
		bool is_delimiter;
		err = delimiter_line(tree, piece, is_end, &is_delimiter);
		if (err || is_delimiter) {
			tree->skips_line = !is_end;
			return err;
		}
	}
	/* Parts that are new begin with the next line. */
	err = line_to_inner(tree, piece, is_end);
	if (err)
		return err;
	if (tree->part->state == PART_BODY || (tree->is_in_rest && !is_first))
		return text_line(tree, piece, is_first, is_end);
	if (is_first)
		return header_line(tree, piece, is_end);
	if (tree->is_in_field)
		err = add_to_field(tree, piece, is_end);
	return !err && tree->part->state == PART_SHADOW ? text_line(tree, piece, false, is_end) : err;
}

int mime_tree_finish(struct mime_tree *tree)
{
	int err = 0;
	while (!err && tree->part)
		err = pop_part(tree);
	return err;
}

void mime_tree_close(struct mime_tree **tree)
{
	if (!*tree)
		return;
	while ((*tree)->part)
		free_part(*tree);
	buf_free(&(*tree)->field);
	buf_free(&(*tree)->decoded);
	mime_text_free(&(*tree)->text);
	(*tree)->shared->trees--;
	free(*tree);
	*tree = NULL;
}
