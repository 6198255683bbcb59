// Package patch applies Kustomize patches (strategic merge and JSON6902) that users
// write to rendered objects, within limits: [Apply] lists what a patch must not change,
// and how large patches may be together.
//
// [Apply] returns copies of the objects that patches change, shares the others, and returns
// the patches that match no object. An invalid patch is an [Error] with the object that
// contains the patch, its path there, the patched object and the cause. All functions are
// pure and safe for concurrent use.
package patch
