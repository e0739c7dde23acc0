package linux

import (
	"testing"
	"unsafe"
)

// The kernel's sizes, as its headers give them for x86-64.
func TestSizes(t *testing.T) {
	for _, tt := range []struct {
		name      string
		got, want uintptr
	}{
		{"struct iovec", unsafe.Sizeof(remoteIovec{}), 16},
		{"struct page_region", unsafe.Sizeof(PageRegion{}), 24},
		{"struct pm_scan_arg", unsafe.Sizeof(pmScanArg{}), 96},
		{"struct ptrace_peeksiginfo_args", unsafe.Sizeof(peekSiginfoArgs{}), 16},
		{"struct ptrace_rseq_configuration", unsafe.Sizeof(Rseq{}), 24},
		{"struct ptrace_sud_config", unsafe.Sizeof(dispatchConfig{}), 32},
		{"struct kernel_sigaction", unsafe.Sizeof(kernelSigaction{}), 32},
		{"struct seccomp_notif", unsafe.Sizeof(Notif{}), 80},
		{"struct seccomp_notif_resp", unsafe.Sizeof(NotifResp{}), 24},
		{"struct seccomp_notif_addfd", unsafe.Sizeof(notifAddFDArg{}), 24},
		{"struct uffdio_api", unsafe.Sizeof(uffdioAPIArg{}), 24},
		{"struct uffdio_register", unsafe.Sizeof(uffdioRegisterArg{}), 32},
		{"struct uffdio_copy", unsafe.Sizeof(uffdioCopyArg{}), 40},
		{"struct uffdio_zeropage", unsafe.Sizeof(uffdioZeropageArg{}), 32},
		{"siginfo_t", unsafe.Sizeof(Siginfo{}), 128},
		{"struct user_regs_struct", unsafe.Sizeof(Regs{}), 216},
		{"_IOC_SIZE of PAGEMAP_SCAN", pagemapScan >> 16 & 0x3fff, 96},
		{"_IOC_SIZE of SECCOMP_IOCTL_NOTIF_RECV", notifRecv >> 16 & 0x3fff, 80},
		{"_IOC_SIZE of SECCOMP_IOCTL_NOTIF_SEND", notifSend >> 16 & 0x3fff, 24},
		{"_IOC_SIZE of SECCOMP_IOCTL_NOTIF_ADDFD", notifAddFD >> 16 & 0x3fff, 24},
	} {
		if tt.got != tt.want {
			t.Errorf("%s has %d bytes, want %d", tt.name, tt.got, tt.want)
		}
	}
	var n Notif
	if off := unsafe.Offsetof(n.Args); off != 32 {
		t.Errorf("arguments of a trapped call at %d, want 32", off)
	}
}

func address(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(&b[0]))) }
