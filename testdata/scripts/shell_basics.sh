# Pipelines, subshells, here-documents, traps, functions, background jobs, wait, redirections: for any POSIX shell.
set -u
echo one two three | tr ' ' '\n' | sort -r | { read a; read b; echo "$b-$a"; }
seq 1 1000 | grep 7 | wc -l | tr -d ' '
(cd /; pwd; x=inner; exit 3); echo "subshell $? ${x-unset}"
cat <<HERE | sed 's/^/> /'
here $((6 * 7))
$(echo nested | tr a-z A-Z)
HERE
cat <<'QUOTED'
$HOME `date`
QUOTED
trap 'echo trapped TERM' TERM
kill -TERM $$
trap 'echo leaving $?' EXIT
trap 'echo usr1' USR1
(sleep 0.1; kill -USR1 $$; sleep 0.3) &
wait; echo "wait: $((${?} > 128))"
wait; echo "then $?"
trap '' INT; kill -INT $$; echo ignored INT
sh -c 'kill -INT $$; echo child ignores it, too'
for i in 1 2 3; do (sleep 0.0$i; exit $i) & eval p$i=$!; done
wait $p2; echo "second $?"; wait $p1; echo "first $?"; wait $p3; echo "third $?"
f() { local v=$1; echo "f $v $#"; return 9; }
f a b; echo $?
echo to stderr >&2
exec 3>file; echo through three >&3; exec 3>&-; cat file
exec 4<file; read line <&4; echo "$line"
{ echo out; echo err >&2; } 2>&1 | cat
cat < /nonexistent; echo "status $?"
false | true; echo $?
! true; echo $?
sh -c 'exit 300'; echo $?
sh -c 'kill -9 $$'; echo $?
nosuchcommand; echo $?
./file; echo $?
case $(uname -s) in Linux) echo linux;; esac
i=0; while [ $i -lt 50 ]; do i=$((i + 1)); : $(true); done; echo $i
set -- a 'b c' d; for x in "$@"; do printf '[%s]' "$x"; done; echo
mkdir -p d/e; cd d/e; ls -a ..; cd - >/dev/null
umask 077; : > private; ls -l private | cut -c1-10
ulimit -n 64; ulimit -n
(ulimit -t 1; while :; do :; done); echo "cpu limit $?"
printf 'x%.0s' $(seq 1 70000) | wc -c | tr -d ' '
mkfifo pipe; (echo through the fifo > pipe &); cat pipe
echo "$PPID" | grep -c '^[0-9]*$'
sleep 5 & sleep 0.6; kill $!; wait $! 2>/dev/null; echo "killed $?"
yes | head -3
exit 5
