package oracle_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"homing/internal/oracle"
)

// route is the way of a program that goes out, across and back.
var route = []string{"n1", "n2", "n1", "home"}

// counting are the cases in which somebody at home sends to a program that goes round: what arrives is counted.
func counting(t *testing.T) []oracle.Case {
	bin := filepath.Join(suite.Dir, "victims", "counting")
	const many = 10000
	env := []string{fmt.Sprint("COUNTING=", many)}
	lines := func(from, to int) string {
		var b strings.Builder
		for i := from; i < to; i++ {
			fmt.Fprintln(&b, i)
		}
		return b.String()
	}
	return []oracle.Case{
		{Name: "signals_messages_lines", Env: env, Route: route, Timeout: 2 * time.Minute, Body: func(r *oracle.Run) {
			p := r.Start(bin, "receive").Await("ready\n")
			p.Input(lines(0, many))
			sender := r.StartHome(bin, "send", fmt.Sprint(p.Pid()))
			sender.Finish("sender ")
			p.Finish("")
		}},
		{Name: "terminal", Env: env[:0], Route: route, Timeout: time.Minute, Body: func(r *oracle.Run) {
			t := r.StartTerminal(24, 80, bin, "terminal")
			t.Expect("ready\r\n")
			for i := 0; i < 500; i += 10 {
				t.Send(lines(i, i+10)).Expect(fmt.Sprintf("%d\r\n", i+9))
				time.Sleep(5 * time.Millisecond) // so that it takes some moves
			}
			t.Send("end\n").Finish("")
		}},
	}
}

// TestCounting sends signals, messages, lines and keys to programs that are moved home → n1 → n2 → n1 → home all the time.
func TestCounting(t *testing.T) {
	victims(t, oracle.Self())
	storm(t, oracle.Self(), counting(t), 1, nil)
}

// TestCountingOrdinaryUser does the same as an ordinary user.
func TestCountingOrdinaryUser(t *testing.T) {
	victims(t, oracle.Nobody())
	storm(t, oracle.Nobody(), counting(t), 2, nil)
}
