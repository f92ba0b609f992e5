// swift-tools-version: 6.3

import PackageDescription

// libtorch lies where `scripts/libtorch.sh` unpacks it, in the layout of site-packages, so that
// the libraries' own RPATH finds `nvidia/` beside `torch/`. No environment variable is read.
let torch = Context.packageDirectory + "/.libtorch/torch"

let swiftSettings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

/// How C++ that includes libtorch's headers is compiled.
let torchFlags: [CXXSetting] = [
  .unsafeFlags([
    "-isystem", "\(torch)/include", "-isystem", "\(torch)/include/torch/csrc/api/include",
    "-std=c++20",
    // libtorch is built with GCC, which mangles constrained templates as clang 17 did.
    "-fclang-abi-compat=17",
  ])
]

let argumentParser: Target.Dependency = .product(
  name: "ArgumentParser", package: "swift-argument-parser")
let crypto: Target.Dependency = .product(name: "Crypto", package: "swift-crypto")
let yams: Target.Dependency = .product(name: "Yams", package: "Yams")

/// A Swift module of the engine, with its tests in `Tests/<name>Tests`.
func module(
  _ name: String, _ dependencies: [Target.Dependency], tests: [Target.Dependency] = [],
  fixtures: Bool = false
) -> [Target] {
  [
    .target(name: name, dependencies: dependencies, swiftSettings: swiftSettings),
    .testTarget(
      name: "\(name)Tests", dependencies: [.target(name: name)] + tests,
      resources: fixtures ? [.copy("Fixtures")] : [], swiftSettings: swiftSettings),
  ]
}

let package = Package(
  name: "xtuner",
  products: [
    .executable(name: "xtuner", targets: ["xtuner"]),
    .executable(name: "xtuner-engine", targets: ["xtuner-engine"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.0"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.0"),
  ],
  targets: [
    .systemLibrary(name: "CPCRE2", pkgConfig: "libpcre2-8"),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib"),
    .systemLibrary(name: "CZstd", pkgConfig: "libzstd"),
    .target(
      name: "CTorch",
      exclude: ["ops.txt"],
      cxxSettings: torchFlags,
      linkerSettings: [
        .unsafeFlags([
          "-L\(torch)/lib", "-ltorch_cpu", "-lc10",
          "-Xlinker", "-rpath", "-Xlinker", "\(torch)/lib",
        ])
      ]),
    // A device that only tests have, see Tests/TestDevice.
    .target(
      name: "TestDevice", dependencies: ["CTorch"], path: "Tests/TestDevice",
      cxxSettings: torchFlags),
    // Feeds mutated files to the readers, see scripts/mutations.sh.
    .executableTarget(
      name: "Mutations",
      dependencies: [
        "XTunerTrainer", "XTunerCheckpoint", "XTunerModels", "XTunerData", "XTunerTokenizers",
        "CZlib", "CZstd",
      ], path: "Tests/Mutations", swiftSettings: swiftSettings),
    .executableTarget(
      name: "xtuner", dependencies: ["XTunerCommands", argumentParser],
      swiftSettings: swiftSettings),
    .executableTarget(
      name: "xtuner-engine",
      dependencies: [
        "XTunerCommands", "XTunerTrainer", "XTunerGeneration", "XTunerCheckpoint", "XTunerModels",
        "XTunerData", "XTunerTokenizers", "XTunerNN", "XTunerParallel", "XTunerSynthesis", "Torch",
        argumentParser,
      ],
      swiftSettings: swiftSettings),
  ]
    + module("Torch", ["CTorch"], tests: ["CTorch", "TestDevice"])
    + module("XTunerTokenizers", ["CPCRE2", crypto], fixtures: true)
    + module(
      "XTunerData", ["XTunerTokenizers", "CZlib", "CZstd", crypto],
      tests: ["CZlib", "CZstd"])
    + module("XTunerNN", ["Torch"])
    + module("XTunerParallel", ["Torch", "XTunerNN"])
    + module("XTunerMoE", ["Torch", "XTunerNN"])
    + module("XTunerModels", ["Torch", "XTunerNN", "XTunerParallel", "XTunerMoE"])
    + module("XTunerCheckpoint", ["Torch", "XTunerNN", "XTunerParallel", "XTunerModels", crypto])
    + module(
      "XTunerTrainer",
      [
        "Torch", "XTunerTokenizers", "XTunerData", "XTunerNN", "XTunerParallel", "XTunerMoE",
        "XTunerModels", "XTunerCheckpoint", crypto, yams,
      ], tests: ["TestDevice"])
    + module(
      "XTunerGeneration",
      [
        "Torch", "XTunerTokenizers", "XTunerNN", "XTunerParallel", "XTunerModels",
        "XTunerCheckpoint", "XTunerTrainer",
      ])
    + module("XTunerSynthesis", [])
    + module(
      "XTunerCommands", [argumentParser],
      tests: [
        "xtuner-engine", "XTunerTrainer", "XTunerCheckpoint", "XTunerData", "XTunerTokenizers",
        argumentParser,
      ])
)
