package guest

import (
	"bytes"
	"cmp"
	"os"
	"slices"
	"strconv"
	"strings"

	"homing/internal/protocol"
)

// A Guest is a process of a home on this node.
type Guest struct {
	PID        int    // at home
	Home       string // what it calls itself
	Command    string
	CPUSeconds float64
}

// Present lists the guests that are here.
func (h *Host) Present() []Guest {
	var all []Guest
	for _, p := range h.openPods() {
		for _, pr := range p.guests() {
			cpu := p.used(pr)
			all = append(all, Guest{
				PID: pr.pid, Home: p.sess.RemoteHello.Name, Command: command(pr.body),
				CPUSeconds: float64(cpu.User+cpu.System) / 1e9,
			})
		}
	}
	slices.SortFunc(all, func(a, b Guest) int {
		return cmp.Or(strings.Compare(a.Home, b.Home), a.PID-b.PID)
	})
	return all
}

// command is what a body executes, as ps(1) shows it.
func command(body int) string {
	const most = 4096
	b, err := os.ReadFile("/proc/" + strconv.Itoa(body) + "/cmdline")
	if err != nil || len(b) == 0 {
		return ""
	}
	b = bytes.TrimRight(b[:min(len(b), most)], "\x00")
	return strings.ToValidUTF8(string(bytes.ReplaceAll(b, []byte{0}, []byte{' '})), "?")
}

// admit asks whether so many more guests may come; the error is for home's user.
func (h *Host) admit(more int) error {
	if h.cfg.Admit == nil {
		return nil
	}
	present := 0
	for _, p := range h.openPods() {
		p.mu.RLock()
		present += len(p.procs)
		p.mu.RUnlock()
	}
	return h.cfg.Admit(present + more - 1)
}

func (h *Host) openPods() []*pod {
	h.mu.Lock()
	defer h.mu.Unlock()
	pods := make([]*pod, 0, len(h.pods))
	for p := range h.pods {
		pods = append(pods, p)
	}
	return pods
}

func (h *Host) addPod(p *pod) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pods[p] = struct{}{}
}

func (h *Host) removePod(p *pod) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.pods, p)
}

// dropPages lets the pages of a process go that is not taken.
func (p *pod) dropPages(img *protocol.ProcImage) {
	if img.Bulk != 0 {
		p.sess.BulkDrop(img.Bulk)
	}
}

// guests lists the processes of a pod.
func (p *pod) guests() []*proc {
	p.mu.RLock()
	defer p.mu.RUnlock()
	procs := make([]*proc, 0, len(p.procs))
	for _, pr := range p.procs {
		procs = append(procs, pr)
	}
	return procs
}
