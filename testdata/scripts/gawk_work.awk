# gawk: arrays, two-way pipes, sorting, getline from commands, system, regular expressions, printf.
BEGIN {
	for (i = 1; i <= 20000; i++) { k = (i * 7919) % 1009; c[k]++; s += sqrt(i) }
	n = asorti(c, keys, "@ind_num_asc"); print n, keys[1], keys[n], c[5]; printf "%.6f\n", s
	cmd = "sort -rn"; for (i = 0; i < 5; i++) print i * 3 % 7 |& cmd; close(cmd, "to"); while ((cmd |& getline l) > 0) print "sorted", l; print close(cmd)
	while (("seq 3" | getline x) > 0) print "seq", x; close("seq 3")
	print system("exit 4"); print "to a pipe" | "cat 1>&2"; close("cat 1>&2")
	print gensub(/(a+)(b*)/, "<\\2\\1>", "g", "aabxab"), toupper("x"), substr("hello", 2, 3), strftime("%Y", 0, 1)
	print "written" > "awk.out"; close("awk.out"); getline y < "awk.out"; print y; print ENVIRON["LANG"], (PROCINFO["pid"] > 0)
	exit 3
}
