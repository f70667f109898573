# routes.sh - marked packets are delivered here: the routing rules and the routing table of postern-divert.
# shellcheck shell=sh disable=SC2154  # the options are parsed by postern-divert

# Interfaces whose packets some rule marks. Also sees what the other back end has for other interfaces.
marked_ifaces() {
	{
		nft_list | awk '/^\tchain /{ ours = ($2 ~ /^(tproxy|ident|reply)_/) } ours && match($0, /iifname "[^"]*"/) { print substr($0, RSTART + 9, RLENGTH - 10) }'
		for family in $(families); do
			ipt_save "$family" mangle | sed -n 's/.*-A PREROUTING -i \([^ ]*\) -j POSTERN[IR]\{0,1\}_.*/\1/p'
		done
	} | sort -u
}

# routed_ifaces FAMILY: interfaces that have our routing rule.
routed_ifaces() {
	ip "-$1" -N rule show pref "$RULE_PREF" 2>/dev/null |
		sed -n "s:.*fwmark $DIVERT_MARK/$DIVERT_MARK iif \\([^ ]*\\) .*lookup $TABLE.*:\\1:p"
}

# Bound to the interface the packet comes in by: without that, our own answers, which inherit the mark, would be
# routed to lo as well and no connection would ever complete.
route_add() {
	for family in $(families); do
		change ip "-$family" route replace local default dev lo table "$TABLE" || return 1
		routed_ifaces "$family" | grep -qxF "$1" ||
			change ip "-$family" rule add pref "$RULE_PREF" iif "$1" fwmark "$DIVERT_MARK/$DIVERT_MARK" lookup "$TABLE" || return 1
	done
}

# Removes what no rule needs any more.
route_tidy() {
	[ -z "$dry_run" ] || return 0
	needed=$(marked_ifaces)
	for family in $(families); do
		for old in $(routed_ifaces "$family"); do
			printf '%s\n' "$needed" | grep -qxF "$old" ||
				ip "-$family" rule del pref "$RULE_PREF" iif "$old" fwmark "$DIVERT_MARK/$DIVERT_MARK" lookup "$TABLE"
		done
		if [ -z "$needed" ] && [ -n "$(ip "-$family" route show table "$TABLE" 2>/dev/null)" ]; then
			ip "-$family" route del local default dev lo table "$TABLE"
		fi
	done
}

