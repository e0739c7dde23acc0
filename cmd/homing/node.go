package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"homing/internal/lab"
	"homing/node"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

var nodeCommand = &cli.Command{
	Name:  "node",
	Usage: "lend this machine to homes that have joined it",
	Description: "Runs in the foreground until SIGTERM; needs no root. Give `homing node token` to whom you lend it.\n" +
		"Nothing of this machine is visible to what runs here: no files, no network, no processes.",
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "listen", Value: node.DefaultListen, Usage: "wait for homes at `ADDR` (HOST:PORT), or at the socket that systemd passes: fd"},
		&cli.StringFlag{Name: "name", Usage: "what homes call this node (default: the host's name)"},
		&cli.IntFlag{Name: "max-guests", Usage: "take no further guest when `N` processes are here (default: no limit; children of guests are not refused)"},
		stateFlag,
		&cli.IntFlag{Name: "report-fd", Hidden: true, Usage: "write a report to descriptor `FD`"},
		&cli.IntFlag{Name: "dial-fd", Hidden: true, Usage: "reach other nodes through the lab's socket, descriptor `FD`"},
		&cli.IntFlag{Name: "control-fd", Hidden: true, Usage: "the owner's socket is descriptor `FD`, listening"},
	},
	Action:      runNode,
	Subcommands: []*cli.Command{nodeTokenCommand, nodeRevokeCommand, nodeStatusCommand},
}

func runNode(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	dir, err := node.StateDir(c.Path("state"))
	if err != nil {
		return err
	}
	log := newLogger()
	if c.Int("max-guests") < 0 {
		return fmt.Errorf("--max-guests %d: give a number of processes, or 0 for any number", c.Int("max-guests"))
	}
	lending := node.NewLending(c.String("name"), c.Int("max-guests"))
	connect, err := lab.DialerOf(c.Int("dial-fd"))
	if err != nil {
		return err
	}
	peers, err := node.NewPeers(dir, connect)
	if err != nil {
		return err
	}
	guests, err := newGuests(dir, lending, peers, log)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context, unix.SIGTERM, unix.SIGINT)
	defer stop()
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, unix.SIGHUP)
	return node.Run(ctx, node.Config{
		Listen:    c.String("listen"),
		Name:      c.String("name"),
		State:     dir,
		Version:   version,
		ReportFD:  c.Int("report-fd"),
		ControlFD: c.Int("control-fd"),
		Guests:    guests,
		Lending:   lending,
		Peers:     peers,
		Log:       log,
	}, reload)
}

var nodeTokenCommand = &cli.Command{
	Name:  "token",
	Usage: "print a join token: whoever has it can use this node (once, within its time)",
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "addr", Usage: "the `HOST:PORT` at which homes reach this node, if the running node's own idea is wrong"},
		&cli.DurationFlag{Name: "expires", Value: node.DefaultExpiry, Usage: "valid for `TIME`"},
		stateFlag,
	},
	Action: func(c *cli.Context) error {
		if err := noArgs(c); err != nil {
			return err
		}
		dir, err := node.StateDir(c.Path("state"))
		if err != nil {
			return err
		}
		token, pending, err := node.NewToken(dir, c.String("addr"), c.Duration("expires"))
		if err != nil {
			return err
		}
		fmt.Println(token)
		fmt.Fprintf(os.Stderr, "At home, until %s:  homing join TOKEN\nTo take it back:  homing node revoke %s\n", pending.Expires.Local().Format(time.DateTime), pending.ID)
		return nil
	},
}

var nodeRevokeCommand = &cli.Command{
	Name:      "revoke",
	Usage:     "take back a token, or a home's access and its open sessions; without WHO: list both",
	ArgsUsage: "[WHO]",
	Flags:     []cli.Flag{stateFlag},
	Action: func(c *cli.Context) error {
		dir, err := node.StateDir(c.Path("state"))
		if err != nil {
			return err
		}
		switch c.NArg() {
		case 0:
			return listAccess(dir)
		case 1:
			gone, err := node.Revoke(dir, c.Args().First())
			for _, g := range gone {
				fmt.Println("revoked:", g)
			}
			return err
		}
		return errors.New("node revoke: name one home or token; see homing node revoke --help")
	},
}

func listAccess(dir string) error {
	homes, tokens, err := node.Access(dir)
	if err != nil {
		return err
	}
	for _, h := range homes {
		fmt.Printf("home   %-24s key %.16s  since %s\n", h.Name, h.Fingerprint, h.Since.Local().Format(time.DateTime))
	}
	for _, t := range tokens {
		fmt.Printf("token  %-24s unused until %s\n", t.ID, t.Expires.Local().Format(time.DateTime))
	}
	if len(homes)+len(tokens) == 0 {
		fmt.Println("nobody may use this node; homing node token lets somebody in")
	}
	return nil
}
