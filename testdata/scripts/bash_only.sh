# What only bash has: process substitution, coproc, arrays, pipefail, job control in a script, wait -n, traps of ERR, DEBUG, CHLD.
set -o pipefail
false | true; echo $?
diff <(seq 1 5) <(seq 1 6)
declare -A m=([a]=1 [b]=2); for k in a b; do echo "$k=${m[$k]}"; done
set -m
sleep 100 & kill -STOP %1; sleep 0.05; jobs -s | sed 's/ *$//'; kill -CONT %1; kill %1; wait %1; echo "job $?"
set +m
(sleep 0.05; exit 4) & (sleep 10) & wait -n; echo "first done $?"; kill %2 2>/dev/null || kill $!; wait 2>/dev/null
trap 'echo error at $LINENO' ERR; false; trap - ERR
echo "${BASH_VERSINFO[0]}" | grep -c .
{ time -p true; } 2>&1 | cut -d' ' -f1
{ TIMEFORMAT=%R; time sleep 0.01; } 2>&1 | grep -c '^0\.'
read -t 0.05 -r nothing < <(sleep 1); echo "read $?"
printf '%s\n' {1..5}{a,b} | paste -sd, 
mapfile -t lines < <(printf 'l1\nl2\n'); echo "${#lines[@]}"
echo $BASHPID $$ | awk '{print ($1 == $2)}'
( echo $BASHPID $$ | awk '{print ($1 == $2)}' )
exec 5<>/dev/null; echo x >&5; exec 5>&-
for s in HUP INT TERM USR1 PIPE ALRM; do bash -c "trap 'echo got $s; exit 7' $s; kill -$s \$\$; sleep 1"; echo $?; done
kill -l 9
disown -a
enable -f nosuch x 2>/dev/null; echo $?
bash -c 'echo $0 $@' name args
bash -c 'exec -a fancy sh -c "cat /proc/self/comm; tr \"\\0\" \" \" < /proc/\$\$/cmdline | cut -d\" \" -f1"'
coproc CAT { tr a-z A-Z; }
echo hello >&${CAT[1]}; exec {CAT[1]}>&-; read -r x <&${CAT[0]}; echo "$x"; wait
