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
    // Its headers then include the operators that they use, not all of them: half of the time that a file takes.
    "-DAT_PER_OPERATOR_HEADERS",
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
    // Ranks that are threads of one process, for tests and tables.
    .target(
      name: "RankThreads",
      dependencies: ["Torch", "XTunerModels", "XTunerParallel", "XTunerEngine"],
      path: "Tests/RankThreads", swiftSettings: swiftSettings),
    // Configurations as texts, for tests.
    .target(
      name: "ConfigurationSupport", dependencies: ["XTunerConfiguration"],
      path: "Tests/ConfigurationSupport", swiftSettings: swiftSettings),
    // What docs/balance.md compares, on a small scale in tests.
    .target(
      name: "BalanceTrials", dependencies: ["XTunerData"], path: "benchmarks/balance",
      swiftSettings: swiftSettings),
    // Prints tables of the documentation: benchmarks/README.md.
    .executableTarget(
      name: "xtuner-tables",
      dependencies: [
        "BalanceTrials", "RankThreads", "Torch", "XTunerData", "XTunerParallel", "XTunerEngine",
        "XTunerTrainer",
      ],
      path: "benchmarks/tables", swiftSettings: swiftSettings),
    // Feeds mutated files to the readers, see scripts/mutations.sh.
    .executableTarget(
      name: "Mutations",
      dependencies: [
        "XTunerConfiguration", "XTunerCheckpoint", "XTunerModels", "XTunerData",
        "XTunerTokenizers", "XTunerInput", "CZlib", "CZstd",
      ], path: "Tests/Mutations", swiftSettings: swiftSettings),
    .executableTarget(
      name: "xtuner",
      dependencies: ["XTunerCommands", "XTunerRun", "XTunerSystem", argumentParser],
      swiftSettings: swiftSettings),
    .executableTarget(
      name: "xtuner-engine",
      dependencies: [
        "XTunerCommands", "XTunerConfiguration", "XTunerRun", "XTunerLaunch", "XTunerEngine",
        "XTunerTrainer", "XTunerGeneration", "XTunerCheckpoint", "XTunerModels", "XTunerData",
        "XTunerTokenizers", "XTunerNN", "XTunerMoE", "XTunerParallel", "XTunerSynthesis", "Torch",
        "XTunerSystem", "XTunerText", "XTunerInput", argumentParser,
      ],
      swiftSettings: swiftSettings),
  ]
    + module("XTunerSystem", [])
    + module("XTunerText", [])
    + module("XTunerInput", [])
    + module(
      "XTunerConfiguration", ["XTunerText", "XTunerInput", crypto, yams],
      tests: ["ConfigurationSupport", "XTunerRun"])
    + module(
      "XTunerRun", ["XTunerConfiguration", "XTunerSystem"], tests: ["ConfigurationSupport"])
    + module("Torch", ["CTorch", "XTunerSystem"], tests: ["CTorch", "TestDevice"])
    + module(
      "XTunerTokenizers", ["XTunerText", "XTunerSystem", "CPCRE2", crypto], fixtures: true)
    + module(
      "XTunerData",
      ["XTunerText", "XTunerSystem", "XTunerInput", "XTunerTokenizers", "CZlib", "CZstd", crypto],
      tests: ["BalanceTrials", "CZlib", "CZstd"])
    + module("XTunerNN", ["Torch"])
    + module("XTunerMoE", ["Torch", "XTunerNN"])
    + module("XTunerModels", ["XTunerText", "Torch", "XTunerNN", "XTunerMoE"])
    + module(
      "XTunerParallel", ["XTunerSystem", "Torch", "XTunerNN", "XTunerMoE", "XTunerModels"])
    + module(
      "XTunerCheckpoint",
      [
        "XTunerText", "XTunerSystem", "Torch", "XTunerNN", "XTunerParallel", "XTunerModels", crypto,
      ])
    + module(
      "XTunerLaunch",
      [
        "XTunerConfiguration", "XTunerRun", "XTunerText", "XTunerSystem", "Torch", "XTunerNN",
        "XTunerParallel", "XTunerModels",
      ])
    + module(
      "XTunerEngine",
      [
        "XTunerConfiguration", "XTunerRun", "XTunerSystem", "Torch", "XTunerNN", "XTunerParallel",
        "XTunerMoE", "XTunerModels", "XTunerCheckpoint",
      ])
    + module(
      "XTunerTrainer",
      [
        "XTunerConfiguration", "XTunerRun", "XTunerLaunch", "XTunerEngine", "XTunerText",
        "XTunerSystem", "XTunerInput", "Torch", "XTunerTokenizers", "XTunerData", "XTunerNN",
        "XTunerParallel", "XTunerModels", "XTunerCheckpoint",
      ], tests: ["ConfigurationSupport", "RankThreads", "TestDevice"])
    + module(
      "XTunerGeneration", ["Torch", "XTunerTokenizers", "XTunerNN", "XTunerModels"],
      tests: ["XTunerEngine"])
    + module("XTunerSynthesis", ["XTunerText"])
    + module(
      "XTunerCommands", ["XTunerConfiguration", "XTunerRun", "XTunerInput", argumentParser],
      tests: [
        "xtuner-engine", "XTunerConfiguration", "XTunerRun", "XTunerLaunch",
        "XTunerEngine", "XTunerTrainer", "XTunerParallel", "XTunerCheckpoint", "XTunerData",
        "XTunerTokenizers", argumentParser,
      ])
)
