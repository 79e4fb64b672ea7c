# Three members of a pair in a network each, joined by a bridge; clients are on
# the bridge and reach both machines whatever happens between those.
#   partition.sh PROGRAM DIRECTORY
set -eu
program=$1
dir=$2
mount -t tmpfs tmpfs /run
ip link set lo up
ip link add br0 type bridge
ip link set br0 up
ip address add 10.9.0.1/24 dev br0
for n in 1 2 3; do
	ip netns add n$n
	ip link add v$n type veth peer name e0 netns n$n
	ip link set v$n master br0 up
	ip -n n$n address add 10.9.0.1$n/24 dev e0
	ip -n n$n link set e0 up
	ip -n n$n link set lo up
done
serve() {
	ip netns exec "n$1" "$program" serve --quiet --data "$dir/$2" --listen "10.9.0.1$1:8080" --allow-plaintext --reserve-mib 64 2>"$dir/$2.log" &
	pids="${pids-} $!"
	eval "$2=$!"
}
stop() {
	kill -9 $pids 2>/dev/null || true
}
trap stop EXIT
status() { curl -s -o /dev/null -w '%{http_code}' "http://10.9.0.1$1:8080/readyz" || true; }
await() {
	n=0
	until [ "$("$1" "$2")" = "$3" ]; do
		n=$((n + 1))
		[ $n -lt 3000 ] || { echo "in vain: $*"; cat "$dir"/*.log; exit 1; }
		sleep 0.1
	done
}
member() { grep -c "a member has joined.*name=$1" "$dir/a.log" || true; }
# deposit MACHINE KEY: status and, of an error, its problem
deposit() {
	curl -sS --max-time 120 -o "$dir/answer-$1-$2" -w '%{http_code}' -H "Authorization: Bearer $operator" -H "Idempotency-Key: $2" \
		-H 'Content-Type: application/json' -d "$3" "http://10.9.0.1$1:8080$4" || true
	grep -o '"type":"/problems/[a-z-]*"' "$dir/answer-$1-$2" || true
}
pay2() { pay 2 "$1"; }
pay() { deposit "$1" "$2" '{"amount":10,"currency":"EUR"}' /v1/players/alice/deposits; }
# arrived: whether a request is in the hands of machine 1
arrived() {
	ip netns exec n1 ss -Htn state established '( sport = :8080 )' | while read -r unread _; do [ "$unread" = 0 ] || echo yes; done
}
leaf() { sed 's/,"receipt".*//' "$dir/answer-$1-$2"; }

"$program" pair init --data "$dir/a" --name a --address 10.9.0.11:7100 >"$dir/out"
serve 1 a
await status 1 200
"$program" pair join --data "$dir/b" --name b --address 10.9.0.12:7100 --via "COUNTROOM_TEST_MAIN=1 $program pair admit --data $dir/a" >"$dir/out"
serve 2 b
await member b 1
"$program" pair join --data "$dir/w" --name w --arbiter --address 10.9.0.13:7100 --via "COUNTROOM_TEST_MAIN=1 $program pair admit --data $dir/a" >"$dir/out"
serve 3 w
await member w 1
await status 2 200
operator=$(cat "$dir/a/credentials/operator.key")
echo "founded: $(deposit 2 new '{"id":"alice","currency":"EUR"}' /v1/players)"

# A request comes to a while it believes that it writes, which is not for long once
# it is cut off: it is frozen until the request is there.
kill -STOP "$a"
ip netns exec n1 nft -f - <<N
table ip apart {
	chain in {
		type filter hook input priority 0;
		ip saddr { 10.9.0.12, 10.9.0.13 } drop
	}
	chain out {
		type filter hook output priority 0;
		ip daddr { 10.9.0.12, 10.9.0.13 } drop
	}
}
N
(echo "cut off, a: $(pay 1 one)" >"$dir/alone") &
waited=$!
await arrived - yes
kill -CONT "$a"
await pay2 two 201
echo "cut off, b: 201"
wait $waited
cat "$dir/alone"
await status 1 503
echo "cut off, a again: $(pay 1 three)"
echo "asked of b: $(pay 2 one) $(pay 2 three)"
ip netns exec n1 nft flush ruleset
await status 1 200
echo "healed, a: $(pay 1 one) $(pay 1 two)"
[ "$(leaf 1 one)" = "$(leaf 2 one)" ] && [ "$(leaf 1 two)" = "$(leaf 2 two)" ] && echo "the same answers"
head() { curl -s "http://10.9.0.1$1:8080/log/checkpoint" | sed -n 2,3p; }
same() { [ "$(head 1)" = "$(head 2)" ] && echo yes; }
await same - yes
echo "the same heads"
