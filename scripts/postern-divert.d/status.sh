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

show_status() {
	lines=$({ nft_status && iptables_status; } | awk -v want="$iface" '
		want != "" && want != $8 && want != $1 { next }
		# Mode tproxy has two rules a family: what begins, and what goes on.
		{ key = $1 " " $2 " " $3 " " $4 " " $5; packets[key] += $6; bytes[key] += $7 }
		END { for (key in packets) printf "%s %.0f %.0f\n", key, packets[key], bytes[key] }' | sort)
	if [ -z "$lines" ]; then
		echo "nothing is diverted${iface:+ on $iface}"
		exit "$NOT_DIVERTED"
	fi
	printf '%s\n' "$lines" | awk '
		BEGIN { f = "%-15s %-9s %-6s %-9s %-6s %10s %12s\n"; printf f, "INTERFACE", "MODE", "PORT", "BACKEND", "FAMILY", "PACKETS", "BYTES" }
		{ printf f, $1, $2, $3, $4, $5, $6, $7 }'
	warn_unrouted
}

