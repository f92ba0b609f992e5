# Each target is a script or a SwiftPM command, so nobody needs make to work here.

.PHONY: demo test build cuda check format generate docs bench clean

demo:      # from a clean clone to a trained model that answers
	scripts/demo.sh

test:      # set-up, the CUDA plug-in compiled, and all tests
	scripts/cuda.sh --check && scripts/test.sh

build:     # leaves xtuner and xtuner-engine in .build/release
	scripts/build.sh

cuda:      # compiles libXTunerCUDA.so beside the programs; needs no GPU
	scripts/cuda.sh

check:     # everything that a change has to pass
	scripts/check.sh

format:    # formats Swift and C++ in place
	scripts/format.sh

generate:  # writes the operators that Sources/CTorch/ops.txt lists
	scripts/libtorch.sh && python3 scripts/generate_ops.py

docs:      # writes docs/configuration.md from the option tables
	scripts/docs.sh

bench: build  # times matrix products and training steps
	.build/release/xtuner bench gemm && .build/release/xtuner bench step

clean:     # removes build products; .libtorch and runs stay
	swift package clean
