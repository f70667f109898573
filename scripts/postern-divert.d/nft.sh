# nft.sh - the nft back end of postern-divert: the table inet postern.
# Sets are the daemon's to fill (see postern-divert(8), SETS); chains are named KIND_INTERFACE and are ours alone.
# shellcheck shell=sh disable=SC2154  # the options are parsed by postern-divert

NFT_KINDS='redirect tproxy ident reply gate sort tarpit refuse refusein learn keep skip'

# What nft itself would add is written out, so that declaring a set again is no change: an `update` rule makes a set dynamic.
nft_set_list() {
	cat <<-END
		alive { type ifname . inet_service; flags timeout; }
		closed { type ifname; }
	END
	for family in 4 6; do
		printf 'pass%s { type ipv%s_addr; size %s; flags dynamic,timeout; }\n' $family $family "$SET_SIZE"
		printf 'block%s { type ipv%s_addr; flags timeout; }\n' $family $family
		printf 'tarpit%s { type ipv%s_addr; flags timeout; }\n' $family $family
		printf 'block_net%s { type ipv%s_addr; flags interval,timeout; }\n' $family $family
	done
}

nft_declare_sets() {
	echo 'add table inet postern'
	nft_set_list | sed 's/^/add set inet postern /'
}

# ---- chains

# Whose connections are not diverted, whatever else is true of them.
nft_skip_chain() {
	echo "chain skip_$iface {"
	printf '\tmeta mark & %s == %s accept\n' "$OWN_MARK" "$OWN_MARK"
	for cidr in $except; do
		ip=$(case $cidr in *:*) echo ip6 ;; *) echo ip ;; esac)
		printf '\t%s saddr %s accept\n\t%s daddr %s accept\n' "$ip" "$cidr" "$ip" "$cidr"
	done
	printf '\tip saddr @pass4 accept\n\tip6 saddr @pass6 accept\n}\n'
}

# What a new connection must be to be diverted.
nft_wanted() {
	printf 'tcp dport %s' "$SMTP"
	[ -z "$fail" ] || printf ' iifname . tcp dport @alive'
	[ -n "$local" ] || printf ' fib daddr type != local'
}

# With --local before other people's destination NAT: who asks for that wants also what they send on to a server inside.
nft_redirect_chain() {
	cat <<-END
		chain redirect_$iface {
			type nat hook prerouting priority dstnat${local:+ - 10}; policy accept;
			iifname "$iface" tcp dport $SMTP jump skip_$iface
	END
	for family in ipv4 ipv6; do
		printf '\tiifname "%s" meta nfproto %s %s counter redirect to :%s\n' "$iface" "$family" "$(nft_wanted)" "$port"
	done
	echo '}'
}

# nft_tproxy_rule FAMILY MATCHES
nft_tproxy_rule() {
	ip=$([ "$1" = ipv4 ] && echo ip || echo ip6)
	printf '\tiifname "%s" meta nfproto %s %s tproxy %s to :%s counter' "$iface" "$1" "$2" "$ip" "$port"
	printf ' meta mark set meta mark | %s ct mark set ct mark | %s accept\n' "$DIVERT_MARK" "$DIVERT_MARK"
}

# Connections that were open before the diversion pass on: they are established and their SYN was not marked. Those that were
# diverted stay so, whatever became of the sets since.
# tproxy looks for an open connection before it looks for the listener, TIME_WAIT and SYN cookies included, so the usual
# rule "socket transparent" before it is not needed; without it a client that reuses a port in TIME_WAIT is served at once.
# Where nobody listens it does not match, and the packet would go on to its server unfiltered: so the last rule drops it, as
# TPROXY of iptables does. (Refusing it is not possible there, and a client whose SYN is dropped sends it again.)
# A SYN that nobody took may come again when it may pass: then its connection must not have our mark any more.
nft_tproxy_chain() {
	cat <<-END
		chain tproxy_$iface {
			type filter hook prerouting priority mangle; policy accept;
			iifname "$iface" meta mark & $OWN_MARK == $OWN_MARK return
			iifname "$iface" tcp dport $SMTP ct state established ct mark & $DIVERT_MARK != $DIVERT_MARK return
	END
	for family in ipv4 ipv6; do
		nft_tproxy_rule $family "tcp dport $SMTP ct state established"
	done
	printf '\tiifname "%s" tcp dport %s ct state new ct mark & %s == %s ct mark set ct mark & %s\n' \
		"$iface" "$SMTP" "$DIVERT_MARK" "$DIVERT_MARK" "$NOT_DIVERT_MARK"
	printf '\tiifname "%s" tcp dport %s jump skip_%s\n' "$iface" "$SMTP" "$iface"
	for family in ipv4 ipv6; do
		nft_tproxy_rule $family "$(nft_wanted)"
	done
	printf '\tiifname "%s" %s drop\n}\n' "$iface" "$(nft_wanted)"
}

# The first rule of NAT that matches has the connection. What goes to a transparent socket must keep its address, or the packets
# behind the first do not find it: other people's destination NAT finds it taken.
nft_keep_chain() {
	nft_can nat "dnat ip to ip daddr" || return 0
	cat <<-END
		chain keep_$iface {
			type nat hook prerouting priority dstnat - 10; policy accept;
			iifname "$iface" meta mark & $DIVERT_MARK == $DIVERT_MARK tcp dport $SMTP dnat ip to ip daddr
			iifname "$iface" meta mark & $DIVERT_MARK == $DIVERT_MARK tcp dport $SMTP dnat ip6 to ip6 daddr
		}
	END
}

nft_reply_chain() {
	cat <<-END
		chain reply_$iface {
			type filter hook prerouting priority mangle; policy accept;
	END
	for family in ipv4 ipv6; do
		printf '\tiifname "%s" meta nfproto %s meta l4proto tcp socket transparent 1 counter meta mark set meta mark | %s accept\n' \
			"$reply_iface" "$family" "$DIVERT_MARK"
	done
	echo '}'
}

# What clients answer to ident queries, which come from the address that the client connected to, and the errors that tell of a refusal.
# Not for listeners: those of mode tproxy are transparent, too, and would catch what is sent to their port of any other host.
nft_ident_chain() {
	cat <<-END
		chain ident_$iface {
			type filter hook prerouting priority mangle; policy accept;
	END
	for family in ipv4 ipv6; do
		icmp=$([ $family = ipv4 ] && echo icmp || echo ipv6-icmp)
		printf '\tiifname "%s" meta nfproto %s tcp sport 113 socket wildcard 0 socket transparent 1 counter meta mark set meta mark | %s accept\n' \
			"$iface" "$family" "$DIVERT_MARK"
		printf '\tiifname "%s" meta nfproto %s meta l4proto %s socket wildcard 0 socket transparent 1 meta mark set meta mark | %s accept\n' \
			"$iface" "$family" "$icmp" "$DIVERT_MARK"
	done
	echo '}'
}

# nft_queue N FLAGS MARK: hands the packet to user space; where nft cannot, the mark says to a rule of iptables that it shall.
nft_queue() {
	if [ "$queue_by" = nft ]; then
		printf 'counter queue num %s%s' "$1" "$2"
	else
		printf 'counter meta mark set meta mark | %s accept' "$3"
	fi
}

# Before connection tracking, so that what is blocked or held costs no entry in it. Only while the daemon lives is anything
# queued: a SYN that waits for nobody would be lost, and the rule for those in the tarpit has no bypass on purpose.
nft_gate_chain() {
	cat <<-END
		chain gate_$iface {
			type filter hook prerouting priority raw - 10; policy accept;
			iifname "$iface" tcp dport $SMTP $([ -n "$local" ] || echo 'fib daddr type != local') jump sort_$iface
		}
		chain sort_$iface {
			jump skip_$iface
			ip saddr @block4 counter drop
			ip saddr @block_net4 counter drop
			ip6 saddr @block6 counter drop
			ip6 saddr @block_net6 counter drop
	END
	if [ -n "$gate" ]; then
		for family in 4 6; do
			ip=$([ $family = 4 ] && echo ip || echo ip6)
			printf '\tiifname . tcp dport @alive %s saddr @tarpit%s notrack %s\n' "$ip" $family "$(nft_queue $((gate + 1)) '' "$TARPIT_MARK")"
		done
		printf '\ttcp flags & (fin|syn|rst|ack) == syn iifname . tcp dport @alive %s\n' "$(nft_queue "$gate" ' bypass' "$GATE_MARK")"
	fi
	echo '}'
}

# Answers to those in the tarpit are made by hand and belong to no connection.
nft_tarpit_chain() {
	cat <<-END
		chain tarpit_$iface {
			type filter hook output priority raw - 10; policy accept;
			oifname "$iface" tcp sport $SMTP ip daddr @tarpit4 notrack
			oifname "$iface" tcp sport $SMTP ip6 daddr @tarpit6 notrack
		}
	END
}

# nft_refuse_chain NAME HOOK
nft_refuse_chain() {
	cat <<-END
		chain $1_$iface {
			type filter hook $2 priority filter - 10; policy accept;
			iifname "$iface" tcp dport $SMTP ct state new meta mark & $DIVERT_MARK != $DIVERT_MARK jump skip_$iface
			iifname "$iface" iifname @closed tcp dport $SMTP ct state new meta mark & $DIVERT_MARK != $DIVERT_MARK counter reject with tcp reset
		}
	END
}

nft_learn_chain() {
	cat <<-END
		chain learn_$iface {
			type filter hook postrouting priority filter; policy accept;
			oifname "$iface" tcp dport $SMTP ct state new update @pass4 { ip daddr timeout $LEARN_DAYS }
			oifname "$iface" tcp dport $SMTP ct state new update @pass6 { ip6 daddr timeout $LEARN_DAYS }
		}
	END
}

# ---- making and removing them

# Adding first makes deleting work whether it was there or not. All are empty before the first goes: some jump to others.
nft_forget() {
	for what in add flush delete; do
		for kind in $NFT_KINDS; do
			printf '%s chain inet postern %s\n' $what "${kind}_$iface"
		done
	done
	printf '%s element inet postern closed { "%s" }\n' add "$iface" delete "$iface"
}

nft_up_text() {
	nft_declare_sets
	nft_forget
	[ "$fail" != closed ] || printf 'add element inet postern closed { "%s" }\n' "$iface"
	echo 'table inet postern {'
	nft_skip_chain
	nft_gate_chain
	"nft_${mode}_chain"
	[ "$mode" = redirect ] || nft_keep_chain
	[ -z "$gate" ] || nft_tarpit_chain
	[ -z "$fail" ] || nft_refuse_chain refuse forward
	[ -z "$fail" ] || [ -z "$local" ] || nft_refuse_chain refusein input
	[ -z "$learn" ] || nft_learn_chain
	[ -z "$ident" ] || nft_ident_chain
	[ -z "$reply_iface" ] || nft_reply_chain
	echo '}'
}

nft_has_chain() {
	nft_list | grep -qE "chain ($(echo "$NFT_KINDS" | tr ' ' '|'))_$(quote_re "$iface") "
}

nft_up() {
	queue_by=nft
	[ -z "$gate" ] || nft_can filter "tcp dport $SMTP queue num $gate bypass" || queue_by=iptables
	if [ "$queue_by" = iptables ] && [ -n "$gate" ] && ! has iptables-restore; then
		warn 'this kernel has no queue statement for nft (module nft_queue), and iptables, which could do it, is not installed: leave --gate away'
		return 1
	fi
	nft_up_text | complain_with nft_why change nft -f - || return 1
	if ! queue_update; then
		nft_down || :
		return 1
	fi
}

# The table goes with its last chain, unless somebody keeps something else in it.
nft_down() {
	queue_forget || return 1
	# What cannot be listed only has nothing of ours where there is no nft at all.
	if ! nft -t list ruleset inet >/dev/null 2>&1; then
		nft_can filter 'tcp dport 25 counter accept' || return 0
		warn 'nft does not list its rules: see nft list ruleset inet'
		return 1
	fi
	nft_has_chain || return 0
	{
		nft_declare_sets
		printf '%s element inet postern alive { "%s" . %s }\n' add "$iface" "$SMTP" delete "$iface" "$SMTP"
		nft_forget
	} | change nft -f - || return 1
	[ -z "$dry_run" ] || return 0
	left=$(nft_list)
	if [ -z "$left" ]; then
		warn 'nft does not list the table inet postern: it may be left without chains'
		return 1
	fi
	left=$(printf '%s\n' "$left" | sed -nE 's/^	(chain|set|map|counter|flowtable|ct|quota|limit) ([^ ]*).*/\1 \2/p')
	case $left in *chain*) return 0 ;; esac
	if printf '%s\n' "$left" | grep -qvxF "$(nft_set_list | sed 's/^\([^ ]*\) .*/set \1/')"; then
		nft_set_list | sed 's/^\([^ ]*\) .*/delete set inet postern \1/' | nft -f -
	else
		nft delete table inet postern
	fi
}

# ---- what nft marks for the queue where it has no queue statement of its own

queue_update() {
	if [ -z "$gate" ] || [ "$queue_by" = nft ]; then
		queue_forget
		return
	fi
	for family in $(families); do
		complain_with "ipt_queue_why $family" ipt_set "$family" raw "POSTERNQ_$iface" "-A PREROUTING -i $iface -m mark --mark $GATE_MARK/$GATE_MARK" marked_gate || return 1
		ipt_set "$family" raw "POSTERNT_$iface" "-A PREROUTING -i $iface -m mark --mark $TARPIT_MARK/$TARPIT_MARK" marked_tarpit || return 1
	done
}

queue_forget() {
	has iptables-restore || return 0
	for family in $(families); do
		ipt_unset "$family" raw "POSTERNQ_$iface" || return 1
		ipt_unset "$family" raw "POSTERNT_$iface" || return 1
	done
}

# ---- what the kernel cannot do

# nft_can TYPE RULE; a rule may name the set pass4.
nft_can() {
	printf 'table inet postern_probe { set pass4 { type ipv4_addr; flags dynamic,timeout; }; chain probe { type %s hook prerouting priority 0; %s; }; }\n' "$1" "$2" | nft -c -f - 2>/dev/null
}

# Called after a failure: names the first thing the kernel cannot do.
nft_why() {
	if ! nft_can filter 'tcp dport 25 counter accept'; then
		echo 'this kernel has no nf_tables: load the module nf_tables, or try --backend iptables'
	elif ! nft_can filter 'fib daddr type local accept'; then
		echo 'this kernel has no fib expression for nft: load the module nft_fib_inet, or try --backend iptables'
	elif [ "$mode" = redirect ] && ! nft_can nat 'tcp dport 25 redirect to :2525'; then
		echo 'this kernel has no NAT redirect for nft: load the modules nft_nat and nft_redir, or use --mode tproxy'
	elif [ "$mode" = tproxy ] && ! nft_can filter 'meta nfproto ipv4 tcp dport 25 tproxy ip to :2526'; then
		echo 'this kernel has no TPROXY for nft: load the module nft_tproxy, or use --mode redirect'
	elif [ "$mode" = tproxy ] && ! nft_can filter 'ct mark & 1 == 1 accept'; then
		echo 'this kernel has no connection tracking for nft: load the module nft_ct, or use --mode redirect'
	elif [ -n "$reply_iface" ] && ! nft_can filter 'socket transparent 1 accept'; then
		echo 'this kernel has no socket expression for nft: load the module nft_socket, or leave --reply-iface away'
	elif [ -n "$fail" ] && ! nft_can filter 'ct state new reject with tcp reset'; then
		echo 'this kernel has no reject statement for nft: load the module nft_reject_inet, or leave --fail and --gate away'
	elif [ -n "$gate" ] && ! nft_can filter 'tcp dport 25 notrack'; then
		echo 'this kernel has no notrack statement for nft: load the module nft_ct, or leave --gate away'
	elif [ -n "$learn" ] && ! nft_can filter 'tcp dport 25 update @pass4 { ip daddr timeout 1s }'; then
		echo 'this kernel cannot add to a set by a rule of nft (nft_dynset): leave --learn away'
	fi
}
