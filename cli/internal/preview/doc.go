// Package preview plans what the operator would do, with the operator's own packages: the
// plan of each SeldonRuntime and Server is computed by [composition.Engine.Plan] from the
// request of package inputs. The objects that a plan changes and that other plans depend on,
// which are Servers and ConfigMaps, are set in the snapshot before these are computed.
//
// [Planner.Plan] returns a [Report], which is also the form of the JSON output.
package preview
