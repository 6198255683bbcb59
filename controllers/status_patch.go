package controllers

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// statusPatch is a merge patch of the whole status of object. A key that is absent
// from a merge patch is left alone (RFC 7386), and the fields of most statuses are
// omitted when they are empty: so a number is always sent, and any other field that
// would be omitted is null. Without this a count would never return to zero.
func statusPatch(object conditioned) ([]byte, error) {
	status := reflect.ValueOf(object).Elem().FieldByName("Status")
	content := map[string]any{}
	for _, field := range reflect.VisibleFields(status.Type()) {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" { // embedded: its fields are visible themselves
			continue
		}
		value := status.FieldByIndex(field.Index)
		omitted := value.IsZero() && !value.CanInt() && slices.Contains(strings.Split(options, ","), "omitempty")
		if content[name] = value.Interface(); omitted {
			content[name] = nil
		}
	}
	patch, err := json.Marshal(map[string]any{"status": content})
	if err != nil {
		return nil, fmt.Errorf("encode status: %w", err)
	}
	return patch, nil
}
