// Makes an eStargz layer of a layer, as `ctr-remote image optimize` does. Arguments: the layer, a tar that may be compressed; where the
// new one goes; if its start is to be fast, a file with the paths of files that it reads, in that order,
// one a line. Prints what a manifest says
// of the new layer, as JSON.
package main

import (
	"encoding/json"
	"io"
	"log"
	"os"
	"strings"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/opencontainers/go-digest"
)

type written struct {
	MediaType   string            `json:"mediaType"`
	Digest      digest.Digest     `json:"digest"`
	Size        int64             `json:"size"`
	DiffID      digest.Digest     `json:"diffId"`
	Annotations map[string]string `json:"annotations"`
}

func options() []estargz.Option {
	if len(os.Args) < 4 {
		return nil
	}
	text, err := os.ReadFile(os.Args[3])
	check(err)
	var ignored []string
	return []estargz.Option{
		estargz.WithPrioritizedFiles(strings.Split(strings.TrimSpace(string(text)), "\n")),
		estargz.WithAllowPrioritizeNotFound(&ignored),
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	layer, err := os.Open(os.Args[1])
	check(err)
	info, err := layer.Stat()
	check(err)
	blob, err := estargz.Build(io.NewSectionReader(layer, 0, info.Size()), options()...)
	check(err)
	target, err := os.Create(os.Args[2])
	check(err)
	digester := digest.Canonical.Digester()
	size, err := io.Copy(io.MultiWriter(target, digester.Hash()), blob)
	check(err)
	check(blob.Close())
	check(target.Close())
	check(json.NewEncoder(os.Stdout).Encode(written{
		MediaType:   "application/vnd.oci.image.layer.v1.tar+gzip",
		Digest:      digester.Digest(),
		Size:        size,
		DiffID:      blob.DiffID(),
		Annotations: map[string]string{estargz.TOCJSONDigestAnnotation: blob.TOCDigest().String()},
	}))
}
