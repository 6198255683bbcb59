package v1alpha1

import (
	"bytes"
	"strconv"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/json"
)

// IntOrString is a number or a text, and remembers which of them was written.
// Unlike intstr.IntOrString it holds 64-bit numbers, which users do write (the
// milliseconds of a month, for example) and which the schema lets pass.
//
// +kubebuilder:validation:Type=""
// +kubebuilder:validation:XIntOrString
type IntOrString struct {
	// Type says which of the others holds the value.
	Type intstr.Type `json:"-"`
	// IntVal is the number if Type is intstr.Int.
	IntVal int64 `json:"-"`
	// StrVal is the text if Type is intstr.String.
	StrVal string `json:"-"`
}

// FromInt returns the number as an IntOrString.
func FromInt(value int64) IntOrString { return IntOrString{Type: intstr.Int, IntVal: value} }

// FromString returns the text as an IntOrString.
func FromString(value string) IntOrString { return IntOrString{Type: intstr.String, StrVal: value} }

// String returns the text, or the number in decimal digits.
func (v IntOrString) String() string {
	if v.Type == intstr.String {
		return v.StrVal
	}
	return strconv.FormatInt(v.IntVal, 10)
}

// MarshalJSON gives a JSON string or a JSON number.
func (v IntOrString) MarshalJSON() ([]byte, error) {
	if v.Type == intstr.String {
		return json.Marshal(v.StrVal)
	}
	return json.Marshal(v.IntVal)
}

// UnmarshalJSON takes a JSON string or an integral JSON number; null leaves v
// as it is.
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
