// Command wasm is package replay for a browser, built with GOOS=js GOARCH=wasm
// ("make wasm"). It offers its functions as the global object countroom and
// calls countroomReady, if there is such a function.
package main
