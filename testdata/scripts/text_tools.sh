# Text tools in long pipelines over 200,000 lines.
seq 1 200000 | awk '{print ($1 * 7919) % 200003, "line", $1}' > data
sort --parallel=4 -S 4M -n data | md5sum
sort --parallel=2 -k3,3nr data | head -3
cut -d' ' -f1 data | sort -u | wc -l
grep -c 77 data; sed -n '100,102p' data; tac data | head -2; tail -n 2 data
find /usr/share/doc/ba* -type f 2>/dev/null | sort | xargs -P4 -n2 cat | cksum | cut -d' ' -f2
seq 1 40 | xargs -P4 -I{} sh -c 'echo $(( {} * {} ))' | sort -n | tail -1
seq 1 8 | xargs -P4 -n1 sh -c 'exit $((${0} % 2))'; echo "xargs $?"
split -l 50000 data part; wc -l part*; cat part* | cmp - data && echo same
comm -12 <(sort data | head -100) <(sort data | head -50) 2>/dev/null | wc -l
od -An -tx1 -N16 data; base64 data | md5sum; rev data | md5sum; tr -s ' ' '\t' < data | expand | md5sum
join <(seq 1 5 | sed 's/$/ a/') <(seq 3 7 | sed 's/$/ b/')
dd if=data of=copy bs=4k count=10 2>/dev/null; cksum copy; truncate -s 100 copy; stat -c '%s %F' copy
tee t1 t2 < copy | wc -c; timeout 0.1 sleep 5; echo "timeout $?"; nice -n 5 nice
rm -f part* data t1 t2
