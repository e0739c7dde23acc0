# Perl: regular expressions, sockets, fork, pipes, signals, sorting, sprintf, local time.
use strict; use warnings; use Socket; use POSIX (); use Time::HiRes qw(sleep alarm); use List::Util qw(sum shuffle);
$| = 1;
my %h; $h{length $_}++ for map { "x" x ($_ % 7) } 1 .. 1000; print join(",", map { "$_=$h{$_}" } sort keys %h), "\n";
my $t = join " ", map { "word$_" } 1 .. 5000; my $n = () = $t =~ /\bword\d*7\b/g; print "$n\n";
open my $p, "-|", "seq 1 100 | sort -rn | head -3" or die; print <$p>; close $p; print "status $?\n";
my $pid = fork; if (!$pid) { exit 9 } waitpid $pid, 0; print $? >> 8, "\n";
local $SIG{ALRM} = sub { die "alarm\n" }; eval { alarm 0.05; sleep 5; }; print $@;
my $ended; local $SIG{CHLD} = sub { while (waitpid(-1, POSIX::WNOHANG()) > 0) { print "child\n"; $ended = 1 } }; if (!fork) { exit } sleep 0.01 until $ended;
$SIG{CHLD} = "DEFAULT";
socketpair(my $a, my $b, AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die; if (!fork) { close $a; print $b "from child\n"; exit } close $b; print scalar <$a>; wait;
print `echo backtick; exit 3`, $? >> 8, "\n"; system("kill -9 \$\$"); print $? & 127, "\n";
print sprintf("%.10f %s", sum(map { sqrt } 1 .. 1000), POSIX::strftime("%Y", gmtime 0)), "\n";
open my $f, ">", "out" or die; print $f "line $_\n" for 1 .. 1000; close $f; open $f, "<", "out"; my @l = <$f>; print scalar(@l), "\n"; unlink "out";
open STDERR, ">&STDOUT"; warn "a warning\n"; kill USR1 => 0; exec "sh", "-c", "echo exec; exit 6";
