package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Report is bench.json.
type Report struct {
	Machine Machine `json:"machine"`
	Suites  []Suite `json:"suites"`
}

// Machine says where and with what the figures were taken.
type Machine struct {
	Date      time.Time `json:"date"`
	Homing    string    `json:"homing"`
	Kernel    string    `json:"kernel"`
	Arch      string    `json:"arch"`
	Processor string    `json:"processor"`
	CPUs      int       `json:"cpus"`
	MemoryMiB uint64    `json:"memory_mib"`
	Go        string    `json:"go"`
}

// Suite is all rows on one number of processors.
type Suite struct {
	CPUs        int     `json:"cpus"`
	LoadBefore  float64 `json:"load_before"`        // 1 minute's average: what else ran
	RoundTripUS float64 `json:"pipe_round_trip_us"` // two processes waking each other, across processors if there are two: rules most figures
	Seconds     float64 `json:"seconds"`
	Rows        []Row   `json:"rows"`
}

// Row is one figure beside its baseline.
type Row struct {
	Name     string  `json:"name"`
	Unit     string  `json:"unit"`
	Figure   Stat    `json:"figure"`
	Baseline Stat    `json:"baseline"`
	Compared string  `json:"compared"`    // ratio, speed or difference: what Result is
	Result   float64 `json:"result"`      // of the medians
	OfBest   float64 `json:"result_best"` // of the best rounds: what other work on the machine disturbs least
	Aim      string  `json:"aim,omitempty"`
	Met      *bool   `json:"met,omitempty"`
	Others   []Stat  `json:"others,omitempty"`
	Notes    string  `json:"notes,omitempty"`
	Error    string  `json:"error,omitempty"`
}

// Ways to compare a figure with its baseline.
const (
	ratio      = "ratio"      // of times: 1 is as fast, 2 takes twice as long
	speed      = "speed"      // 1 is as fast, 0.5 takes twice as long
	difference = "difference" // in the row's unit
)

// compare fills in the row's result; limit 0 means that there is no aim.
func (r *Row) compare(how string, limit float64) {
	r.Compared = how
	r.Result = compared(how, r.Figure.Median, r.Baseline.Median)
	r.OfBest = compared(how, r.Figure.Best, r.Baseline.Best)
	if limit == 0 {
		return
	}
	met := r.Result <= limit
	r.Aim = fmt.Sprintf("≤ %g×", limit)
	switch how {
	case speed:
		met = r.Result >= limit
		r.Aim = fmt.Sprintf("≥ %g×", limit)
	case difference:
		r.Aim = fmt.Sprintf("≤ +%g %s", limit, r.Unit)
	}
	r.Met = &met
}

func compared(how string, figure, baseline float64) float64 {
	switch how {
	case speed:
		return baseline / figure
	case difference:
		return figure - baseline
	}
	return figure / baseline
}

// result shows that of the medians, and that of the best rounds.
func (r *Row) result() string {
	format := "%.2f× (%.2f×)"
	switch r.Compared {
	case difference:
		format = "%+.2f (%+.2f) " + r.Unit
	case speed:
		format = "%.3f× (%.3f×)"
	}
	return fmt.Sprintf(format, r.Result, r.OfBest)
}

// brief is the row in few words.
func (r *Row) brief() string {
	if r.Error != "" {
		return "not measured: " + r.Error
	}
	return fmt.Sprintf("%s %s, %s", digits(r.Figure.Median), r.Unit, r.result())
}

func (s *Suite) print(w io.Writer) {
	fmt.Fprintf(w, "\n%d processor(s); load before %.2f; pipe round trip between two processes %.1f µs\nmedians (25%%–75%%); compared: medians (best rounds)\n\n", s.CPUs, s.LoadBefore, s.RoundTripUS)
	const format = "%-27s %-38s %-38s %-18s %s\n"
	fmt.Fprintf(w, format, "what", "homing", "baseline", "compared", "aim")
	for _, r := range s.Rows {
		if r.Error != "" {
			fmt.Fprintf(w, "%-27s not measured: %s\n", r.Name, r.Error)
			continue
		}
		aim := r.Aim
		if r.Met != nil {
			if *r.Met {
				aim += "  met"
			} else {
				aim += "  missed"
			}
		}
		fmt.Fprintf(w, format, r.Name, r.Figure.text(r.Unit), r.Baseline.text(r.Unit), r.result(), aim)
		for _, o := range r.Others {
			fmt.Fprintf(w, format, "", "", o.text(r.Unit), "", "")
		}
		if r.Notes != "" {
			fmt.Fprintf(w, "%-27s %s\n", "", r.Notes)
		}
	}
	fmt.Fprintln(w)
}

func (s Stat) text(unit string) string {
	return fmt.Sprintf("%s %s (%s–%s) %s", s.What, digits(s.Median), digits(s.P25), digits(s.P75), unit)
}

// digits shows three of them.
func digits(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

func describeMachine(homing string) Machine {
	m := Machine{Date: time.Now().UTC().Truncate(time.Second), Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), Go: runtime.Version()}
	if out, err := exec.Command(homing, "--version").Output(); err == nil {
		m.Homing = strings.TrimSpace(string(out))
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) == nil {
		m.MemoryMiB = uint64(si.Totalram) * uint64(si.Unit) >> 20
	}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.SplitSeq(string(b), "\n") {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				m.Processor = strings.TrimSpace(v)
				break
			}
		}
	}
	return m
}
