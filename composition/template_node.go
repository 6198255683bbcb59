package composition

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// A placeholder is a legal DNS label, so that Kustomize takes it wherever a name
// may stand; the digits are those of the parameter. It is another one in each process,
// because what is compiled may have content of users in it, who must not be able to
// write one.
var placeholderStart = "p" + hex.EncodeToString(binary.BigEndian.AppendUint64(nil, rand.Uint64())) + "h"

const placeholderEnd = "q"

func placeholder(parameter int) string {
	return placeholderStart + strconv.Itoa(parameter) + placeholderEnd
}

// node is a piece of a compiled object: a map, a list, a hole or a constant.
type node interface {
	// bind gives a copy with the holes filled by values, by parameter index. What
	// has no hole in it is not copied.
	bind(values []string) any
}

type (
	mapNode  map[string]node
	listNode []node
	// constantNode is whatever has no hole in it.
	constantNode struct{ value any }
	// holeNode is a string with parameters in it: literal, parameter, literal, ….
	holeNode struct {
		literals   []string
		parameters []int
	}
)

func (n mapNode) bind(values []string) any {
	bound := make(map[string]any, len(n))
	for key, child := range n {
		bound[key] = child.bind(values)
	}
	return bound
}

func (n listNode) bind(values []string) any {
	bound := make([]any, len(n))
	for i, child := range n {
		bound[i] = child.bind(values)
	}
	return bound
}

func (n constantNode) bind([]string) any { return n.value }

func (n holeNode) bind(values []string) any {
	var text strings.Builder
	for i, parameter := range n.parameters {
		text.WriteString(n.literals[i])
		text.WriteString(values[parameter])
	}
	text.WriteString(n.literals[len(n.parameters)])
	return text.String()
}

// compileNode turns decoded JSON into nodes, splitting strings at placeholders.
func compileNode(value any, parameters int) (node, error) {
	switch value := value.(type) {
	case map[string]any:
		compiled, constant := make(mapNode, len(value)), true
		for key, child := range value {
			if strings.Contains(key, placeholderStart) {
				return nil, fmt.Errorf("a parameter may not be part of the key %q", key)
			}
			node, err := compileNode(child, parameters)
			if err != nil {
				return nil, err
			}
			compiled[key] = node
			constant = constant && isConstant(node)
		}
		if constant {
			return constantNode{value}, nil
		}
		return compiled, nil
	case []any:
		compiled, constant := make(listNode, len(value)), true
		for i, child := range value {
			node, err := compileNode(child, parameters)
			if err != nil {
				return nil, err
			}
			compiled[i] = node
			constant = constant && isConstant(node)
		}
		if constant {
			return constantNode{value}, nil
		}
		return compiled, nil
	case string:
		return compileString(value, parameters)
	default:
		return constantNode{value}, nil
	}
}

func isConstant(n node) bool {
	_, constant := n.(constantNode)
	return constant
}

func compileString(text string, parameters int) (node, error) {
	hole := holeNode{}
	for {
		literal, rest, found := strings.Cut(text, placeholderStart)
		hole.literals = append(hole.literals, literal)
		if !found {
			break
		}
		digits, after, ended := strings.Cut(rest, placeholderEnd)
		parameter, err := strconv.Atoi(digits)
		if !ended || err != nil || parameter >= parameters {
			return nil, fmt.Errorf("%q holds a mangled parameter", text)
		}
		hole.parameters = append(hole.parameters, parameter)
		text = after
	}
	if len(hole.parameters) == 0 {
		return constantNode{text}, nil
	}
	return hole, nil
}
