import Foundation
import Torch
import XTunerCommands
import XTunerConfiguration
import XTunerEngine
import XTunerModels
import XTunerNN
import XTunerParallel
import XTunerRun
import XTunerSystem
import XTunerTokenizers

/// `xtuner bench step`: whole training steps of one model, measured as the benchmark scripts of
/// other engines measure theirs.
struct BenchStepHandler {
  /// Others using more than this many cores spoil a step, which is then run again.
  private static let quietLimit = 0.15

  private struct Step {
    var total: Double
    var forward: Double
    var backward: Double
    var optimizer: Double
    var system: Double
  }

  private let command: BenchStepCommand
  private let length: Int
  private let stepCount: Int
  private let threadCount: Int
  private let environment: [String: String]
  private let configuration: RunConfiguration
  private let device: Device
  private let model: BenchStepModel
  private let engine: TrainingEngine
  private let optimizer: AdamW
  private var losses: [Double] = []
  private var norms: [Double] = []
  private var cleanSteps: [Step] = []
  private var dirtyCount = 0
  private var firstStepAge: Double?

  /// Runs the benchmark and prints its result to standard output.
  static func run(_ command: BenchStepCommand) throws {
    var handler = try BenchStepHandler(
      command, environment: ProcessInfo.processInfo.environment)
    try handler.measure()
  }

  private init(_ command: BenchStepCommand, environment: [String: String]) throws {
    self.command = command
    self.environment = environment
    length = try command.sequenceLength(environment: environment)
    stepCount = try command.stepCount(environment: environment)
    threadCount = try command.threadCount(environment: environment)
    Torch.setThreadCount(threadCount)
    let shapes = try command.modelConfiguration()
    let configuration = try command.runConfiguration(shapes)
    self.configuration = configuration
    device = try command.usableDevice(configuration)
    Torch.setDeterministic(configuration.run.deterministic)
    model = BenchStepModel(
      shapes, embeddingDeviation: command.embeddingDeviation, computeDType: DType(command.dtype),
      keepsMaster: command.state == .f32, float8: configuration.float8Modules,
      float8Products: configuration.float8Products, device: device)
    guard !command.forbidsWaits || device.canForbidWaits else {
      throw CommandFailure(
        .usage,
        """
        --forbid-waits needs a device whose back end can refuse to wait (CUDA with its plug-in); \
        these steps run on \(device)
        """)
    }
    engine = TrainingEngine(
      model: model.prepared.model, units: model.prepared.units,
      options: command.engineOptions(configuration, layerCount: shapes.layers.count))
    // 0.9, 0.95, 1e-8 and 0.1, as in the scripts, are the defaults.
    optimizer = AdamW(
      model.prepared.units.all, options: AdamW.Options(),
      swap: configuration.training.swapsOptimizer ? HostSwap(device: device) : nil)
    DeviceMemory.resetPeak(on: device)
  }

  private mutating func measure() throws {
    for index in 0..<command.warmUpCount {
      let step = try runStep()
      report("warm \(index)", step, others: nil)
    }
    // What other processes do on the processor does not spoil a step on a device.
    let isHost = device.kind == .cpu
    if isHost {
      MachineLoad.waitUntilQuiet(limit: Self.quietLimit, patience: command.patience)
    }
    var peak = productPeak()
    var lastStep: Step?
    while cleanSteps.count < stepCount && cleanSteps.count + dirtyCount < 4 * stepCount {
      let load = MachineLoad.now()
      let step = try runStep()
      let others = load.othersSince()
      lastStep = step
      if others < Self.quietLimit || !isHost { cleanSteps.append(step) } else { dirtyCount += 1 }
      report("step", step, others: others)
    }
    if isHost {
      MachineLoad.waitUntilQuiet(limit: Self.quietLimit, patience: command.patience / 2)
      peak = max(peak, productPeak())
    }
    let used = cleanSteps.isEmpty ? [lastStep].compactMap { $0 } : cleanSteps
    let activity = command.idle ? try traceSteps() : nil
    printResult(used, peak: peak, activity: activity)
    guard command.profile || command.profilesShapes else { return }
    let stepCount = 3
    let clock = ContinuousClock()
    let start = clock.now
    let (_, profile) = try OperationProfile.record(byShape: command.profilesShapes) {
      for _ in 0..<stepCount { _ = try runStep() }
    }
    StepProfileReport(
      profile: profile, stepCount: stepCount, seconds: (clock.now - start).seconds,
      productPeak: peak, bandwidth: MachineLimits.bandwidth().update, writesJSON: command.json
    ).write()
  }

  /// The base of `mfu`, FLOP/s.
  private func productPeak() -> Double {
    device.kind == .cpu
      ? MachineLimits.matrixProductPeak()
      : Throughput.peak(dtype: DType(command.dtype), device: device)
  }

  /// What the device did in three more steps, issued without waiting in between.
  private mutating func traceSteps() throws -> DeviceActivity {
    DeviceActivity.prepare(on: device)
    _ = try runStep()
    return try DeviceActivity.record(on: device) {
      for _ in 0..<3 { _ = try runStep(waits: false) }
    }
  }

  /// One step on fresh tokens: gradients, norm, clipping, update.
  private mutating func runStep(waits: Bool = true) throws -> Step {
    let batch = model.batch(length: length, step: losses.count)
    let clock = ContinuousClock()
    let system = MachineLoad.systemSeconds()
    let start = clock.now
    let measured = try engine.accumulateGradients([batch])
    let turn = clock.now
    let norm = try GradientNorm(model.prepared.units).value
    // Clipped to norm 1, with 1e-6 as in torch.nn.utils.clip_grad_norm_.
    optimizer.step(learningRate: 1e-4, gradientScale: min(1, 1 / (norm + 1e-6)))
    if waits { device.synchronize() }
    let end = clock.now
    losses.append(measured.loss)
    norms.append(norm)
    if firstStepAge == nil { firstStepAge = MachineLoad.processAge() }
    let gradientSeconds = (turn - start).seconds
    return Step(
      total: (end - start).seconds, forward: gradientSeconds - measured.backwardSeconds,
      backward: measured.backwardSeconds, optimizer: (end - turn).seconds,
      system: MachineLoad.systemSeconds() - system)
  }

  // MARK: Output

  private func report(_ label: String, _ step: Step, others: Double?) {
    var line = "xtuner \(label) \(Self.text(step.total)) s"
    line += " fwd \(Self.text(step.forward)) bwd \(Self.text(step.backward))"
    line += " opt \(Self.text(step.optimizer)) sys \(Self.text(step.system))"
    line +=
      " loss \(String(format: "%.5f", losses.last ?? .nan)) gnorm \(Self.text(norms.last ?? .nan))"
    if let others {
      line += " others \(Self.text(others))\(others < Self.quietLimit ? "" : " DIRTY")"
    }
    Output.note(line)
  }

  private func printResult(_ steps: [Step], peak: Double, activity: DeviceActivity?) {
    let total = Self.median(steps.map(\.total))
    let operations =
      Double(length)
      * model.prepared.model.facts.trainingOperationsPerToken(effectiveLength: Double(length))
    let parameterCount = model.prepared.model.parameters.reduce(0) { $0 + $1.elementCount }
    var fields: [(String, JSONValue)] = [
      ("peer", "xtuner"), ("impl", "swift"), ("compile", false),
      ("dtype", .string(command.dtype.rawValue)),
      ("master", command.state == .f32 ? "fp32" : "none"),
      ("device", .string(device.description)),
      ("layers", .integer(model.configuration.layers.count)),
      ("fp8", .string(configuration.model.float8.rawValue)),
      ("recompute", .integer(engine.options.recomputedLayerCount)),
      ("seq", .integer(length)), ("emb_std", .double(command.embeddingDeviation)),
      ("data", "zipf"), ("params", Self.rounded(Double(parameterCount) / 1e6)),
      ("tok_s", Self.rounded(Double(length) / total)), ("med", Self.rounded(total)),
      ("fwd", Self.rounded(Self.median(steps.map(\.forward)))),
      ("bwd", Self.rounded(Self.median(steps.map(\.backward)))),
      ("opt", Self.rounded(Self.median(steps.map(\.optimizer)))),
      ("sys", Self.rounded(Self.median(steps.map(\.system)))),
      ("best", Self.rounded(steps.map(\.total).min() ?? .nan)),
      ("gflops", Self.rounded(operations / total / 1e9)), ("peak", Self.rounded(peak / 1e9)),
      // A CPU's peak is measured: with other work on the machine it may be too low to be a base.
      (
        "mfu",
        device.kind == .cpu && operations / total > peak
          ? .null : Self.rounded(operations / total / peak)
      ),
      ("rss_gb", Self.rounded(Double(MachineLoad.peakResidentKibibytes()) / 1e6)),
      ("device_gb", deviceGigabytes),
      ("first_step_s", firstStepAge.map(Self.rounded) ?? .null),
      ("clean", .integer(cleanSteps.count)), ("dirty", .integer(dirtyCount)),
      ("torch", .string(Torch.version)), ("threads", .integer(threadCount)),
      ("alloc", .string(environment["PEERS_ALLOC"] ?? "default")),
      ("loss", .array(losses.prefix(10).map(Self.rounded))),
      ("gnorm", .array(norms.prefix(3).map(Self.rounded))),
      ("attention", .array(CUDAPlugin.attentionChoices.map(JSONValue.string))),
    ]
    if let activity { fields += activity.fields }
    if command.json {
      Output.write(JSONValue.object(JSONObject(fields.map { .init(key: $0, value: $1) })).text())
    } else {
      Output.write(rows: fields.map { ($0, $1.stringValue ?? $1.text()) })
    }
  }

  /// The most bytes of tensors on a device at a time, in GB; null on a CPU, which has `rss_gb`.
  private var deviceGigabytes: JSONValue {
    device.kind == .cpu
      ? .null : Self.rounded(Double(DeviceMemory.peakByteCount(on: device)) / 1e9)
  }

  private static func median(_ values: [Double]) -> Double {
    let sorted = values.sorted()
    let middle = sorted.count / 2
    return sorted.count.isMultiple(of: 2)
      ? (sorted[middle - 1] + sorted[middle]) / 2 : sorted[middle]
  }

  /// Four decimals, as the scripts print.
  private static func rounded(_ value: Double) -> JSONValue {
    value.isFinite ? .double((value * 10000).rounded() / 10000) : .null
  }

  private static func text(_ value: Double) -> String {
    String(format: "%.3f", value)
  }
}

extension DeviceActivity {
  /// The keys of `bench step --idle`: the share of idle time, and the kernels with most time.
  fileprivate var fields: [(String, JSONValue)] {
    let kernels = operations.prefix(15).map { operation -> JSONValue in
      .members([
        "name": .string(String(operation.name.prefix(120))),
        "calls": .integer(operation.callCount),
        "share": .number(operation.seconds / max(seconds, 1e-9), digits: 4),
      ])
    }
    return [
      ("idle", .number(idleShare, digits: 4)), ("traced_s", .number(seconds, digits: 5)),
      ("kernels", .array(kernels)),
    ]
  }
}
