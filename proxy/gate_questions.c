#include "gate_questions.h"

#include "conf.h"

#define TIME_MAX_S (10u * 366 * 86400)

static bool next_word(struct span *rest, struct span *word)
{
	while (span_cut(rest, ' ', word))
		if (word->len)
			return true;
	return false;
}

/* Bits of the sets that a word means.  0: none. */
static unsigned sets_of(struct span word)
{
	enum kernel_set_purpose purpose;
	enum kernel_set set = KSET_COUNT;
	if (kernel_set_find(word, &set) == 0)
		return 1u << set;
	if (kernel_set_purpose_find(word, &purpose) == 0)
		return 1u << kernel_set_of(purpose, ADDR_V4) | 1u << kernel_set_of(purpose, ADDR_V6);
	return 0;
}

static int unknown_set(struct span word, struct reason *why)
{
	return reason_set(why, ERR_INVAL, "'%.*s': expected a set: pass, block, tarpit or block_net", SPAN_FMT(span_sub(word, 0, 40)));
}

static int answer_list(const struct gate_sets *sets, struct span rest, int *fd_out, struct reason *why)
{
	unsigned wanted = 0;
	struct span word;
	while (next_word(&rest, &word)) {
		unsigned more = sets_of(word);
		if (!more)
			return unknown_set(word, why);
		wanted |= more;
	}
	*fd_out = gate_sets_listing(sets, wanted ? wanted : ~0u);
	return *fd_out < 0 ? reason_set(why, ERR_NOMEM, "no memory") : 0;
}

static int find_set(struct span word, const struct kernel_element *e, enum kernel_set *out, struct reason *why)
{
	bool is_range = !addr_eq(&e->from, &e->to);
	enum kernel_set_purpose purpose;
	unsigned sets = sets_of(word);
	if (!sets)
		return unknown_set(word, why);
	if (kernel_set_purpose_find(word, &purpose) == 0 && purpose == KSET_BLOCK && is_range)
		sets = 1u << KSET_BLOCK_NET4 | 1u << KSET_BLOCK_NET6;
	for (enum kernel_set set = 0; set < KSET_COUNT; set++)
		if (sets >> set & 1 && kernel_element_fits(e, set)) {
			*out = set;
			return 0;
		}
	return reason_set(why, ERR_INVAL, is_range ? "%.*s holds single addresses only" : "that address cannot be in %.*s", SPAN_FMT(word));
}

static int answer_change(struct gate_sets *sets, bool is_addition, struct span rest, struct reason *why)
{
	struct span name, address, time;
	struct kernel_element e;
	enum kernel_set set = KSET_COUNT;
	uint64_t seconds = 0;
	if (!next_word(&rest, &name) || !next_word(&rest, &address))
		return reason_set(why, ERR_INVAL, "expected a set and an address");
	if (kernel_element_parse(address, &e))
		return reason_set(why, ERR_INVAL, "'%.*s': expected an address, address/bits or address-address", SPAN_FMT(span_sub(address, 0, 100)));
	int err = find_set(name, &e, &set, why);
	if (err)
		return err;
	if (is_addition && next_word(&rest, &time) && (conf_parse_duration(time, &seconds) || seconds < 1 || seconds > TIME_MAX_S))
		return reason_set(why, ERR_INVAL, "'%.*s': expected a time in seconds (or with s, m, h, d, w) up to 10 years",
				  SPAN_FMT(span_sub(time, 0, 40)));
	if (next_word(&rest, &time))
		return reason_set(why, ERR_INVAL, "'%.*s': nothing was expected here", SPAN_FMT(span_sub(time, 0, 40)));
	e.expires_at = seconds ? loop_wall_time() + (int64_t)seconds : 0;
	return is_addition ? gate_sets_add(sets, set, &e, why) : gate_sets_delete(sets, set, &e, why);
}

int gate_questions_answer(struct gate_sets *sets, struct span question, int *fd_out, struct reason *why)
{
	struct span rest = question, word;
	*fd_out = -1;
	if (!next_word(&rest, &word) || !span_eq(word, SPAN_LIT("set")) || !next_word(&rest, &word))
		word = SPAN_NONE;
	if (span_eq(word, SPAN_LIT("list")))
		return answer_list(sets, rest, fd_out, why);
	if (span_eq(word, SPAN_LIT("add")))
		return answer_change(sets, true, rest, why);
	if (span_eq(word, SPAN_LIT("del")))
		return answer_change(sets, false, rest, why);
	return reason_set(why, ERR_INVAL, "the gate answers: set list, set add, set del");
}
