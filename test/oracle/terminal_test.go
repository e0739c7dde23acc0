package oracle_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"homing/internal/oracle"
)

// jobPid is the process number that a shell prints for a background job.
var jobPid = regexp.MustCompile(`(?m)^\[(\d+)\] \d+\r?$`)

// ago is how vim dates a change.
var ago = regexp.MustCompile(`\d+ seconds? ago`)

func noPids(s string) string {
	return ago.ReplaceAllString(jobPid.ReplaceAllString(s, "[$1] PID"), "N seconds ago")
}

func terminals() []oracle.Case {
	bash := func(f func(*oracle.Terminal)) func(*oracle.Run) {
		return func(r *oracle.Run) {
			t := r.StartTerminal(24, 80, "/bin/bash", "--norc", "--noprofile", "-i")
			t.Expect("> ")
			f(t)
			t.Send("exit 3\n").Finish("")
		}
	}
	cases := []oracle.Case{
		{Name: "bash_lines", Body: bash(bashLines)},
		{Name: "bash_interrupt", Body: bash(bashInterrupt)},
		{Name: "bash_jobs", Body: bash(bashJobs)},
		{Name: "bash_background", Body: bash(bashBackground)},
		{Name: "bash_resize", Body: bash(bashResize)},
		{Name: "bash_modes", Body: bash(bashModes)},
		{Name: "dash_jobs", Body: dashJobs},
		{Name: "hang_up", Body: hangUp},
		{Name: "python_repl", Body: pythonREPL, Needs: []string{"python3"}, IgnoreFiles: []string{".python_history"}},
		{Name: "less", Body: less, Needs: []string{"less"}, IgnoreFiles: []string{".lesshst"}},
		{Name: "vim", Body: vim, Needs: []string{"vim"}, IgnoreFiles: []string{".viminfo"}},
	}
	for i := range cases {
		cases[i].Normalise = noPids
		cases[i].Env = []string{"PS1=> ", "INPUTRC=inputrc", "HISTFILE="}
		cases[i].Setup = func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "inputrc"), []byte("set enable-bracketed-paste off\n"), 0o644)
		}
	}
	return cases
}

// TestTerminals runs programs on a terminal and compares what it showed.
func TestTerminals(t *testing.T) { as(t, oracle.Self(), terminals(), nil) }

// TestTerminalsOrdinaryUser does the same as an ordinary user.
func TestTerminalsOrdinaryUser(t *testing.T) { as(t, oracle.Nobody(), terminals(), nil) }

func bashLines(t *oracle.Terminal) {
	t.Send("echo $((6 * 7))\n").Expect("\n42\r\n> ")
	t.Send("tty | cut -c1-8; test -t 0 && test -t 1 && echo terminal\n").Expect("\nterminal\r\n> ")
	t.Send("echo abX\bc\n").Expect("\nabc\r\n> ")                                                                      // readline's own editing
	t.Send("cat\n").AwaitForeground(false).Settle(60 * time.Millisecond).Send("line\x7f\x7fNE\n").Expect("\nliNE\r\n") // the terminal's
	t.Send("\x04").Expect("> ")
	t.Send("ls /bin/sh | cat; echo a | tr a b; (exit 4); echo $?\n").Expect("\n4\r\n> ")
	t.Send("read -p 'name? ' x\n").Expect("\nname? ").Send("someone\n").Expect("> ")
	t.Send("echo \"<$x>\"; ps -o stat= -p $$ | tr -d N\n").Expect("\nSs").Expect("> ")
	t.Send("nosuchcommand; cd /; pwd; cd - >/dev/null\n").Expect("\n/\r\n> ")
}

func bashInterrupt(t *oracle.Terminal) {
	t.Send("sleep 100\n").AwaitForeground(false).Settle(60 * time.Millisecond).Send("\x03").Expect("^C").Expect("> ")
	t.Send("echo $?\n").Expect("\n130\r\n> ")
	t.Send("half a line\x03").Expect("> ")
	t.Send("for i in 1 2; do sleep 100; done\n").AwaitForeground(false).Settle(60 * time.Millisecond).Send("\x03").Expect("^C").Expect("> ")
	t.Send("sleep 100 | cat | sort\n").AwaitJob("sleep", "cat", "sort").Settle(60 * time.Millisecond).Send("\x03").Expect("^C").Expect("> ")
	t.Send("ulimit -c 0; sleep 100\n").AwaitForeground(false).Settle(60 * time.Millisecond).Send("\x1c").Expect("Quit").Expect("> ")
	t.Send("python3 -c 'import time\ntry: print(\"up\", flush=True); time.sleep(100)\nexcept KeyboardInterrupt: print(\"caught\")'\n").
		Expect("\nup\r\n").Send("\x03").Expect("caught").Expect("> ")
	t.Send("while :; do :; done\n").Settle(100 * time.Millisecond).Send("\x03").Expect("> ")
	t.Send("echo done\n").Expect("\ndone\r\n> ")
}

func bashJobs(t *oracle.Terminal) {
	t.Send("sleep 100\n").AwaitForeground(false).Settle(60 * time.Millisecond).Send("\x1a").Expect("Stopped").Expect("> ")
	t.Send("jobs\n").Expect("Stopped").Expect("> ")
	t.Send("fg\n").Expect("\nsleep 100\r\n").AwaitForeground(false).Settle(60 * time.Millisecond).Send("\x1a").Expect("Stopped").Expect("> ")
	t.Send("bg\n").Expect("sleep 100 &\r\n").Expect("> ")
	t.Send("jobs\n").Expect("Running").Expect("> ")
	t.Send("kill %1; wait %1; echo $?\n").Expect("\n143\r\n").Expect("> ")
	t.Send("cat\n").AwaitForeground(false).Settle(60 * time.Millisecond).Send("one\n").Expect("one\r\none\r\n").Send("\x1a").Expect("Stopped").Expect("> ")
	t.Send("fg\n").Expect("\ncat\r\n").AwaitForeground(false).Settle(60 * time.Millisecond).Send("two\n").Expect("two\r\ntwo\r\n").Send("\x04").Expect("> ")
	t.Send("sleep 5 | sleep 100\n").AwaitJob("sleep", "sleep").Settle(60 * time.Millisecond).Send("\x1a").Expect("Stopped").Expect("> ")
	t.Send("kill -CONT %1; kill -9 %1; wait %1; echo $?\n").Expect("\n137\r\n").Expect("> ")
	t.Send("(sleep 0.1; exit 5) & wait $!; echo $?\n").Expect("\n5\r\n").Expect("> ")
	t.Send("suspended() { kill -STOP $BASHPID; echo resumed; }\n").Expect("> ")
	t.Send("(suspended)\n").Expect("Stopped").Expect("> ").Send("fg\n").Expect("resumed").Expect("> ")
	t.Send("jobs; echo none\n").Expect("\nnone\r\n").Expect("> ")
}

func bashBackground(t *oracle.Terminal) {
	t.Send("cat & sleep 0.3\n").Expect("Stopped").Expect("> ")
	t.Send("fg\n").Expect("cat\r\n").AwaitForeground(false).Settle(60 * time.Millisecond).Send("now\n").Expect("now\r\nnow\r\n").Send("\x04").Expect("> ")
	t.Send("stty tostop\n").Expect("> ")
	t.Send("echo from behind & sleep 0.3\n").Expect("Stopped").Expect("> ")
	t.Send("fg\n").Expect("from behind\r\n").Expect("> ")
	t.Send("stty -tostop; sh -c 'trap \"\" TTOU; stty tostop; echo ignored' & wait; stty -tostop\n").Expect("ignored").Expect("> ").Settle(100 * time.Millisecond)
	t.Send("set -o notify; echo end\n").Expect("\nend\r\n").Expect("> ")
}

func bashResize(t *oracle.Terminal) {
	t.Send("stty size\n").Expect("\n24 80\r\n").Expect("> ")
	t.Resize(40, 100)
	t.Send("stty size\n").Expect("\n40 100\r\n").Expect("> ")
	t.Send("true; echo $LINES $COLUMNS\n").Expect("\n40 100\r\n").Expect("> ")
	t.Send("sh -c 'trap \"stty size; exit\" WINCH; echo ready; while :; do sleep 0.02; done'\n").Expect("\nready\r\n").Resize(30, 90).Expect("30 90\r\n").Expect("> ")
	t.Send("python3 -c 'import os, signal, time\nseen = []\nsignal.signal(signal.SIGWINCH, lambda *a: seen.append(os.get_terminal_size()))\nos.write(1, b\"up\\n\")\nwhile not seen: time.sleep(0.01)\nprint(seen[0])'\n").
		Expect("\nup\r\n").Resize(31, 91).Expect("lines=31").Expect("> ")
}

func bashModes(t *oracle.Terminal) {
	t.Send("stty -a | grep -c icanon\n").Expect("\n1\r\n").Expect("> ")
	t.Send("read -s -p 'secret: ' x; echo \"[$x]\"\n").Expect("secret: ").Settle(50 * time.Millisecond).Send("hidden\n").Expect("[hidden]").Expect("> ")
	t.Send("stty -icanon -echo min 1; echo raw; dd bs=1 count=3 2>/dev/null; stty sane; echo cooked\n").Expect("\nraw\r\n").Settle(100 * time.Millisecond).Send("xyz").Expect("xyzcooked").Expect("> ")
	t.Send("read -t 0.05 x; echo timeout $?\n").Expect("\ntimeout 142\r\n").Expect("> ")
	t.Send("read -n 2 x; echo \" $x\"\n").Settle(50 * time.Millisecond).Send("ab").Expect(" ab\r\n").Expect("> ")
	t.Send("setsid sh -c 'echo > /dev/tty' 2>&1 | sed 's/.*: //'\n").Expect("\nNo such device or address\r\n").Expect("> ")
	t.Send("script -qc 'echo inner; tty | cut -c1-8' /dev/null\n").Expect("\ninner\r\n").Expect("> ").AwaitForeground(true)
}

func dashJobs(r *oracle.Run) {
	t := r.StartTerminal(24, 80, "/bin/dash", "-i")
	t.Expect("> ")
	t.Send("sleep 100\n").AwaitForeground(false).Settle(60 * time.Millisecond).Send("\x1a").Expect("Stopped").Expect("> ")
	t.Send("fg\n").Expect("sleep 100").AwaitForeground(false).Settle(60 * time.Millisecond).Send("\x03").Expect("> ")
	// The job ignores SIGTERM, as the shell does, until it has come to its exec. dash says
	// "Terminated" at once only if the job ends after wait began.
	t.Send("sleep 100 &\n").Expect("> ").Settle(500 * time.Millisecond).Send("kill %1; wait %1 2>/dev/null; echo $?\n").Expect("\n143\r\n").Expect("> ")
	t.Send("exit 4\n").Finish("")
}

// hangUp takes the terminal away.
func hangUp(r *oracle.Run) {
	t := r.StartTerminal(24, 80, "/bin/sh", "-c", `trap 'echo hung up > said; exit 6' HUP; echo ready; while :; do sleep 0.02; done`)
	t.Expect("ready")
	t.Close()
	r.Record("status", t.Wait())
}

func pythonREPL(r *oracle.Run) {
	t := r.StartTerminal(24, 80, "/usr/bin/python3", "-q")
	t.Expect(">>> ").Send("6 * 7\n").Expect("42").Expect(">>> ")
	t.Send("for i in range(3): print(i)\n").Expect("... ").Send("\n").Expect("2\r\n").Expect(">>> ")
	t.Send("import time; time.sleep(100)\n").Settle(200 * time.Millisecond).Send("\x03").Expect("KeyboardInterrupt").Expect(">>> ")
	t.Send("x = input('? ')\n").Expect("\n? ").Send("abc\n").Expect(">>> ").Send("x\n").Expect("'abc'").Expect(">>> ")
	t.Send("\x04").Finish("")
}

func longFile(r *oracle.Run) {
	var b strings.Builder
	for i := range 500 {
		fmt.Fprintf(&b, "line %03d of the file\n", i)
	}
	r.Check(os.WriteFile(filepath.Join(r.Dir, "file"), []byte(b.String()), 0o666))
	r.Check(os.Chmod(filepath.Join(r.Dir, "file"), 0o666))
}

func less(r *oracle.Run) {
	longFile(r)
	t := r.StartTerminal(24, 80, "/usr/bin/less", "file")
	t.Expect("line 022").Expect("file").Settle(60 * time.Millisecond)
	t.Send(" ").Expect("line 045").Settle(60 * time.Millisecond)
	t.Send("/line 300\n").Expect("line 320").Settle(60 * time.Millisecond)
	t.Send("G").Expect("line 499").Settle(60 * time.Millisecond)
	t.Resize(10, 40).Expect("line 485").Settle(100 * time.Millisecond)
	t.Send("g").Expect("line 008").Settle(60 * time.Millisecond)
	t.Send("q").Finish("")
}

func vim(r *oracle.Run) {
	longFile(r)
	t := r.StartTerminal(24, 80, "/usr/bin/vim", "-u", "NONE", "-i", "NONE", "-n", "file")
	t.Expect("line 022").Settle(150 * time.Millisecond)
	for _, keys := range []string{"Oinserted\x1b", "jdd", ":s/line/LINE/\n", "G", "yyp", ":r !echo from a shell\n", "u", ":%s/of the/from this/\n", "\x06", "gg"} {
		t.Send(keys).Settle(150 * time.Millisecond)
	}
	t.Send(":set number\n").Expect("  1").Settle(150 * time.Millisecond)
	t.Send(":wq\n").Finish("")
}
