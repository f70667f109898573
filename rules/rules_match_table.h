/* rules_match_table.h - the match functions that the pattern table points to; private to rules_pattern.c and rules_match.c. */
#ifndef POSTERN_RULES_MATCH_TABLE_H
#define POSTERN_RULES_MATCH_TABLE_H

#include "rules_pattern.h"

typedef enum tri (*pattern_match_fn)(const struct pattern *pattern, struct match *m);

/* Indexed by the kind. */
pattern_match_fn pattern_matcher(enum pattern_kind kind);

enum tri match_all(const struct pattern *pattern, struct match *m);
enum tri match_known(const struct pattern *pattern, struct match *m);
enum tri match_trusted(const struct pattern *pattern, struct match *m);
enum tri match_null_sender(const struct pattern *pattern, struct match *m);
enum tri match_file(const struct pattern *pattern, struct match *m);
enum tri match_iface(const struct pattern *pattern, struct match *m);
enum tri match_dst(const struct pattern *pattern, struct match *m);
enum tri match_helo(const struct pattern *pattern, struct match *m);
enum tri match_mark(const struct pattern *pattern, struct match *m);
enum tri match_rbl(const struct pattern *pattern, struct match *m);
enum tri match_rhs(const struct pattern *pattern, struct match *m);
enum tri match_ns(const struct pattern *pattern, struct match *m);
enum tri match_ident(const struct pattern *pattern, struct match *m);
enum tri match_mailbox(const struct pattern *pattern, struct match *m);
enum tri match_client_name(const struct pattern *pattern, struct match *m);
enum tri match_client_domain(const struct pattern *pattern, struct match *m);
enum tri match_client_addr(const struct pattern *pattern, struct match *m);
enum tri match_address(const struct pattern *pattern, struct match *m);

#endif
