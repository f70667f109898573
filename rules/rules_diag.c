#include "rules_diag.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

static void flatten(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
}

static bool is_after(const struct rules_place *a, const struct rules_place *b)
{
	return a->line > b->line || (a->line == b->line && a->column > b->column);
}

/* Before what stands behind it in the same file: a file is read for its form first and for its meaning afterwards. */
static void insert(struct rules_diags *diags, struct rules_diag *diag)
{
	struct rules_diag **at = &diags->first;
	while (*at && !(span_eq((*at)->place.file, diag->place.file) && is_after(&(*at)->place, &diag->place)))
		at = &(*at)->next;
	diag->next = *at;
	*at = diag;
	diags->kept++;
}

void rules_diag_add(struct rules_diags *diags, enum rules_severity severity, const struct rules_place *place, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	if (!diags)
		return;
	if (severity == RULES_ERROR)
		diags->errors++;
	else
		diags->warnings++;
	if (diags->kept >= RULES_DIAG_MAX)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	flatten(text);
	/* Without memory the message is lost, but never the count: the file is refused all the same. */
	struct rules_diag *diag = arena_alloc(&diags->arena, sizeof *diag);
	if (!diag)
		return;
	diag->severity = severity;
	diag->place = *place;
	diag->place.file = arena_copy(&diags->arena, place->file);
	diag->text = arena_copy(&diags->arena, span_of(text));
	if (!diag->text.ptr || !diag->place.file.ptr)
		return;
	insert(diags, diag);
}

const char *rules_diag_format(const struct rules_diag *diag, char text[RULES_DIAG_LINE_CAP])
{
	const char *severity = diag->severity == RULES_ERROR ? "error" : "warning";
	const struct rules_place *p = &diag->place;
	if (p->line == 0)
		(void)snprintf(text, RULES_DIAG_LINE_CAP, "%.*s: %s: %s", SPAN_FMT(p->file), severity, diag->text.ptr);
	else
		(void)snprintf(text, RULES_DIAG_LINE_CAP, "%.*s:%u:%u: %s: %s", SPAN_FMT(p->file), p->line, p->column, severity,
			       diag->text.ptr);
	flatten(text);
	return text;
}

void rules_diags_free(struct rules_diags *diags)
{
	arena_free(&diags->arena);
	*diags = (struct rules_diags){ 0 };
}
