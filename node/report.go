package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A Report says what a node did in its life.
type Report struct {
	Name       string         `json:"name"`
	Guests     int            `json:"guests"`      // processes that ran here
	CPUSeconds float64        `json:"cpu_seconds"` // that they used
	Calls      uint64         `json:"calls"`       // that home served for them
	BytesIn    uint64         `json:"bytes_in"`    // over the network, with all overhead of the channel
	BytesOut   uint64         `json:"bytes_out"`
	CameHome   map[string]int `json:"came_home"` // processes that went home, by reason
}

func (d *nodeDaemon) newReport(l *countingListener) Report {
	s := d.cfg.Guests.Stats()
	if s.CameHome == nil {
		s.CameHome = map[string]int{}
	}
	bytesIn, bytesOut := l.in.Load(), l.out.Load()
	if p := d.cfg.Peers; p != nil {
		bytesIn += p.traffic.in.Load()
		bytesOut += p.traffic.out.Load()
	}
	return Report{
		Name: d.cfg.Name, Guests: s.Guests, CPUSeconds: s.CPUSeconds, Calls: s.Calls,
		BytesIn: bytesIn, BytesOut: bytesOut, CameHome: s.CameHome,
	}
}

// A reporter writes to the pipe that a lab holds: one line when the node is
// ready, one with the Report at its end. The zero file means nobody asked.
type reporter struct{ f *os.File }

func newReporter(fd int) (*reporter, error) {
	if fd == 0 {
		return &reporter{}, nil
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
		return nil, fmt.Errorf("--report-fd %d: %w", fd, err)
	}
	unix.CloseOnExec(fd)
	return &reporter{f: os.NewFile(uintptr(fd), "report")}, nil
}

func (r *reporter) ready() error { return r.line(map[string]bool{"ready": true}) }

func (r *reporter) write(rep Report) error {
	if r.f == nil {
		return nil
	}
	return errors.Join(r.line(rep), r.f.Close())
}

func (r *reporter) line(v any) error {
	if r.f == nil {
		return nil
	}
	if err := json.NewEncoder(r.f).Encode(v); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
