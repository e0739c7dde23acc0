package checkpoint

import (
	"strconv"
	"testing"

	"homing/internal/tracer"
)

// BenchmarkFreeze is what stopping a process, capturing it but for its pages and
// letting it go on takes, for the amount of memory it has.
func BenchmarkFreeze(b *testing.B) {
	for _, mib := range []int{0, 64, 512} {
		for _, early := range []bool{false, true} {
			b.Run(strconv.Itoa(mib)+"MiB/early="+strconv.FormatBool(early), func(b *testing.B) {
				v := startVictim(b, "large", strconv.Itoa(mib))
				v.line()
				for b.Loop() {
					b.StopTimer()
					flags, err := EarlyFlags(v.pid)
					if err != nil {
						b.Fatal(err)
					}
					if !early {
						flags = nil
					}
					b.StartTimer()
					v.stopped(func(threads []int, body *tracer.Body) error {
						_, err := v.image(threads, body, flags)
						return err
					})
				}
				v.end()
			})
		}
	}
}
