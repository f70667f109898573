#include "list_report.h"

#include <assert.h>
#include <string.h>
#include <sys/random.h>

#include "dns_cache.h"

#define TELL_AGAIN_S 60u

int list_told_init(struct list_told *told)
{
	return getrandom(&told->key, sizeof told->key, 0) == (ssize_t)sizeof told->key ? 0 : ERR_IO;
}

/* False: it was told, and still holds. */
static bool is_new(struct list_told *told, const struct addr *client, struct span zone, uint32_t hold_s, uint64_t now_s)
{
	const uint64_t zone_hash = span_hash_nocase(zone);
	uint8_t subject[sizeof zone_hash + sizeof client->bytes];
	memcpy(subject, &zone_hash, sizeof zone_hash);
	memcpy(subject + sizeof zone_hash, client->bytes, sizeof client->bytes);
	uint64_t hash = siphash(&told->key, subject, sizeof subject);
	size_t at = hash % LIST_TOLD_ENTRIES;
	uint32_t tag = (uint32_t)(hash >> 32);
	if (told->entries[at].tag == tag && told->entries[at].until_s > now_s)
		return false;
	told->entries[at].tag = tag;
	told->entries[at].until_s = (uint32_t)now_s + (hold_s < TELL_AGAIN_S ? hold_s : TELL_AGAIN_S);
	return true;
}

static void set_zone(struct list_report *report, struct span zone)
{
	report->zone_len = (uint32_t)zone.len;
	memcpy(report->zone, zone.ptr, zone.len);
}

void list_report_tell(struct list_told *told, struct ipc_channel *master, uint64_t now_ms, uint32_t listen_index, int connection_fd,
		      const struct addr *client, struct span zone, const struct addr *answers, uint32_t count, uint32_t hold_s)
{
	struct role_list_report what;
	if (!master || ipc_channel_is_behind(master) || zone.len > LIST_ZONE_MAX || count > SYN_LIST_ADDRS_MAX ||
	    !is_new(told, client, zone, hold_s, now_ms / 1000))
		return;
	memset(&what, 0, sizeof what);
	what.listen_index = listen_index;
	what.report.hold_s = hold_s;
	set_zone(&what.report, zone);
	what.report.answer.count = count;
	for (uint32_t i = 0; i < count; i++)
		what.report.answer.addrs[i] = answers[i];
	(void)ipc_channel_send(master, ROLE_LIST_REPORT, &what, sizeof what, &connection_fd, 1);
}

void list_report_broken(struct list_told *told, struct ipc_channel *master, struct span zone)
{
	struct role_list_report what;
	memset(told->entries, 0, sizeof told->entries);
	if (!master || zone.len > LIST_ZONE_MAX)
		return;
	memset(&what, 0, sizeof what);
	set_zone(&what.report, zone);
	(void)ipc_channel_send(master, ROLE_LIST_REPORT, &what, sizeof what, NULL, 0);
}

int list_report_check(struct list_reports *reports, const struct role_conf *conf, uint32_t worker, uint64_t now_ms, const struct role_list_report *told,
		      int connection_fd, struct gate_list_report *out)
{
	struct gate_list_report checked = { .report = told->report };
	struct list_report *report = &checked.report;
	uint32_t longest_s = report->answer.count ? DNS_CACHE_MAX_S : DNS_CACHE_NEGATIVE_MAX_S;
	assert(worker < LISTENER_MEMBERS_MAX);
	if (report->zone_len > LIST_ZONE_MAX || report->answer.count > SYN_LIST_ADDRS_MAX)
		return ERR_PROTO;
	if (!rate_bucket_take(&reports->workers[worker], LIST_REPORTS_PER_S, now_ms))
		return ERR_AGAIN;
	if (report->hold_s) {
		int err = client_verdict_who(conf, told->listen_index, connection_fd, &checked.client);
		if (err)
			return err;
		if (conf->conf.listen[told->listen_index].trusted)
			return ERR_PERM;
	}
	if (report->hold_s > longest_s)
		report->hold_s = longest_s;
	*out = checked;
	return 0;
}
