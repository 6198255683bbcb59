package object

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"sync"
)

// digest identifies a piece of JSON. The zero digest is that of nothing.
type Hash [sha256.Size]byte

// String is short enough for an annotation and long enough to be unique.
func (d Hash) String() string { return hex.EncodeToString(d[:8]) }

// digestOf hashes decoded JSON, whose maps encoding/json writes in key order. It is
// for digests that are kept in the cluster; see fingerprintOf.
func StableHash(value any) Hash {
	text, err := json.Marshal(value)
	if err != nil {
		return Hash{}
	}
	return sha256.Sum256(text)
}

// buffers of fingerprintOf.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// fingerprintOf hashes decoded JSON much faster than digestOf. The digest is for
// memory only: another version of this program may make another one.
func MemoryHash(value any) Hash {
	buffer := buffers.Get().(*[]byte)
	*buffer = appendCanonical((*buffer)[:0], value)
	sum := sha256.Sum256(*buffer)
	buffers.Put(buffer)
	return sum
}

// appendCanonical appends a form of decoded JSON that is the same for equal values
// and for no others.
func appendCanonical(to []byte, value any) []byte {
	switch value := value.(type) {
	case map[string]any:
		var room [16]string // most maps have fewer keys
		keys := room[:0]
		for key := range value {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		to = binary.AppendUvarint(append(to, '{'), uint64(len(keys)))
		for _, key := range keys {
			to = appendCanonical(appendText(to, key), value[key])
		}
		return to
	case []any:
		to = binary.AppendUvarint(append(to, '['), uint64(len(value)))
		for _, item := range value {
			to = appendCanonical(to, item)
		}
		return to
	case string:
		return appendText(append(to, '"'), value)
	case int64:
		return binary.AppendVarint(append(to, '1'), value)
	case bool:
		return append(to, strconv.FormatBool(value)...)
	case nil:
		return append(to, '0')
	}
	text, err := json.Marshal(value)
	if err != nil {
		return append(to, '?')
	}
	return appendText(append(to, '.'), string(text))
}

func appendText(to []byte, text string) []byte {
	return append(binary.AppendUvarint(to, uint64(len(text))), text...)
}
