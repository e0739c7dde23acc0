package shadow

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/checkpoint/transfer"
	"homing/internal/carry"
	"homing/internal/fault"
	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/internal/tracer"
)

// homecoming is the destination of a move: shadows that become processes again.
// Until finish has let them go they can be made shadows again (undo).
type homecoming struct {
	s       *Supervisor
	at      *site // where they come from
	ctx     context.Context
	reason  string
	objects checkpoint.Objects
	bodies  []*homeBody // that are being rebuilt
}

func (h *homecoming) newBody() carry.Body { return &homeBody{h: h} }

// homeBody is one of them. While its guest still runs, and is described by
// sketches, its memory is built in the shadow beside what that needs; the shadow
// goes on serving.
type homeBody struct {
	h     *homecoming
	p     *process
	r     *returning // once the guest stands still
	image uint64     // of the program: see process.images
}

// Build implements carry.Body.
func (b *homeBody) Build(img *protocol.ProcImage) (transfer.Placed, error) {
	return b.describe(img, nil)
}

// Change implements carry.Body.
func (b *homeBody) Change(to, built *protocol.ProcImage) (transfer.Placed, error) {
	return b.describe(to, &built.Image)
}

func (b *homeBody) describe(img *protocol.ProcImage, built *checkpoint.Image) (transfer.Placed, error) {
	h, s, im := b.h, b.h.s, &img.Image
	if err := fault.Point("home.bring.body"); err != nil {
		return transfer.Placed{}, err
	}
	if b.p == nil {
		if b.p = s.process(im.PID); b.p == nil || b.p.getState() != away || b.p.site() != h.at {
			return transfer.Placed{}, fmt.Errorf("process %d is not away", im.PID)
		}
		b.image = b.p.images.Load()
		if err := s.awaitRelease(h.ctx, b.p); err != nil {
			return transfer.Placed{}, err
		}
		h.bodies = append(h.bodies, b)
	}
	if err := h.objects.Make(im); err != nil {
		return transfer.Placed{}, err
	}
	var fresh []linux.Range
	var err error
	if len(im.Threads) > 0 {
		fresh, err = b.arrive(img, built)
	} else {
		fresh, err = b.sketch(im, built)
	}
	if err != nil {
		return transfer.Placed{}, err
	}
	placed := transfer.Placed{PID: im.PID, Image: im}
	if built != nil {
		for _, v := range im.VMAs {
			placed.Kept = append(placed.Kept, linux.Range{Start: v.Start, End: v.End}.Without(fresh)...)
		}
	}
	return placed, nil
}

// sketch builds, or changes, the mappings of a process whose guest runs.
func (b *homeBody) sketch(im, built *checkpoint.Image) (fresh []linux.Range, err error) {
	s := b.h.s
	if err := s.outsideArena(b.p, im); err != nil {
		return nil, err
	}
	err = s.borrowSoon(b.h.ctx, b.p, func(th *thread, body *tracer.Body) (err error) {
		if b.p.images.Load() != b.image {
			return errGone
		}
		fresh, err = s.mapMemory(b.p, th, body, im, b.h.objects, built)
		return err
	})
	return fresh, err
}

// arrive takes over a process whose guest stands still.
func (b *homeBody) arrive(img *protocol.ProcImage, built *checkpoint.Image) (fresh []linux.Range, err error) {
	h, s := b.h, b.h.s
	r, err := s.receive(img)
	if err != nil {
		return nil, err
	}
	if b.p.images.Load() != b.image {
		return nil, errGone
	}
	r.reason = h.reason
	if err := s.outcomes(h.ctx, r); err != nil {
		r.beginAgain()
		return nil, err
	}
	b.r = r
	if doErr := s.tr.Do(func() { fresh, err = s.rebuildMemory(r, h.objects, built) }); doErr != nil {
		return nil, doErr
	}
	return fresh, err
}

// Userfault implements carry.Body.
// A process at home depends on no other machine.
func (b *homeBody) Userfault() (transfer.Userfault, error) {
	return transfer.Userfault{}, errors.New(faultHome)
}

// Drop implements carry.Body.
func (b *homeBody) Drop(ranges []linux.Range) error {
	s := b.h.s
	var calls []tracer.Call
	for _, r := range ranges {
		calls = append(calls, tracer.C(unix.SYS_MADVISE, r.Start, r.Len(), unix.MADV_DONTNEED))
	}
	if b.r == nil {
		return s.borrowSoon(b.h.ctx, b.p, func(th *thread, body *tracer.Body) error {
			_, err := body.Inject(th.tid, calls)
			return err
		})
	}
	var err error
	if doErr := s.tr.Do(func() { _, err = s.body(b.r.threads[0]).Inject(b.r.threads[0].tid, calls) }); doErr != nil {
		return doErr
	}
	return err
}

// finish gives the processes their threads' states and lets them go.
func (h *homecoming) finish() error {
	s := h.s
	var images []protocol.ProcImage
	var back []*returning
	for _, b := range h.bodies {
		back = append(back, b.r)
	}
	for _, r := range back {
		if err := r.finishCalls(); err != nil {
			return err
		}
		images = append(images, *r.img)
	}
	var err error
	for _, r := range back {
		if doErr := s.tr.Do(func() { err = s.rebuildThreads(r) }); doErr != nil {
			return doErr
		}
		if err != nil {
			return err
		}
	}
	if err := fault.Point("home.bring.threads"); err != nil {
		return err
	}
	s.sharedIsHome(imagesOf(images))
	if doErr := s.tr.Do(func() {
		for _, r := range back {
			if e := s.letGo(r); e != nil { // it cannot be but that a thread has died
				s.log.Error("process came home in part", "pid", r.p.pid, "err", e)
			}
		}
	}); doErr != nil {
		return doErr
	}
	return nil
}

// undo makes shadows of what has been rebuilt.
func (h *homecoming) undo() {
	var back []*returning
	for _, b := range h.bodies {
		if b.r != nil {
			back = append(back, b.r)
			continue
		}
		err := h.s.borrowSoon(context.Background(), b.p, func(th *thread, body *tracer.Body) error {
			if b.p.images.Load() != b.image {
				return nil
			}
			maps, err := linux.Mappings(b.p.pid)
			if err != nil {
				return err
			}
			_, err = body.Inject(th.tid, checkpoint.Unmap(b.p.kept(maps)))
			return err
		})
		if err != nil && !errors.Is(err, unix.ESRCH) {
			h.s.log.Warn("memory of a process that does not come home is kept", "pid", b.p.pid, "err", err)
		}
	}
	h.s.emptyAgain(back)
}
