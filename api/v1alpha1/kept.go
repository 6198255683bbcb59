package v1alpha1

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/json"
)

// The types below embed one of Kubernetes' own types and keep the JSON that
// they were decoded from, for two reasons. A Go struct forgets which of its
// zero values were written, and where layers are merged a `false` that somebody
// wrote must win. And the API server holds numbers inside such types to no
// range, so that an object whose typed decoding fails may well be stored; it
// must not take a whole List with it.

// decodeKept decodes data, a JSON object, into typed and returns a copy of data
// to keep. Where data does not fit the type, typed is left zero: the caller
// still has what the user wrote, and rawKept tells what is wrong with it.
func decodeKept[T any](data []byte, typed *T) ([]byte, error) {
	*typed = *new(T)
	if bytes.Equal(data, []byte("null")) {
		return nil, nil
	}
	if trimmed := bytes.TrimSpace(data); len(trimmed) == 0 || trimmed[0] != '{' {
		return nil, fmt.Errorf("decode %T: want a JSON object", *typed)
	}
	if err := decodeTyped(data, typed); err != nil {
		*typed = *new(T)
	}
	return bytes.Clone(data), nil
}

func decodeTyped[T any](data []byte, typed *T) error {
	if err := checkQuantities(data); err != nil {
		return err
	}
	return json.Unmarshal(data, typed)
}

// encodeKept returns the JSON that was kept, or that of typed if somebody
// changed typed since. misfit is why the JSON that it returns does not fit the
// type.
func encodeKept[T any](kept []byte, typed *T) (data []byte, misfit, err error) {
	if kept != nil {
		var decoded T
		if misfit = decodeTyped(kept, &decoded); misfit != nil {
			decoded = *new(T)
		}
		if equality.Semantic.DeepEqual(&decoded, typed) {
			return kept, misfit, nil
		}
	}
	data, err = json.Marshal(typed)
	return data, nil, err
}

// rawKept decodes what encodeKept returns, numbers as int64 or float64.
func rawKept[T any](kept []byte, typed *T) (map[string]any, error) {
	data, misfit, err := encodeKept(kept, typed)
	if err := errors.Join(misfit, err); err != nil {
		return nil, err
	}
	var raw map[string]any
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, err
	}
	return raw, nil
}

// equalKept says whether two values say the same, whatever the order of keys.
func equalKept[T any](keptA []byte, a *T, keptB []byte, b *T) bool {
	if bytes.Equal(keptA, keptB) {
		return equality.Semantic.DeepEqual(a, b)
	}
	rawA, errA := rawKept(keptA, a)
	rawB, errB := rawKept(keptB, b)
	return errA == nil && errB == nil && reflect.DeepEqual(rawA, rawB)
}
