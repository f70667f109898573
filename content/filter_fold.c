#include "filter_fold.h"

static void set(char pair[2], unsigned lead, unsigned trail)
{
	pair[0] = (char)lead;
	pair[1] = (char)trail;
}

static void fold_greek(char pair[2], unsigned trail)
{
	if (trail >= 0x91 && trail <= 0x9f)
		set(pair, 0xce, trail + 0x20);
	else if (trail >= 0xa0 && trail <= 0xa9 && trail != 0xa2)
		set(pair, 0xcf, trail - 0x20);
}

/* Forms of letters: final sigma, and those of formulas. */
static void fold_greek_form(char pair[2], unsigned trail)
{
	switch (trail) {
	case 0x82: set(pair, 0xcf, 0x83); break;
	case 0x90: set(pair, 0xce, 0xb2); break;
	case 0x91:
	case 0xb4: set(pair, 0xce, 0xb8); break;
	case 0x95: set(pair, 0xcf, 0x86); break;
	case 0x96: set(pair, 0xcf, 0x80); break;
	case 0xb0: set(pair, 0xce, 0xba); break;
	case 0xb1: set(pair, 0xcf, 0x81); break;
	case 0xb5: set(pair, 0xce, 0xb5); break;
	default: break;
	}
}

static void fold_cyrillic(char pair[2], unsigned trail)
{
	if (trail <= 0x8f)
		set(pair, 0xd1, trail + 0x10);
	else if (trail <= 0x9f)
		set(pair, 0xd0, trail + 0x20);
	else if (trail <= 0xaf)
		set(pair, 0xd1, trail - 0x20);
}

static void fold_pair(char pair[2])
{
	unsigned lead = (unsigned char)pair[0], trail = (unsigned char)pair[1];
	switch (lead) {
	case 0xc2:
		if (trail == 0xb5) /* micro sign */
			set(pair, 0xce, 0xbc);
		break;
	case 0xc3:
		if (trail >= 0x80 && trail <= 0x9e && trail != 0x97)
			set(pair, 0xc3, trail + 0x20);
		break;
	case 0xc5:
		if (trail == 0xb8)
			set(pair, 0xc3, 0xbf);
		break;
	case 0xcd:
		if (trail == 0x85)
			set(pair, 0xce, 0xb9);
		break;
	case 0xce: fold_greek(pair, trail); break;
	case 0xcf: fold_greek_form(pair, trail); break;
	case 0xd0: fold_cyrillic(pair, trail); break;
	default: break;
	}
}

static bool is_trail(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

void filter_fold(char *bytes, size_t len)
{
	for (size_t i = 0; i + 1 < len; i++) {
		unsigned lead = (unsigned char)bytes[i];
		if (lead < 0xc2 || lead > 0xd0 || !is_trail(bytes[i + 1]))
			continue;
		fold_pair(bytes + i);
		i++;
	}
}

bool filter_fold_is_sure(char pair[2])
{
	fold_pair(pair);
	unsigned lead = (unsigned char)pair[0], trail = (unsigned char)pair[1];
	switch (lead) {
	case 0xc3: return trail >= 0x9f && trail != 0xb7;
	case 0xce: return trail >= 0xb1 && trail <= 0xbf;
	case 0xcf: return trail >= 0x80 && trail <= 0x89;
	case 0xd0: return trail >= 0xb0 && trail <= 0xbf;
	case 0xd1: return trail >= 0x80 && trail <= 0x9f;
	default: return false;
	}
}

size_t filter_fold_rare(struct span text, struct span *letter_out)
{
	static const struct {
		const char sign[4];
		const char letter[3];
	} rare[] = {
		{ "\xc5\xbf", "s" },        { "\xe2\x84\xaa", "k" },        { "\xe2\x84\xab", "\xc3\xa5" }, { "\xe2\x84\xa6", "\xcf\x89" },
		{ "\xe1\xba\x9e", "\xc3\x9f" }, { "\xe1\xbe\xbe", "\xce\xb9" }, { "\xe1\xb2\x80", "\xd0\xb2" }, { "\xe1\xb2\x81", "\xd0\xb4" },
		{ "\xe1\xb2\x82", "\xd0\xbe" }, { "\xe1\xb2\x83", "\xd1\x81" }, { "\xe1\xb2\x84", "\xd1\x82" }, { "\xe1\xb2\x85", "\xd1\x82" },
		{ "\xe1\xb2\x86", "\xd1\x8a" },
	};
	for (size_t i = 0; i < sizeof rare / sizeof rare[0]; i++) {
		size_t len = strlen(rare[i].sign);
		if (len <= text.len && memcmp(text.ptr, rare[i].sign, len) == 0) {
			*letter_out = span_of(rare[i].letter);
			return len;
		}
	}
	return 0;
}
