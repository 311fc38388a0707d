package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"secureapi/handler/rowstore"
)

// A file of rows:
//
//	magic "secureapi-rows/1\n" | row … | end
//	row = length uint32, big endian, not 0 | JSON of that length
//	end = 0 uint32
//
// The end tells a whole file from one that was cut at a row's border. The
// SHA-256 of all of it stands in the manifest.
const (
	magic    = "secureapi-rows/1\n"
	maxFrame = 4 << 20 // a row's body in base64, its attributes and keys
)

var errFile = errors.New("not a whole file of rows")

// line is a row in a file.
type line struct {
	Partition  string            `json:"p"`
	Key        string            `json:"k"`
	Body       []byte            `json:"b,omitempty"`
	Attributes map[string]string `json:"a,omitempty"`
}

// writer writes a file of rows beside its name, and gives it its name at the end.
type writer struct {
	path string
	file *os.File
	out  *bufio.Writer
	sum  hash.Hash
	rows int
}

func create(path string) (*writer, error) {
	file, err := os.OpenFile(path+".part", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	w := &writer{path: path, file: file, sum: sha256.New()}
	w.out = bufio.NewWriterSize(io.MultiWriter(file, w.sum), 1<<20)
	_, err = w.out.WriteString(magic)
	return w, err
}

func (w *writer) add(row rowstore.Row) error {
	text, err := json.Marshal(line{row.Partition, row.Key, row.Body, row.Attributes})
	if err != nil {
		return err
	}
	if len(text) > maxFrame {
		return fmt.Errorf("a row of %d bytes", len(text))
	}
	w.rows++
	if err := w.length(len(text)); err != nil {
		return err
	}
	_, err = w.out.Write(text)
	return err
}

func (w *writer) length(n int) error {
	return binary.Write(w.out, binary.BigEndian, uint32(n)) //nolint:gosec // G115: at most maxFrame
}

// finish makes the file durable under its name.
func (w *writer) finish() (rows int, digest string, err error) {
	err = errors.Join(w.length(0), w.out.Flush(), w.file.Sync(), w.file.Close())
	if err == nil {
		err = os.Rename(w.path+".part", w.path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(w.path))
	}
	return w.rows, hex.EncodeToString(w.sum.Sum(nil)), err
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// readRows calls visit for each row and gives the number and the SHA-256 of
// what it read to the very end.
func readRows(path string, visit func(rowstore.Row) error) (rows int, digest string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	sum := sha256.New()
	in := bufio.NewReaderSize(io.TeeReader(file, sum), 1<<20)
	start := make([]byte, len(magic))
	if _, err := io.ReadFull(in, start); err != nil || string(start) != magic {
		return 0, "", errFile
	}
	for {
		row, more, err := readRow(in)
		if err != nil {
			return rows, "", err
		}
		if !more {
			break
		}
		rows++
		if err := visit(row); err != nil {
			return rows, "", err
		}
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		return rows, "", errFile
	}
	return rows, hex.EncodeToString(sum.Sum(nil)), nil
}

func readRow(in io.Reader) (row rowstore.Row, more bool, err error) {
	var size [4]byte
	if _, err := io.ReadFull(in, size[:]); err != nil {
		return row, false, errFile
	}
	n := binary.BigEndian.Uint32(size[:])
	if n == 0 {
		return row, false, nil
	}
	if n > maxFrame {
		return row, false, errFile
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(in, text); err != nil {
		return row, false, errFile
	}
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return row, false, errFile
	}
	return rowstore.Row{Partition: l.Partition, Key: l.Key, Body: l.Body, Attributes: l.Attributes}, true, nil
}
