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

// Hash is the SHA-256 hash of decoded JSON. The zero value is the hash of no content.
type Hash [sha256.Size]byte

// String returns the first 8 bytes in hexadecimal: short enough for an annotation.
func (h Hash) String() string { return hex.EncodeToString(h[:8]) }

// StableHash returns the hash of decoded JSON in the form of encoding/json, which sorts the
// keys of maps. It is for hashes that are stored in the cluster; see [MemoryHash]. A value
// that is not JSON has the zero hash.
func StableHash(value any) Hash {
	text, err := json.Marshal(value)
	if err != nil {
		return Hash{}
	}
	return sha256.Sum256(text)
}

// buffers are the buffers of MemoryHash.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// MemoryHash returns the hash of decoded JSON, much faster than [StableHash]. It must not be
// stored: another version of this program may compute another hash.
func MemoryHash(value any) Hash {
	buffer := buffers.Get().(*[]byte)
	*buffer = appendCanonical((*buffer)[:0], value)
	sum := sha256.Sum256(*buffer)
	buffers.Put(buffer)
	return sum
}

// appendCanonical appends an encoding of decoded JSON that is the same for equal values and
// differs for different values.
func appendCanonical(to []byte, value any) []byte {
	switch value := value.(type) {
	case map[string]any:
		var array [16]string // on the stack: most maps have fewer keys
		keys := array[:0]
		for key := range value {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		to = binary.AppendUvarint(append(to, '{'), uint64(len(keys)))
		for _, key := range keys {
			to = appendCanonical(appendString(to, key), value[key])
		}
		return to
	case []any:
		to = binary.AppendUvarint(append(to, '['), uint64(len(value)))
		for _, item := range value {
			to = appendCanonical(to, item)
		}
		return to
	case string:
		return appendString(append(to, '"'), value)
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
	return appendString(append(to, '.'), string(text))
}

func appendString(to []byte, text string) []byte {
	return append(binary.AppendUvarint(to, uint64(len(text))), text...)
}
