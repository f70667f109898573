# iptables.sh - the iptables back end of postern-divert: chains POSTERN*_INTERFACE with one jump each, and ipsets postern_*.
# Where there is no ipset the diversion works without what needs it, unless an option asks for that.
# shellcheck shell=sh disable=SC2154  # the options are parsed by postern-divert

# Chains by what they are for: TABLE NAME
IPT_CHAINS='nat POSTERN
nat POSTERNK
mangle POSTERN
mangle POSTERNI
mangle POSTERNR
raw POSTERNG
raw POSTERNO
filter POSTERNF
filter POSTERNN
mangle POSTERNL'

# ---- ipsets

# A bitmap of one port is a switch that can have a time-out, and the same for both families.
ipset_switches() {
	printf 'postern_alive_%s bitmap:port range %s-%s timeout 0\n' "$iface" "$SMTP" "$SMTP"
	printf 'postern_closed_%s bitmap:port range %s-%s\n' "$iface" "$SMTP" "$SMTP"
}

ipset_list() {
	for family in 4 6; do
		inet=$([ $family = 4 ] && echo inet || echo inet6)
		for name in pass block tarpit; do
			printf 'postern_%s%s hash:ip family %s maxelem %s timeout 0\n' $name $family "$inet" "$SET_SIZE"
		done
		printf 'postern_block_net%s hash:net family %s maxelem %s timeout 0\n' $family "$inet" "$SET_SIZE"
	done
}

# Whether the sets can be had; without them $sets stays empty and no rule asks for them.
ipset_declare() {
	sets=
	if ! has ipset; then
		ipset_reason='no ipset command: install the package ipset'
	elif ! { ipset_switches && ipset_list; } | sed 's/^/create /' | change ipset -exist restore 2>/dev/null; then
		ipset_reason='this kernel has no ipset, or has sets of our names (postern_...) of another kind: load the modules ip_set, ip_set_hash_ip, ip_set_hash_net and ip_set_bitmap_port'
	elif [ -z "$dry_run" ] && ! ipt_can 4 raw '-m set --match-set postern_pass4 src -j RETURN'; then
		ipset_reason='this kernel has no set match for iptables, or no raw table: load the modules xt_set, iptable_raw and ip6table_raw'
	else
		sets=1
		return
	fi
	[ -z "$fail$gate$learn" ] || { warn "$ipset_reason, or leave --fail, --gate and --learn away" && return 1; }
}

ipset_fill() {
	[ -n "$sets" ] || return 0
	printf '%s %s\n' "$([ "$fail" = closed ] && echo add || echo del)" "postern_closed_$iface $SMTP" | change ipset -exist restore
}

# Those of the interface go with its rules, the others with the last rule of all.
ipset_tidy() {
	has ipset || return 0
	there=$(ipset list -n 2>/dev/null) || return 0
	gone=$(ipset_switches)
	ipt_any_chain || gone="$gone
$(ipset_list)"
	printf '%s\n' "$gone" | while read -r name kind _; do
		printf '%s\n' "$there" | grep -qxF "$name" || continue
		# Of our name and another kind is not ours.
		! ipset list -t "$name" | grep -qxF "Type: $kind" || change ipset destroy "$name" || exit 1
	done
}

ipt_any_chain() {
	for family in $(families); do
		for table in nat mangle raw filter; do
			ipt_save "$family" "$table" | grep -q '^:POSTERN[A-Z]*_' && return 0
		done
	done
	return 1
}

# ---- rules

# Whose connections are not diverted, whatever else is true of them.
ipt_skip_rules() {
	printf '%s\n' "-A $chain -m mark --mark $OWN_MARK/$OWN_MARK -j RETURN"
	for cidr in $except; do
		[ "$family" = "$(case $cidr in *:*) echo 6 ;; *) echo 4 ;; esac)" ] || continue
		printf '%s\n' "-A $chain -s $cidr -j RETURN" "-A $chain -d $cidr -j RETURN"
	done
	[ -z "$sets" ] || printf '%s\n' "-A $chain -m set --match-set postern_pass$family src -j RETURN"
}

# What a new connection must be to be diverted.
ipt_wanted() {
	printf '%s' "-p tcp --dport $SMTP"
	[ -z "$fail" ] || printf '%s' " -m set --match-set postern_alive_$iface dst"
	[ -n "$local" ] || printf '%s' ' -m addrtype ! --dst-type LOCAL'
}

ipt_redirect_rules() {
	ipt_skip_rules
	printf '%s\n' "-A $chain $(ipt_wanted) -j REDIRECT --to-ports $port"
}

# The same order as in nft_tproxy_chain. CONNMARK comes first because TPROXY ends the way of the packet.
ipt_tproxy_rules() {
	cat <<-END
		-A $chain -m mark --mark $OWN_MARK/$OWN_MARK -j RETURN
		-A $chain -p tcp --dport $SMTP -m conntrack --ctstate ESTABLISHED -m connmark ! --mark $DIVERT_MARK/$DIVERT_MARK -j RETURN
		-A $chain -p tcp --dport $SMTP -m conntrack --ctstate ESTABLISHED -j TPROXY --on-port $port --tproxy-mark $DIVERT_MARK/$DIVERT_MARK
		-A $chain -p tcp --dport $SMTP -m conntrack --ctstate NEW -m connmark --mark $DIVERT_MARK/$DIVERT_MARK -j CONNMARK --set-xmark 0/$DIVERT_MARK
	END
	ipt_skip_rules
	cat <<-END
		-A $chain $(ipt_wanted) -j CONNMARK --set-xmark $DIVERT_MARK/$DIVERT_MARK
		-A $chain $(ipt_wanted) -j TPROXY --on-port $port --tproxy-mark $DIVERT_MARK/$DIVERT_MARK
	END
}

# As nft_keep_chain; it ends the way through the rules of iptables, not through those of nft.
ipt_keep_rules() {
	printf '%s\n' "-A $chain -m mark --mark $DIVERT_MARK/$DIVERT_MARK -j ACCEPT"
}

# Without --nowildcard the match passes listeners over.
ipt_ident_rules() {
	for what in 'tcp --sport 113' "$([ "$family" = 4 ] && echo icmp || echo ipv6-icmp)"; do
		printf '%s\n' "-A $chain -p $what -m socket --transparent -j MARK --set-xmark $DIVERT_MARK/$DIVERT_MARK"
	done
}

ipt_reply_rules() {
	printf '%s\n' "-A $chain -p tcp -m socket --transparent -j MARK --set-xmark $DIVERT_MARK/$DIVERT_MARK"
}

# The same as nft_gate_chain.
ipt_gate_rules() {
	[ -n "$local" ] || printf '%s\n' "-A $chain -m addrtype --dst-type LOCAL -j RETURN"
	ipt_skip_rules
	cat <<-END
		-A $chain -m set --match-set postern_block$family src -j DROP
		-A $chain -m set --match-set postern_block_net$family src -j DROP
	END
	[ -n "$gate" ] || return 0
	cat <<-END
		-A $chain -m set ! --match-set postern_alive_$iface dst -j RETURN
		-A $chain -m set --match-set postern_tarpit$family src -j CT --notrack
		-A $chain -m set --match-set postern_tarpit$family src -j NFQUEUE --queue-num $((gate + 1))
		-A $chain -p tcp --syn -j NFQUEUE --queue-num $gate --queue-bypass
	END
}

# Marked by nft_gate_chain. The mark has done its work when it is seen here, and nobody else shall meet it.
ipt_marked_gate_rules() {
	cat <<-END
		-A $chain -j MARK --set-xmark 0/$GATE_MARK
		-A $chain -j NFQUEUE --queue-num $gate --queue-bypass
	END
}

ipt_marked_tarpit_rules() {
	cat <<-END
		-A $chain -j MARK --set-xmark 0/$TARPIT_MARK
		-A $chain -j NFQUEUE --queue-num $((gate + 1))
	END
}

ipt_tarpit_rules() {
	printf '%s\n' "-A $chain -m set --match-set postern_tarpit$family dst -j CT --notrack"
}

ipt_refuse_rules() {
	printf '%s\n' "-A $chain -m conntrack ! --ctstate NEW -j RETURN" "-A $chain -m mark --mark $DIVERT_MARK/$DIVERT_MARK -j RETURN"
	ipt_skip_rules
	printf '%s\n' "-A $chain -p tcp -m set --match-set postern_closed_$iface dst -j REJECT --reject-with tcp-reset"
}

ipt_learn_rules() {
	printf '%s\n' "-A $chain -m conntrack --ctstate NEW -j SET --add-set postern_pass$family dst --exist --timeout $LEARN_IPSET_S"
}

# ---- making and removing them

# Our jumps to a chain, as iptables prints them; without counters, so that -D understands them.
ipt_jumps() {
	ipt_save "$1" "$2" | sed -n "s/^\[[0-9:]*\] \(-A [A-Z]* .*-j $(quote_re "$3")\)\$/\1/p"
}

# ipt_set FAMILY TABLE CHAIN JUMP KIND: naming a chain in the input of restore empties or makes it, all in one step.
ipt_set() {
	chain=$3
	{
		printf '*%s\n:%s - [0:0]\n' "$2" "$3"
		ipt_jumps "$1" "$2" "$3" | sed 's/^-A/-D/'
		"ipt_$5_rules"
		printf -- '%s -j %s\nCOMMIT\n' "$4" "$3"
	} | change "$(ipt "$1")-restore" -n -w
}

# ipt_unset FAMILY TABLE CHAIN
ipt_unset() {
	ipt_save "$1" "$2" | grep -q "^:$(quote_re "$3") " || return 0
	{
		printf '*%s\n' "$2"
		ipt_jumps "$1" "$2" "$3" | sed 's/^-A/-D/'
		printf -- '-F %s\n-X %s\nCOMMIT\n' "$3" "$3"
	} | change "$(ipt "$1")-restore" -n -w
}

# ipt_want CONDITION TABLE CHAIN JUMP KIND: sets the chain or removes it.
ipt_want() {
	if [ -n "$1" ]; then
		ipt_set "$family" "$2" "$3_$iface" "$4" "$5"
	else
		ipt_unset "$family" "$2" "$3_$iface"
	fi
}

# The head of FORWARD and INPUT: what the administrator lets through there was meant for the diversion to see.
ipt_up_family() {
	smtp_in="-i $iface -p tcp --dport $SMTP"
	case $mode in
	redirect)
		# With --local before other people's destination NAT, as in nft_redirect_chain.
		ipt_set "$1" nat "POSTERN_$iface" "$([ -n "$local" ] && echo -I || echo -A) PREROUTING -i $iface" redirect || return 1
		ipt_unset "$1" nat "POSTERNK_$iface" && ipt_unset "$1" mangle "POSTERN_$iface" || return 1
		;;
	tproxy)
		ipt_set "$1" mangle "POSTERN_$iface" "-A PREROUTING -i $iface" tproxy || return 1
		! ipt_can "$1" nat '-j ACCEPT' || ipt_set "$1" nat "POSTERNK_$iface" "-I PREROUTING $smtp_in" keep || return 1
		ipt_unset "$1" nat "POSTERN_$iface" || return 1
		;;
	esac
	ipt_want "$sets" raw POSTERNG "-A PREROUTING $smtp_in" gate &&
		ipt_want "$gate" raw POSTERNO "-A OUTPUT -o $iface -p tcp --sport $SMTP" tarpit &&
		ipt_want "$fail" filter POSTERNF "-I FORWARD $smtp_in" refuse &&
		ipt_want "$fail${fail:+$local}" filter POSTERNN "-I INPUT $smtp_in" refuse &&
		ipt_want "$learn" mangle POSTERNL "-A POSTROUTING -o $iface -p tcp --dport $SMTP" learn &&
		ipt_want "$ident" mangle POSTERNI "-A PREROUTING -i $iface" ident &&
		ipt_want "$reply_iface" mangle POSTERNR "-A PREROUTING -i $reply_iface" reply
}

iptables_up() {
	if ! ipset_declare; then
		ipset_tidy || :
		return 1
	fi
	# Before the rules: the first connection they do not divert must already find the interface closed.
	if ! ipset_fill; then
		iptables_down || :
		return 1
	fi
	for family in $(families); do
		if ! complain_with "ipt_why $family" ipt_up_family "$family"; then
			iptables_down || :
			return 1
		fi
	done
}

iptables_down() {
	status=0
	for family in $(families); do
		while read -r table chain; do
			ipt_unset "$family" "$table" "${chain}_$iface" || status=1
		done <<-END
			$IPT_CHAINS
		END
	done
	ipset_tidy || status=1
	return "$status"
}

# ---- what the kernel cannot do

# ipt_can FAMILY TABLE RULE: a chain that nothing jumps to, made and removed at once.
ipt_can() {
	printf '*%s\n:POSTERN-PROBE - [0:0]\n-A POSTERN-PROBE %s\nCOMMIT\n' "$2" "$3" | "$(ipt "$1")-restore" -n -w 2>/dev/null || return 1
	printf '*%s\n-F POSTERN-PROBE\n-X POSTERN-PROBE\nCOMMIT\n' "$2" | "$(ipt "$1")-restore" -n -w 2>/dev/null
}

ipt_why() {
	v=$1
	if ! ipt_can "$v" mangle '-m mark --mark 1/1 -j RETURN'; then
		echo "this kernel has no mangle table for IPv$v, or no mark match: load the modules of iptables, or try --backend nft"
	elif ! ipt_can "$v" mangle '-m addrtype --dst-type LOCAL -j RETURN'; then
		echo "this kernel has no addrtype match for IPv$v: load the module xt_addrtype, or try --backend nft"
	elif [ "$mode" = redirect ] && ! ipt_can "$v" nat '-p tcp -j REDIRECT --to-ports 2525'; then
		echo "this kernel has no NAT redirect for IPv$v: load the modules iptable_nat (ip6table_nat) and xt_REDIRECT, or use --mode tproxy"
	elif [ "$mode" = tproxy ] && ! ipt_can "$v" mangle '-p tcp -j TPROXY --on-port 2526 --tproxy-mark 1/1'; then
		echo "this kernel has no TPROXY for IPv$v: load the module xt_TPROXY, or use --mode redirect"
	elif [ "$mode" = tproxy ] && ! ipt_can "$v" mangle '-m connmark --mark 1/1 -j RETURN'; then
		echo "this kernel has no connection marks for IPv$v: load the module xt_connmark, or use --mode redirect"
	elif [ -n "$reply_iface" ] && ! ipt_can "$v" mangle '-m socket --transparent -j RETURN'; then
		echo "this kernel has no socket match for IPv$v: load the module xt_socket, or leave --reply-iface away"
	elif [ -n "$fail" ] && ! ipt_can "$v" filter '-p tcp -j REJECT --reject-with tcp-reset'; then
		echo "this kernel has no REJECT for IPv$v: load the modules ipt_REJECT and ip6t_REJECT, or leave --fail and --gate away"
	elif [ -n "$learn" ] && ! ipt_can "$v" mangle "-j SET --add-set postern_pass$v dst --exist --timeout 1"; then
		echo "this kernel has no SET target for IPv$v: load the module xt_set, or leave --learn away"
	elif [ -n "$gate" ]; then
		ipt_queue_why "$v"
	fi
}

ipt_queue_why() {
	if ! ipt_can "$1" raw '-m mark --mark 1/1 -j RETURN'; then
		echo "this kernel has no raw table for IPv$1: load the modules iptable_raw and ip6table_raw, or leave --gate away"
	elif ! ipt_can "$1" raw '-p tcp -j NFQUEUE --queue-num 1 --queue-bypass'; then
		echo "this kernel has no NFQUEUE for IPv$1: load the modules nfnetlink_queue and xt_NFQUEUE, or leave --gate away"
	elif ! ipt_can "$1" raw '-p tcp -j CT --notrack'; then
		echo "this kernel has no CT target for IPv$1: load the module xt_CT, or leave --gate away"
	fi
}
