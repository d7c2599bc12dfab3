// containerd-apply ROOT TAR... applies uncompressed layers to the directory ROOT with containerd's own
// archive.Apply: the unpacker whose decisions src/rootfs follows.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/pkg/archive"
)

func apply(root, path string) error {
	tar, err := os.Open(path)
	if err != nil {
		return err
	}
	defer tar.Close()
	_, err = archive.Apply(context.Background(), root, tar)
	return err
}

func main() {
	for _, path := range os.Args[2:] {
		if err := apply(os.Args[1], path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
