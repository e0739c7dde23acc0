package syscallfwd

type ioctlKind uint8

const (
	ioValue ioctlKind = iota // the argument is a number, or ignored
	ioIn
	ioOut
	ioFunc
)

type ioctlDesc struct {
	name string
	kind ioctlKind
	size uint16
	fn   func(e *Encoder, i int) error
}

func ioV(name string) ioctlDesc           { return ioctlDesc{name: name} }
func ioI(name string, n uint16) ioctlDesc { return ioctlDesc{name: name, kind: ioIn, size: n} }
func ioO(name string, n uint16) ioctlDesc { return ioctlDesc{name: name, kind: ioOut, size: n} }

func ioF(name string, f func(*Encoder, int) error) ioctlDesc {
	return ioctlDesc{name: name, kind: ioFunc, fn: f}
}

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
	0x5401: ioO("TCGETS", sizeTermios),
	0x5402: ioI("TCSETS", sizeTermios),
	0x5403: ioI("TCSETSW", sizeTermios),
	0x5404: ioI("TCSETSF", sizeTermios),
	0x5405: ioO("TCGETA", sizeTermio),
	0x5406: ioI("TCSETA", sizeTermio),
	0x5407: ioI("TCSETAW", sizeTermio),
	0x5408: ioI("TCSETAF", sizeTermio),
	0x5409: ioV("TCSBRK"),
	0x540a: ioV("TCXONC"),
	0x540b: ioV("TCFLSH"),
	0x540c: ioV("TIOCEXCL"),
	0x540d: ioV("TIOCNXCL"),
	0x540e: ioV("TIOCSCTTY"),
	0x540f: ioO("TIOCGPGRP", 4),
	0x5410: ioI("TIOCSPGRP", 4),
	0x5411: ioO("TIOCOUTQ", 4),
	0x5412: ioI("TIOCSTI", 1),
	0x5413: ioO("TIOCGWINSZ", 8),
	0x5414: ioI("TIOCSWINSZ", 8),
	0x5415: ioO("TIOCMGET", 4),
	0x5416: ioI("TIOCMBIS", 4),
	0x5417: ioI("TIOCMBIC", 4),
	0x5418: ioI("TIOCMSET", 4),
	0x5419: ioO("TIOCGSOFTCAR", 4),
	0x541a: ioI("TIOCSSOFTCAR", 4),
	0x541b: ioO("FIONREAD", 4),
	0x541c: ioF("TIOCLINUX", ioctlLinux),
	0x541d: ioV("TIOCCONS"),
	0x541e: ioO("TIOCGSERIAL", 72),
	0x541f: ioI("TIOCSSERIAL", 72),
	0x5420: ioI("TIOCPKT", 4),
	0x5421: ioI("FIONBIO", 4),
	0x5422: ioV("TIOCNOTTY"),
	0x5423: ioI("TIOCSETD", 4),
	0x5424: ioO("TIOCGETD", 4),
	0x5425: ioV("TCSBRKP"),
	0x5427: ioV("TIOCSBRK"),
	0x5428: ioV("TIOCCBRK"),
	0x5429: ioO("TIOCGSID", 4),
	0x542e: ioO("TIOCGRS485", 32),
	0x542f: ioO("TIOCSRS485", 32),

	0x802c542a: ioO("TCGETS2", sizeTermios2),
	0x402c542b: ioI("TCSETS2", sizeTermios2),
	0x402c542c: ioI("TCSETSW2", sizeTermios2),
	0x402c542d: ioI("TCSETSF2", sizeTermios2),
	0x80045430: ioO("TIOCGPTN", 4),
	0x40045431: ioI("TIOCSPTLCK", 4),
	0x80045432: ioO("TIOCGDEV", 4),
	0x40045436: ioV("TIOCSIG"),
	0x80045438: ioO("TIOCGPKT", 4),
	0x80045439: ioO("TIOCGPTLCK", 4),
	0x80045440: ioO("TIOCGEXCL", 4),
	0x5437:     ioV("TIOCVHANGUP"),
	0x5441:     ioV("TIOCGPTPEER"),
	0x5450:     ioV("FIONCLEX"),
	0x5451:     ioV("FIOCLEX"),
	0x5452:     ioI("FIOASYNC", 4),
	0x5456:     ioO("TIOCGLCKTRMIOS", sizeTermios),
	0x5457:     ioI("TIOCSLCKTRMIOS", sizeTermios),
	0x5459:     ioO("TIOCSERGETLSR", 4),
	0x545c:     ioV("TIOCMIWAIT"),
	0x545d:     ioO("TIOCGICOUNT", 80),
	0x5460:     ioO("FIOQSIZE", 8),

	// consoles
	0x4b2f: ioV("KIOCSOUND"),
	0x4b30: ioV("KDMKTONE"),
	0x4b31: ioO("KDGETLED", 1),
	0x4b32: ioV("KDSETLED"),
	0x4b33: ioO("KDGKBTYPE", 1),
	0x4b3a: ioV("KDSETMODE"),
	0x4b3b: ioO("KDGETMODE", 4),
	0x4b44: ioO("KDGKBMODE", 4),
	0x4b45: ioV("KDSKBMODE"),
	0x4b46: ioO("KDGKBENT", 4),
	0x4b47: ioI("KDSKBENT", 4),
	0x4b62: ioO("KDGKBMETA", 4),
	0x4b63: ioV("KDSKBMETA"),
	0x4b64: ioO("KDGKBLED", 1),
	0x4b65: ioV("KDSKBLED"),
	0x5600: ioO("VT_OPENQRY", 4),
	0x5601: ioO("VT_GETMODE", 8),
	0x5602: ioI("VT_SETMODE", 8),
	0x5603: ioO("VT_GETSTATE", 6),
	0x5605: ioV("VT_RELDISP"),
	0x5606: ioV("VT_ACTIVATE"),
	0x5607: ioV("VT_WAITACTIVE"),
	0x5608: ioV("VT_DISALLOCATE"),
	0x5609: ioI("VT_RESIZE", 6),

	// sockets
	0x8901:     ioI("FIOSETOWN", 4),
	0x8902:     ioI("SIOCSPGRP", 4),
	0x8903:     ioO("FIOGETOWN", 4),
	0x8904:     ioO("SIOCGPGRP", 4),
	0x8905:     ioO("SIOCATMARK", 4),
	0x8906:     ioO("SIOCGSTAMP", 16),
	0x8907:     ioO("SIOCGSTAMPNS", 16),
	0x80108906: ioO("SIOCGSTAMP_NEW", 16),
	0x80108907: ioO("SIOCGSTAMPNS_NEW", 16),
	0x8910:     ioO("SIOCGIFNAME", sizeIfreq),
	0x8912:     ioF("SIOCGIFCONF", ioctlIfconf),
	0x8913:     ioO("SIOCGIFFLAGS", sizeIfreq),
	0x8914:     ioI("SIOCSIFFLAGS", sizeIfreq),
	0x8915:     ioO("SIOCGIFADDR", sizeIfreq),
	0x8916:     ioI("SIOCSIFADDR", sizeIfreq),
	0x8917:     ioO("SIOCGIFDSTADDR", sizeIfreq),
	0x8918:     ioI("SIOCSIFDSTADDR", sizeIfreq),
	0x8919:     ioO("SIOCGIFBRDADDR", sizeIfreq),
	0x891a:     ioI("SIOCSIFBRDADDR", sizeIfreq),
	0x891b:     ioO("SIOCGIFNETMASK", sizeIfreq),
	0x891c:     ioI("SIOCSIFNETMASK", sizeIfreq),
	0x891d:     ioO("SIOCGIFMETRIC", sizeIfreq),
	0x891e:     ioI("SIOCSIFMETRIC", sizeIfreq),
	0x8921:     ioO("SIOCGIFMTU", sizeIfreq),
	0x8922:     ioI("SIOCSIFMTU", sizeIfreq),
	0x8923:     ioI("SIOCSIFNAME", sizeIfreq),
	0x8924:     ioI("SIOCSIFHWADDR", sizeIfreq),
	0x8927:     ioO("SIOCGIFHWADDR", sizeIfreq),
	0x8931:     ioI("SIOCADDMULTI", sizeIfreq),
	0x8932:     ioI("SIOCDELMULTI", sizeIfreq),
	0x8933:     ioO("SIOCGIFINDEX", sizeIfreq),
	0x8935:     ioO("SIOCGIFPFLAGS", sizeIfreq),
	0x8942:     ioO("SIOCGIFTXQLEN", sizeIfreq),
	0x8943:     ioI("SIOCSIFTXQLEN", sizeIfreq),
	0x8947:     ioO("SIOCGMIIPHY", sizeIfreq),
	0x8948:     ioO("SIOCGMIIREG", sizeIfreq),
	0x894c:     ioV("SIOCGSKNS"),
	0x8953:     ioI("SIOCDARP", 68),
	0x8954:     ioO("SIOCGARP", 68),
	0x8955:     ioI("SIOCSARP", 68),
	0x8970:     ioO("SIOCGIFMAP", sizeIfreq),
	0x89e0:     ioV("SIOCUNIXFILE"),
	0x07b9:     ioO("IOCTL_VM_SOCKETS_GET_LOCAL_CID", 4),

	// files and file systems
	0x1:        ioO("FIBMAP", 4),
	0x2:        ioO("FIGETBSZ", 4),
	0x80086601: ioO("FS_IOC_GETFLAGS", 4),
	0x40086602: ioI("FS_IOC_SETFLAGS", 4),
	0x80087601: ioO("FS_IOC_GETVERSION", 4),
	0x40087602: ioI("FS_IOC_SETVERSION", 4),
	0x801c581f: ioO("FS_IOC_FSGETXATTR", 28),
	0x401c5820: ioI("FS_IOC_FSSETXATTR", 28),
	0xc0045877: ioV("FIFREEZE"),
	0xc0045878: ioV("FITHAW"),
	0xc0185879: ioO("FITRIM", 24),
	0xc020660b: ioF("FS_IOC_FIEMAP", ioctlFiemap),
	0x40049409: ioV("FICLONE"),
	0x4020940d: ioI("FICLONERANGE", 32),
	0xc0189436: ioF("FIDEDUPERANGE", ioctlDedupe),
	0x81009431: ioO("FS_IOC_GETFSLABEL", 256),
	0x41009432: ioI("FS_IOC_SETFSLABEL", 256),
	0x80047210: ioO("FAT_IOCTL_GET_ATTRIBUTES", 4),
	0x40047211: ioI("FAT_IOCTL_SET_ATTRIBUTES", 4),
	0x80045200: ioO("RNDGETENTCNT", 4),
	0x40085400: ioI("TFD_IOC_SET_TICKS", 8),
	0x40044900: ioV("INOTIFY_IOC_SETNEXTWD"),
	0x8004e500: ioI("FUSE_DEV_IOC_CLONE", 4),
	0xb701:     ioV("NS_GET_USERNS"),
	0xb702:     ioV("NS_GET_PARENT"),
	0xb703:     ioV("NS_GET_NSTYPE"),
	0xb704:     ioO("NS_GET_OWNER_UID", 4),

	// pidfd: descriptors of namespaces
	0xff01: ioV("PIDFD_GET_NAMESPACE"),
	0xff02: ioV("PIDFD_GET_NAMESPACE"),
	0xff03: ioV("PIDFD_GET_NAMESPACE"),
	0xff04: ioV("PIDFD_GET_NAMESPACE"),
	0xff05: ioV("PIDFD_GET_NAMESPACE"),
	0xff06: ioV("PIDFD_GET_NAMESPACE"),
	0xff07: ioV("PIDFD_GET_NAMESPACE"),
	0xff08: ioV("PIDFD_GET_NAMESPACE"),
	0xff09: ioV("PIDFD_GET_NAMESPACE"),
	0xff0a: ioV("PIDFD_GET_NAMESPACE"),

	// block devices
	0x301:      ioO("HDIO_GETGEO", 16),
	0x125d:     ioI("BLKROSET", 4),
	0x125e:     ioO("BLKROGET", 4),
	0x125f:     ioV("BLKRRPART"),
	0x1260:     ioO("BLKGETSIZE", 8),
	0x1261:     ioV("BLKFLSBUF"),
	0x1262:     ioV("BLKRASET"),
	0x1263:     ioO("BLKRAGET", 8),
	0x1264:     ioV("BLKFRASET"),
	0x1265:     ioO("BLKFRAGET", 8),
	0x1267:     ioO("BLKSECTGET", 2),
	0x1268:     ioO("BLKSSZGET", 4),
	0x1277:     ioI("BLKDISCARD", 16),
	0x1278:     ioO("BLKIOMIN", 4),
	0x1279:     ioO("BLKIOOPT", 4),
	0x127a:     ioO("BLKALIGNOFF", 4),
	0x127b:     ioO("BLKPBSZGET", 4),
	0x127c:     ioO("BLKDISCARDZEROES", 4),
	0x127d:     ioI("BLKSECDISCARD", 16),
	0x127e:     ioO("BLKROTATIONAL", 2),
	0x127f:     ioI("BLKZEROOUT", 16),
	0x80081270: ioO("BLKBSZGET", 4),
	0x40081271: ioI("BLKBSZSET", 4),
	0x80081272: ioO("BLKGETSIZE64", 8),
	0x80081280: ioO("BLKGETDISKSEQ", 8),

	// loop devices
	0x4c00: ioV("LOOP_SET_FD"),
	0x4c01: ioV("LOOP_CLR_FD"),
	0x4c04: ioI("LOOP_SET_STATUS64", 232),
	0x4c05: ioO("LOOP_GET_STATUS64", 232),
	0x4c06: ioV("LOOP_CHANGE_FD"),
	0x4c07: ioV("LOOP_SET_CAPACITY"),
	0x4c08: ioV("LOOP_SET_DIRECT_IO"),
	0x4c09: ioV("LOOP_SET_BLOCK_SIZE"),
	0x4c0a: ioI("LOOP_CONFIGURE", 304),
	0x4c80: ioV("LOOP_CTL_ADD"),
	0x4c81: ioV("LOOP_CTL_REMOVE"),
	0x4c82: ioV("LOOP_CTL_GET_FREE"),

	// tun devices
	0x400454ca: ioO("TUNSETIFF", sizeIfreq),
	0x400454cb: ioV("TUNSETPERSIST"),
	0x400454cc: ioV("TUNSETOWNER"),
	0x400454cd: ioV("TUNSETLINK"),
	0x400454ce: ioV("TUNSETGROUP"),
	0x800454cf: ioO("TUNGETFEATURES", 4),
	0x400454d0: ioV("TUNSETOFFLOAD"),
	0x800454d2: ioO("TUNGETIFF", sizeIfreq),
	0x800454d3: ioO("TUNGETSNDBUF", 4),
	0x400454d4: ioI("TUNSETSNDBUF", 4),
	0x800454d7: ioO("TUNGETVNETHDRSZ", 4),
	0x400454d8: ioI("TUNSETVNETHDRSZ", 4),
	0x400454d9: ioI("TUNSETQUEUE", sizeIfreq),
}
