/* Wire form: what is taken for a message is one message for whoever undoes it, and comes back the same; the cut makes no difference. */
#include "wire_form.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "smtp_dot.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static bool is_whole(struct span wire, size_t cut)
{
	struct wire_form form;
	wire_form_init(&form);
	wire_form_push(&form, span_sub(wire, 0, cut));
	wire_form_push(&form, span_sub(wire, cut, wire.len));
	return wire_form_is_whole(&form);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct span wire = { (const char *)bytes, size };
	struct smtp_undot undot;
	struct smtp_dot dot;
	struct buf native = { 0 }, again = { 0 };
	bool whole = is_whole(wire, 0);
	for (size_t cut = 1; cut < size && cut < 64; cut++)
		if (is_whole(wire, cut) != whole)
			abort();
	if (!whole)
		return 0;
	smtp_undot_init(&undot);
	smtp_dot_init(&dot);
	if (smtp_undot_push(&undot, wire, &native) != 0 || !undot.has_ended || smtp_dot_push(&dot, buf_span(&native), &again) != 0 ||
	    smtp_dot_finish(&dot, &again) != 0)
		abort();
	if (!span_eq(buf_span(&again), wire))
		abort();
	buf_free(&native);
	buf_free(&again);
	return 0;
}
