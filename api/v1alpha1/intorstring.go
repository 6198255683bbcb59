package v1alpha1

import (
	"bytes"
	"strconv"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/json"
)

// IntOrString is a JSON number or a JSON string, and is encoded with the type that it had.
// Unlike intstr.IntOrString it supports 64-bit numbers, which the schema accepts and
// which users need (the milliseconds of a month, for example).
//
// +kubebuilder:validation:Type=""
// +kubebuilder:validation:XIntOrString
type IntOrString struct {
	// Type is the type of the value.
	Type intstr.Type `json:"-"`
	// IntVal is the value if Type is intstr.Int.
	IntVal int64 `json:"-"`
	// StrVal is the value if Type is intstr.String.
	StrVal string `json:"-"`
}

// FromInt returns an IntOrString with a number.
func FromInt(value int64) IntOrString { return IntOrString{Type: intstr.Int, IntVal: value} }

// FromString returns an IntOrString with a string.
func FromString(value string) IntOrString { return IntOrString{Type: intstr.String, StrVal: value} }

// String returns the string, or the number in decimal digits.
func (v IntOrString) String() string {
	if v.Type == intstr.String {
		return v.StrVal
	}
	return strconv.FormatInt(v.IntVal, 10)
}

// MarshalJSON encodes v as a JSON string or a JSON number.
func (v IntOrString) MarshalJSON() ([]byte, error) {
	if v.Type == intstr.String {
		return json.Marshal(v.StrVal)
	}
	return json.Marshal(v.IntVal)
}

// UnmarshalJSON decodes a JSON string or an integral JSON number. null does not change v.
func (v *IntOrString) UnmarshalJSON(data []byte) error {
	switch {
	case bytes.Equal(data, []byte("null")):
		return nil
	case len(data) > 0 && data[0] == '"':
		*v = IntOrString{Type: intstr.String}
		return json.Unmarshal(data, &v.StrVal)
	default:
		*v = IntOrString{Type: intstr.Int}
		return json.Unmarshal(data, &v.IntVal)
	}
}
