#include "rules_load.h"

#include <string.h>
#include <unistd.h>

#include "role_messages.h"

static uint64_t generation_of(const struct ipc_message *msg)
{
	struct role_rules what = { 0 };
	if (msg->len == sizeof what)
		memcpy(&what, msg->payload, sizeof what);
	return what.generation;
}

void rules_load_take(struct rules_load *load, struct ipc_message *msg, const struct conf *conf, size_t workers)
{
	*load = (struct rules_load){
		.rules_fd = ipc_message_take_fd(msg, 0),
		.hits_fd = ipc_message_take_fd(msg, 1),
		.filter_fd = ipc_message_take_fd(msg, 2),
		.workers = workers,
		.generation = generation_of(msg),
		.options = {
			.no_match = (enum no_match)conf->no_match,
			.on_unknown = (enum on_unknown)conf->on_unknown,
			.deny_delay_s = conf->deny_delay_s,
			.noto_delay_s = conf->noto_delay_s,
		},
	};
}

static int make_rules(struct rules_load *load)
{
	struct rules_source *source = NULL;
	if (load->rules_fd < 0 || load->hits_fd < 0 || load->generation == 0)
		return reason_set(&load->why, ERR_PROTO, "rules without their descriptors or number");
	int err = rules_source_from_fd(load->rules_fd, &source, &load->why);
	if (!err && (err = rules_compile(source, &load->options, NULL, &load->rules)) != 0)
		reason_set(&load->why, err, "the rules do not compile in the worker (%s)", err_name(err));
	rules_source_release(&source);
	if (!err && (err = rule_hits_map(load->hits_fd, rules_count(load->rules), load->workers, &load->hits)) != 0)
		reason_set(&load->why, err, "the memory for hits cannot be mapped (%s)", err_name(err));
	return err;
}

static int make_filter(struct rules_load *load)
{
	struct rules_source *source = NULL;
	if (load->filter_fd < 0)
		return 0;
	int err = rules_source_from_fd(load->filter_fd, &source, &load->why);
	if (err)
		return err;
	const struct rules_source_file *file = rules_source_get(source, 0);
	err = filter_set_compile(file->path, file->text, NULL, &load->filter);
	rules_source_release(&source);
	return err ? reason_set(&load->why, err, "the content filter does not compile in the worker (%s)", err_name(err)) : 0;
}

static void give_back(struct rules_load *load)
{
	rules_release(&load->rules);
	rule_hits_unmap(&load->hits);
	filter_set_release(&load->filter);
}

static int make(struct rules_load *load)
{
	int err = make_rules(load);
	if (!err)
		err = make_filter(load);
	if (err)
		give_back(load);
	return err;
}

static void close_fds(struct rules_load *load)
{
	int *const fds[] = { &load->rules_fd, &load->hits_fd, &load->filter_fd };
	for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
		if (*fds[i] >= 0)
			(void)close(*fds[i]);
		*fds[i] = -1;
	}
}

void rules_load_run(struct rules_load *load)
{
	load->err = make(load);
	close_fds(load);
}

void rules_load_drop(struct rules_load *load)
{
	close_fds(load);
	give_back(load);
}
