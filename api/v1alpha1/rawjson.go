package v1alpha1

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/json"
)

// The types that use these functions embed a type of Kubernetes and keep the JSON that
// they were decoded from, for two reasons. A Go struct does not distinguish zero values
// that are set from unset values, and an explicit `false` must take precedence when layers
// are merged. And the API server does not validate the range of numbers in such types, so
// that stored objects may exist whose typed decoding fails. One of them must not make the
// List of all objects of its kind fail.

// decodeRaw decodes data, a JSON object, into typed and returns a copy of data. If data
// cannot be decoded into typed, typed is the zero value and there is no error: rawObject
// returns it.
func decodeRaw[T any](data []byte, typed *T) ([]byte, error) {
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

// encodeRaw returns raw, or the JSON of typed if typed was changed since it was decoded
// from raw. decodeErr is the error of decoding the returned JSON into T.
func encodeRaw[T any](raw []byte, typed *T) (data []byte, decodeErr, err error) {
	if raw != nil {
		var decoded T
		if decodeErr = decodeTyped(raw, &decoded); decodeErr != nil {
			decoded = *new(T)
		}
		if equality.Semantic.DeepEqual(&decoded, typed) {
			return raw, decodeErr, nil
		}
	}
	data, err = json.Marshal(typed)
	return data, nil, err
}

// rawObject decodes the JSON that encodeRaw returns into a map, with numbers as int64 or
// float64. It also returns an error if that JSON cannot be decoded into T.
func rawObject[T any](raw []byte, typed *T) (map[string]any, error) {
	data, decodeErr, err := encodeRaw(raw, typed)
	if err := errors.Join(decodeErr, err); err != nil {
		return nil, err
	}
	var object map[string]any
	if err := json.Unmarshal(data, &object); err != nil {
		return nil, err
	}
	return object, nil
}

// equalRaw reports whether two values have the same JSON, regardless of the order of keys.
func equalRaw[T any](rawA []byte, a *T, rawB []byte, b *T) bool {
	if bytes.Equal(rawA, rawB) {
		return equality.Semantic.DeepEqual(a, b)
	}
	objectA, errA := rawObject(rawA, a)
	objectB, errB := rawObject(rawB, b)
	return errA == nil && errB == nil && reflect.DeepEqual(objectA, objectB)
}
