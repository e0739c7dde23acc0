package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// A Report is what --report writes.
type Report struct {
	Command     []string          `json:"command"`
	Status      int               `json:"status"` // as a shell shows it
	WallSeconds float64           `json:"wall_seconds"`
	DelayOneWay float64           `json:"delay_one_way_seconds"`
	Nodes       []json.RawMessage `json:"nodes"` // each as the node wrote it: node.Report
}

// A lostNode stands in the report for a node that wrote none.
type lostNode struct {
	Name  string `json:"name"`
	Error string `json:"error"`
}

func newReport(cfg *Config, status int, wall time.Duration, nodes []*nodeProc) *Report {
	r := &Report{Command: cfg.Command, Status: status, WallSeconds: wall.Seconds(), DelayOneWay: cfg.Delay.Seconds()}
	for _, n := range nodes {
		raw := n.report
		if raw == nil {
			why := "it wrote no report"
			if n.exit != nil {
				why = n.exit.Error()
			}
			raw, _ = json.Marshal(lostNode{Name: n.name, Error: why})
		}
		r.Nodes = append(r.Nodes, raw)
	}
	return r
}

func (r *Report) write(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("make the report: %w", err)
	}
	if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
