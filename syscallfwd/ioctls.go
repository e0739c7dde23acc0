package syscallfwd

type ioctlKind uint8

const (
	ioValue ioctlKind = iota // the argument is a number, or ignored
	ioIn
	ioOut
	ioFunc
)

type ioctlDesc struct {
	kind ioctlKind
	size uint16
	fn   func(e *Encoder, i int) error
}

func ioV() ioctlDesc         { return ioctlDesc{kind: ioValue} }
func ioI(n uint16) ioctlDesc { return ioctlDesc{kind: ioIn, size: n} }
func ioO(n uint16) ioctlDesc { return ioctlDesc{kind: ioOut, size: n} }

func ioF(f func(*Encoder, int) error) ioctlDesc { return ioctlDesc{kind: ioFunc, fn: f} }

// pointerFree lists the type letters for which genericIoctl may believe the
// command number: no structure of theirs holds a pointer.
var pointerFree = [256]bool{
	'E':  true, // input devices
	'p':  true, // real-time clocks
	'W':  true, // watchdogs
	'H':  true, // hidraw
	'=':  true, // PTP clocks
	0x15: true, // file system UUID and sysfs path
	0xb7: true, // namespaces
	0xff: true, // pidfd
	0x8a: true, // epoll
}

// noGeneric lists the exceptions: type and number.
var noGeneric = map[uint32]bool{
	'E'<<8 | 0x80: true, // EVIOCSFF: force feedback data
	'E'<<8 | 0x92: true, // EVIOCGMASK
	'E'<<8 | 0x93: true, // EVIOCSMASK
}

// Sizes used more than once.
const (
	sizeTermios  = 36
	sizeTermios2 = 44
	sizeTermio   = 18
	sizeIfreq    = 40
)

// ioctls lists the commands that are carried, after ioctl_list(2),
// ioctl_tty(2), netdevice(7) and the uapi headers. Any other brings the
// process home.
var ioctls = map[uint32]ioctlDesc{
	// terminals
	0x5401: ioO(sizeTermios), // TCGETS
	0x5402: ioI(sizeTermios), // TCSETS
	0x5403: ioI(sizeTermios), // TCSETSW
	0x5404: ioI(sizeTermios), // TCSETSF
	0x5405: ioO(sizeTermio),  // TCGETA
	0x5406: ioI(sizeTermio),  // TCSETA
	0x5407: ioI(sizeTermio),  // TCSETAW
	0x5408: ioI(sizeTermio),  // TCSETAF
	0x5409: ioV(),            // TCSBRK
	0x540a: ioV(),            // TCXONC
	0x540b: ioV(),            // TCFLSH
	0x540c: ioV(),            // TIOCEXCL
	0x540d: ioV(),            // TIOCNXCL
	0x540e: ioV(),            // TIOCSCTTY
	0x540f: ioO(4),           // TIOCGPGRP
	0x5410: ioI(4),           // TIOCSPGRP
	0x5411: ioO(4),           // TIOCOUTQ
	0x5412: ioI(1),           // TIOCSTI
	0x5413: ioO(8),           // TIOCGWINSZ
	0x5414: ioI(8),           // TIOCSWINSZ
	0x5415: ioO(4),           // TIOCMGET
	0x5416: ioI(4),           // TIOCMBIS
	0x5417: ioI(4),           // TIOCMBIC
	0x5418: ioI(4),           // TIOCMSET
	0x5419: ioO(4),           // TIOCGSOFTCAR
	0x541a: ioI(4),           // TIOCSSOFTCAR
	0x541b: ioO(4),           // FIONREAD
	0x541c: ioF(ioctlLinux),  // TIOCLINUX
	0x541d: ioV(),            // TIOCCONS
	0x541e: ioO(72),          // TIOCGSERIAL
	0x541f: ioI(72),          // TIOCSSERIAL
	0x5420: ioI(4),           // TIOCPKT
	0x5421: ioI(4),           // FIONBIO
	0x5422: ioV(),            // TIOCNOTTY
	0x5423: ioI(4),           // TIOCSETD
	0x5424: ioO(4),           // TIOCGETD
	0x5425: ioV(),            // TCSBRKP
	0x5427: ioV(),            // TIOCSBRK
	0x5428: ioV(),            // TIOCCBRK
	0x5429: ioO(4),           // TIOCGSID
	0x542e: ioO(32),          // TIOCGRS485
	0x542f: ioO(32),          // TIOCSRS485

	0x802c542a: ioO(sizeTermios2), // TCGETS2
	0x402c542b: ioI(sizeTermios2), // TCSETS2
	0x402c542c: ioI(sizeTermios2), // TCSETSW2
	0x402c542d: ioI(sizeTermios2), // TCSETSF2
	0x80045430: ioO(4),            // TIOCGPTN
	0x40045431: ioI(4),            // TIOCSPTLCK
	0x80045432: ioO(4),            // TIOCGDEV
	0x40045436: ioV(),             // TIOCSIG
	0x80045438: ioO(4),            // TIOCGPKT
	0x80045439: ioO(4),            // TIOCGPTLCK
	0x80045440: ioO(4),            // TIOCGEXCL
	0x5437:     ioV(),             // TIOCVHANGUP
	0x5441:     ioV(),             // TIOCGPTPEER
	0x5450:     ioV(),             // FIONCLEX
	0x5451:     ioV(),             // FIOCLEX
	0x5452:     ioI(4),            // FIOASYNC
	0x5456:     ioO(sizeTermios),  // TIOCGLCKTRMIOS
	0x5457:     ioI(sizeTermios),  // TIOCSLCKTRMIOS
	0x5459:     ioO(4),            // TIOCSERGETLSR
	0x545c:     ioV(),             // TIOCMIWAIT
	0x545d:     ioO(80),           // TIOCGICOUNT
	0x5460:     ioO(8),            // FIOQSIZE

	// consoles
	0x4b2f: ioV(),  // KIOCSOUND
	0x4b30: ioV(),  // KDMKTONE
	0x4b31: ioO(1), // KDGETLED
	0x4b32: ioV(),  // KDSETLED
	0x4b33: ioO(1), // KDGKBTYPE
	0x4b3a: ioV(),  // KDSETMODE
	0x4b3b: ioO(4), // KDGETMODE
	0x4b44: ioO(4), // KDGKBMODE
	0x4b45: ioV(),  // KDSKBMODE
	0x4b46: ioO(4), // KDGKBENT
	0x4b47: ioI(4), // KDSKBENT
	0x4b62: ioO(4), // KDGKBMETA
	0x4b63: ioV(),  // KDSKBMETA
	0x4b64: ioO(1), // KDGKBLED
	0x4b65: ioV(),  // KDSKBLED
	0x5600: ioO(4), // VT_OPENQRY
	0x5601: ioO(8), // VT_GETMODE
	0x5602: ioI(8), // VT_SETMODE
	0x5603: ioO(6), // VT_GETSTATE
	0x5605: ioV(),  // VT_RELDISP
	0x5606: ioV(),  // VT_ACTIVATE
	0x5607: ioV(),  // VT_WAITACTIVE
	0x5608: ioV(),  // VT_DISALLOCATE
	0x5609: ioI(6), // VT_RESIZE

	// sockets
	0x8901:     ioI(4),           // FIOSETOWN
	0x8902:     ioI(4),           // SIOCSPGRP
	0x8903:     ioO(4),           // FIOGETOWN
	0x8904:     ioO(4),           // SIOCGPGRP
	0x8905:     ioO(4),           // SIOCATMARK
	0x8906:     ioO(16),          // SIOCGSTAMP
	0x8907:     ioO(16),          // SIOCGSTAMPNS
	0x80108906: ioO(16),          // SIOCGSTAMP_NEW
	0x80108907: ioO(16),          // SIOCGSTAMPNS_NEW
	0x8910:     ioO(sizeIfreq),   // SIOCGIFNAME
	0x8912:     ioF(ioctlIfconf), // SIOCGIFCONF
	0x8913:     ioO(sizeIfreq),   // SIOCGIFFLAGS
	0x8914:     ioI(sizeIfreq),   // SIOCSIFFLAGS
	0x8915:     ioO(sizeIfreq),   // SIOCGIFADDR
	0x8916:     ioI(sizeIfreq),   // SIOCSIFADDR
	0x8917:     ioO(sizeIfreq),   // SIOCGIFDSTADDR
	0x8918:     ioI(sizeIfreq),   // SIOCSIFDSTADDR
	0x8919:     ioO(sizeIfreq),   // SIOCGIFBRDADDR
	0x891a:     ioI(sizeIfreq),   // SIOCSIFBRDADDR
	0x891b:     ioO(sizeIfreq),   // SIOCGIFNETMASK
	0x891c:     ioI(sizeIfreq),   // SIOCSIFNETMASK
	0x891d:     ioO(sizeIfreq),   // SIOCGIFMETRIC
	0x891e:     ioI(sizeIfreq),   // SIOCSIFMETRIC
	0x8921:     ioO(sizeIfreq),   // SIOCGIFMTU
	0x8922:     ioI(sizeIfreq),   // SIOCSIFMTU
	0x8923:     ioI(sizeIfreq),   // SIOCSIFNAME
	0x8924:     ioI(sizeIfreq),   // SIOCSIFHWADDR
	0x8927:     ioO(sizeIfreq),   // SIOCGIFHWADDR
	0x8931:     ioI(sizeIfreq),   // SIOCADDMULTI
	0x8932:     ioI(sizeIfreq),   // SIOCDELMULTI
	0x8933:     ioO(sizeIfreq),   // SIOCGIFINDEX
	0x8935:     ioO(sizeIfreq),   // SIOCGIFPFLAGS
	0x8942:     ioO(sizeIfreq),   // SIOCGIFTXQLEN
	0x8943:     ioI(sizeIfreq),   // SIOCSIFTXQLEN
	0x8947:     ioO(sizeIfreq),   // SIOCGMIIPHY
	0x8948:     ioO(sizeIfreq),   // SIOCGMIIREG
	0x894c:     ioV(),            // SIOCGSKNS
	0x8953:     ioI(68),          // SIOCDARP
	0x8954:     ioO(68),          // SIOCGARP
	0x8955:     ioI(68),          // SIOCSARP
	0x8970:     ioO(sizeIfreq),   // SIOCGIFMAP
	0x89e0:     ioV(),            // SIOCUNIXFILE
	0x07b9:     ioO(4),           // IOCTL_VM_SOCKETS_GET_LOCAL_CID

	// files and file systems
	0x1:        ioO(4),           // FIBMAP
	0x2:        ioO(4),           // FIGETBSZ
	0x80086601: ioO(4),           // FS_IOC_GETFLAGS
	0x40086602: ioI(4),           // FS_IOC_SETFLAGS
	0x80087601: ioO(4),           // FS_IOC_GETVERSION
	0x40087602: ioI(4),           // FS_IOC_SETVERSION
	0x801c581f: ioO(28),          // FS_IOC_FSGETXATTR
	0x401c5820: ioI(28),          // FS_IOC_FSSETXATTR
	0xc0045877: ioV(),            // FIFREEZE
	0xc0045878: ioV(),            // FITHAW
	0xc0185879: ioO(24),          // FITRIM
	0xc020660b: ioF(ioctlFiemap), // FS_IOC_FIEMAP
	0x40049409: ioV(),            // FICLONE
	0x4020940d: ioI(32),          // FICLONERANGE
	0xc0189436: ioF(ioctlDedupe), // FIDEDUPERANGE
	0x81009431: ioO(256),         // FS_IOC_GETFSLABEL
	0x41009432: ioI(256),         // FS_IOC_SETFSLABEL
	0x80047210: ioO(4),           // FAT_IOCTL_GET_ATTRIBUTES
	0x40047211: ioI(4),           // FAT_IOCTL_SET_ATTRIBUTES
	0x80045200: ioO(4),           // RNDGETENTCNT
	0x40085400: ioI(8),           // TFD_IOC_SET_TICKS
	0x40044900: ioV(),            // INOTIFY_IOC_SETNEXTWD
	0x8004e500: ioI(4),           // FUSE_DEV_IOC_CLONE
	0xb701:     ioV(),            // NS_GET_USERNS
	0xb702:     ioV(),            // NS_GET_PARENT
	0xb703:     ioV(),            // NS_GET_NSTYPE
	0xb704:     ioO(4),           // NS_GET_OWNER_UID

	// pidfd: descriptors of namespaces
	0xff01: ioV(),
	0xff02: ioV(),
	0xff03: ioV(),
	0xff04: ioV(),
	0xff05: ioV(),
	0xff06: ioV(),
	0xff07: ioV(),
	0xff08: ioV(),
	0xff09: ioV(),
	0xff0a: ioV(),

	// block devices
	0x301:      ioO(16), // HDIO_GETGEO
	0x125d:     ioI(4),  // BLKROSET
	0x125e:     ioO(4),  // BLKROGET
	0x125f:     ioV(),   // BLKRRPART
	0x1260:     ioO(8),  // BLKGETSIZE
	0x1261:     ioV(),   // BLKFLSBUF
	0x1262:     ioV(),   // BLKRASET
	0x1263:     ioO(8),  // BLKRAGET
	0x1264:     ioV(),   // BLKFRASET
	0x1265:     ioO(8),  // BLKFRAGET
	0x1267:     ioO(2),  // BLKSECTGET
	0x1268:     ioO(4),  // BLKSSZGET
	0x1277:     ioI(16), // BLKDISCARD
	0x1278:     ioO(4),  // BLKIOMIN
	0x1279:     ioO(4),  // BLKIOOPT
	0x127a:     ioO(4),  // BLKALIGNOFF
	0x127b:     ioO(4),  // BLKPBSZGET
	0x127c:     ioO(4),  // BLKDISCARDZEROES
	0x127d:     ioI(16), // BLKSECDISCARD
	0x127e:     ioO(2),  // BLKROTATIONAL
	0x127f:     ioI(16), // BLKZEROOUT
	0x80081270: ioO(4),  // BLKBSZGET
	0x40081271: ioI(4),  // BLKBSZSET
	0x80081272: ioO(8),  // BLKGETSIZE64
	0x80081280: ioO(8),  // BLKGETDISKSEQ

	// loop devices
	0x4c00: ioV(),    // LOOP_SET_FD
	0x4c01: ioV(),    // LOOP_CLR_FD
	0x4c04: ioI(232), // LOOP_SET_STATUS64
	0x4c05: ioO(232), // LOOP_GET_STATUS64
	0x4c06: ioV(),    // LOOP_CHANGE_FD
	0x4c07: ioV(),    // LOOP_SET_CAPACITY
	0x4c08: ioV(),    // LOOP_SET_DIRECT_IO
	0x4c09: ioV(),    // LOOP_SET_BLOCK_SIZE
	0x4c0a: ioI(304), // LOOP_CONFIGURE
	0x4c80: ioV(),    // LOOP_CTL_ADD
	0x4c81: ioV(),    // LOOP_CTL_REMOVE
	0x4c82: ioV(),    // LOOP_CTL_GET_FREE

	// tun devices
	0x400454ca: ioO(sizeIfreq), // TUNSETIFF
	0x400454cb: ioV(),          // TUNSETPERSIST
	0x400454cc: ioV(),          // TUNSETOWNER
	0x400454cd: ioV(),          // TUNSETLINK
	0x400454ce: ioV(),          // TUNSETGROUP
	0x800454cf: ioO(4),         // TUNGETFEATURES
	0x400454d0: ioV(),          // TUNSETOFFLOAD
	0x800454d2: ioO(sizeIfreq), // TUNGETIFF
	0x800454d3: ioO(4),         // TUNGETSNDBUF
	0x400454d4: ioI(4),         // TUNSETSNDBUF
	0x800454d7: ioO(4),         // TUNGETVNETHDRSZ
	0x400454d8: ioI(4),         // TUNSETVNETHDRSZ
	0x400454d9: ioI(sizeIfreq), // TUNSETQUEUE
}
