#include "message_copy.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "journal.h"

int message_copy_make(struct fwd_message *copy, const struct fwd_message *m)
{
	*copy = *m;
	if (m->outcomes) {
		copy->outcomes = malloc(m->outcome_count * sizeof *m->outcomes);
		if (!copy->outcomes)
			return ERR_NOMEM;
		memcpy(copy->outcomes, m->outcomes, m->outcome_count * sizeof *m->outcomes);
	}
	if (copy->segment)
		journal_pin(copy->segment);
	return 0;
}

void message_copy_clear(struct fwd_message *copy)
{
	free(copy->outcomes);
	copy->outcomes = NULL;
	if (copy->segment)
		journal_unpin(copy->segment);
	copy->segment = NULL;
}
