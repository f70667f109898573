# status.sh - what is diverted, read from the rules of both back ends.
# shellcheck shell=sh disable=SC2154  # the options are parsed by postern-divert

# Each line: INTERFACE MODE PORT BACKEND FAMILY PACKETS BYTES DIVERTED_INTERFACE
nft_status() {
	nft_list | awk '
		/^\tchain / { mode = $2; sub(/_.*/, "", mode); for_iface = $2; sub(/^[a-z]*_/, "", for_iface); next }
		mode !~ /^(redirect|tproxy|ident|reply)$/ || !/ counter packets / { next }
		{
			match($0, /iifname "[^"]*"/); iface = substr($0, RSTART + 9, RLENGTH - 10)
			family = /ipv6|tproxy ip6/ ? "ipv6" : "ipv4"
			port = "-"
			if (match($0, /to :[0-9]+/)) port = substr($0, RSTART + 4, RLENGTH - 4)
			match($0, /packets [0-9]+ bytes [0-9]+/); split(substr($0, RSTART, RLENGTH), n, " ")
			print iface, mode, port, "nft", family, n[2], n[4], for_iface
		}'
}

iptables_status() {
	for family in $(families); do
		for table in nat mangle; do
			ipt_save "$family" "$table" | awk -v family="ipv$family" '
				/-A PREROUTING -i [^ ]+ -j POSTERN[IR]?_/ {
					for (i = 1; i < NF; i++) { if ($i == "-i") from = $(i + 1); if ($i == "-j") to = $(i + 1) }
					iface[to] = from
				}
				$2 == "-A" && $3 ~ /^POSTERN[IR]?_/ && !/ -p (ipv6-)?icmp / && / -j (REDIRECT|TPROXY|MARK) / {
					mode = / -j REDIRECT / ? "redirect" : / -j TPROXY / ? "tproxy" : $3 ~ /^POSTERNI_/ ? "ident" : "reply"
					port = "-"
					for (i = 1; i < NF; i++) if ($i == "--to-ports" || $i == "--on-port") port = $(i + 1)
					split(substr($1, 2, length($1) - 2), n, ":")
					for_iface = $3; sub(/^POSTERN[IR]?_/, "", for_iface)
					line[++lines] = mode " " port " iptables " family " " n[1] " " n[2] " " for_iface
					chain[lines] = $3
				}
				END { for (i = 1; i <= lines; i++) print (chain[i] in iface ? iface[chain[i]] : "-"), line[i] }'
		done
	done
}

warn_unrouted() {
	for family in $(families); do
		for each in $(marked_ifaces); do
			routed_ifaces "$family" | grep -qxF "$each" ||
				warn "the IPv$family routing rule for $each is gone, what its rules mark does not arrive: run postern-divert up again"
		done
	done
}

# ---- what else was asked for

# Each line: INTERFACE WORD [VALUE]; the options of up that the rules show, and packets that were blocked.
nft_details() {
	nft_list | awk '
		/^\tchain / {
			kind = $2; sub(/_.*/, "", kind); iface = $2; sub(/^[a-z]*_/, "", iface)
			if (kind == "learn") print iface, "learn"
			next
		}
		kind == "skip" && / saddr [^@]/ { for (i = 1; i < NF; i++) if ($i == "saddr") print iface, "except", $(i + 1) }
		kind ~ /^(redirect|tproxy)$/ && / counter / && !/ct state established/ {
			if (/@alive/) print iface, "fail"
			if (!/fib daddr type != local/) print iface, "local"
		}
		kind == "sort" && / drop$/ && match($0, /packets [0-9]+/) { print iface, "blocked", substr($0, RSTART + 8, RLENGTH - 8) }
		kind == "sort" && / queue / && !/@tarpit/ { number = $0; sub(/.* (to|num) /, "", number); sub(/ .*/, "", number); print iface, "gate", number }'
}

iptables_details() {
	for family in $(families); do
		for table in nat mangle raw; do
			ipt_save "$family" "$table" | awk '
				$2 != "-A" || $3 !~ /^POSTERN[A-Z]*_/ { next }
				{ kind = $3; sub(/_.*/, "", kind); iface = $3; sub(/^POSTERN[A-Z]*_/, "", iface); split(substr($1, 2), n, ":") }
				kind == "POSTERN" && / -j (REDIRECT|TPROXY) / && !/ESTABLISHED/ {
					if (/postern_alive_/) print iface, "fail"
					if (!/--dst-type LOCAL/) print iface, "local"
				}
				kind == "POSTERN" && $4 == "-s" { cidr = $5; sub(/\/(32|128)$/, "", cidr); print iface, "except", cidr }
				kind == "POSTERNL" { print iface, "learn" }
				kind == "POSTERNG" && / -j DROP/ { print iface, "blocked", n[1] }
				kind ~ /^POSTERN[GQ]$/ && / --queue-bypass/ { for (i = 1; i < NF; i++) if ($i == "--queue-num") print iface, "gate", $(i + 1) }'
		done
	done
}

# is_in SET IFACE: alive or closed, of either back end.
is_in() {
	nft list set inet postern "$1" 2>/dev/null | grep -qF "\"$2\"" || ipset test "postern_$1_$2" "$SMTP" >/dev/null 2>&1
}

has_queue() {
	awk -v number="$1" '$1 == number { found = 1 } END { exit !found }' /proc/net/netfilter/nfnetlink_queue 2>/dev/null
}

# One line for each interface that has more than the plain diversion.
show_details() {
	details=$({ nft_details && iptables_details; } | sort -u)
	for each in $(printf '%s\n' "$details" | awk -v want=" $ifaces " 'NF && (want == "  " || index(want, " " $1 " ")) { print $1 }' | uniq); do
		said=
		while read -r of word value; do
			[ "$of" = "$each" ] || continue
			case $word in
			fail)
				otherwise=$(is_in closed "$each" && echo refuses || echo 'lets pass')
				if is_in alive "$each"; then
					say_detail "the daemon is alive; $otherwise new connections when it is not"
				else
					say_detail "THE DAEMON IS NOT ALIVE: $otherwise new connections"
				fi
				;;
			gate)
				say_detail "gate at queue $value$(has_queue "$value" || echo ', WHERE NOBODY LISTENS')"
				;;
			local) say_detail 'also what is addressed to this host' ;;
			learn) say_detail 'learns whom this side writes to' ;;
			except) say_detail "not from or to $value" ;;
			esac
		done <<-END
			$details
		END
		blocked=$(printf '%s\n' "$details" | awk -v iface="$each" '$1 == iface && $2 == "blocked" { sum += $3 } END { printf "%.0f", sum }')
		[ "$blocked" = 0 ] || say_detail "$blocked packets of blocked clients dropped"
		[ -z "$said" ] || echo "$each: $said"
	done
}

say_detail() {
	said="$said${said:+; }$1"
}

# ---- the whole

warn_hidden() {
	for each in $(diverted_ifaces); do
		! is_bridge "$each" || bridge_is_seen "$each" ||
			warn "the bridge $each hides its packets from these rules: modprobe br_netfilter, then ip link set $each type bridge nf_call_iptables 1 nf_call_ip6tables 1"
	done
}

show_status() {
	lines=$({ nft_status && iptables_status; } | awk -v want=" $ifaces " '
		want != "  " && !index(want, " " $8 " ") && !index(want, " " $1 " ") { next }
		# Mode tproxy has two rules a family: what begins, and what goes on.
		{ key = $1 " " $2 " " $3 " " $4 " " $5; packets[key] += $6; bytes[key] += $7 }
		END { for (key in packets) printf "%s %.0f %.0f\n", key, packets[key], bytes[key] }' | sort)
	if [ -z "$lines" ]; then
		echo "nothing is diverted${ifaces:+ on$ifaces}"
		exit "$NOT_DIVERTED"
	fi
	printf '%s\n' "$lines" | awk '
		BEGIN { f = "%-15s %-9s %-6s %-9s %-6s %10s %12s\n"; printf f, "INTERFACE", "MODE", "PORT", "BACKEND", "FAMILY", "PACKETS", "BYTES" }
		{ printf f, $1, $2, $3, $4, $5, $6, $7 }'
	show_details
	warn_unrouted
	warn_hidden
}
