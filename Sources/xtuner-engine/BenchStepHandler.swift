import Foundation
import Torch
import XTunerCommands
import XTunerModels
import XTunerNN
import XTunerParallel
import XTunerTokenizers
import XTunerTrainer

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
    model = BenchStepModel(
      BenchStepModel.Sizes(
        layerCount: command.layerCount, hiddenSize: command.hiddenSize,
        expertCount: command.expertCount, expertsPerToken: command.expertsPerToken,
        expertSize: command.expertSize, vocabularySize: command.vocabularySize,
        headCount: command.headCount, keyValueHeadCount: command.keyValueHeadCount,
        headSize: command.headDimension, denseSize: command.denseSize),
      embeddingDeviation: command.embeddingDeviation, computeDType: DType(command.dtype),
      keepsMaster: command.state == .float32)
    var options = TrainingEngine.Options()
    options.recomputedLayerCount = command.recompute
    options.forcedRouting = command.forcedRouting.map { rule in
      switch rule {
      case .uniform: .uniform
      case .random: .random
      }
    }
    options.forbidsWaits = command.forbidsWaits
    let device = model.prepared.units.mesh.device
    guard !command.forbidsWaits || device.canForbidWaits else {
      throw CommandFailure(
        .usage,
        """
        --forbid-waits needs a device whose back end can refuse to wait (CUDA with its plug-in); \
        these steps run on \(device)
        """)
    }
    engine = TrainingEngine(
      model: model.prepared.model, units: model.prepared.units, options: options)
    // 0.9, 0.95, 1e-8 and 0.1, as in the scripts, are the defaults.
    optimizer = AdamW(model.prepared.units.all, options: AdamW.Options())
  }

  private mutating func measure() throws {
    for index in 0..<command.warmUpCount {
      let step = try runStep()
      report("warm \(index)", step, others: nil)
    }
    MachineLoad.waitUntilQuiet(limit: Self.quietLimit, patience: 60)
    var peak = MachineLimits.matrixProductPeak()
    var lastStep: Step?
    while cleanSteps.count < stepCount && cleanSteps.count + dirtyCount < 4 * stepCount {
      let load = MachineLoad.now()
      let step = try runStep()
      let others = load.othersSince()
      lastStep = step
      if others < Self.quietLimit { cleanSteps.append(step) } else { dirtyCount += 1 }
      report("step", step, others: others)
    }
    MachineLoad.waitUntilQuiet(limit: Self.quietLimit, patience: 30)
    peak = max(peak, MachineLimits.matrixProductPeak())
    let used = cleanSteps.isEmpty ? [lastStep].compactMap { $0 } : cleanSteps
    printResult(used, peak: peak)
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

  /// One step on fresh tokens: gradients, norm, clipping, update.
  private mutating func runStep() throws -> Step {
    let batch = model.batch(length: length, step: losses.count)
    let clock = ContinuousClock()
    let system = MachineLoad.systemSeconds()
    let start = clock.now
    let measured = try engine.accumulateGradients([batch])
    let turn = clock.now
    let norm = try GradientNorm(model.prepared.units).value
    // Clipped to norm 1, with 1e-6 as in torch.nn.utils.clip_grad_norm_.
    optimizer.step(learningRate: 1e-4, gradientScale: min(1, 1 / (norm + 1e-6)))
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

  private func printResult(_ steps: [Step], peak: Double) {
    let total = Self.median(steps.map(\.total))
    let operations = model.stepOperations(length: length)
    let parameterCount = model.prepared.model.parameters.reduce(0) { $0 + $1.elementCount }
    let fields: [(String, JSONValue)] = [
      ("peer", "xtuner"), ("impl", "swift"), ("compile", false),
      ("dtype", .string(command.dtype.rawValue)),
      ("master", command.state == .float32 ? "fp32" : "none"),
      ("seq", .integer(length)), ("emb_std", .double(command.embeddingDeviation)),
      ("data", "zipf"), ("params", Self.rounded(Double(parameterCount) / 1e6)),
      ("tok_s", Self.rounded(Double(length) / total)), ("med", Self.rounded(total)),
      ("fwd", Self.rounded(Self.median(steps.map(\.forward)))),
      ("bwd", Self.rounded(Self.median(steps.map(\.backward)))),
      ("opt", Self.rounded(Self.median(steps.map(\.optimizer)))),
      ("sys", Self.rounded(Self.median(steps.map(\.system)))),
      ("best", Self.rounded(steps.map(\.total).min() ?? .nan)),
      ("gflops", Self.rounded(operations / total / 1e9)), ("peak", Self.rounded(peak / 1e9)),
      ("mfu", Self.rounded(operations / total / peak)),
      ("rss_gb", Self.rounded(Double(MachineLoad.peakResidentKibibytes()) / 1e6)),
      ("first_step_s", firstStepAge.map(Self.rounded) ?? .null),
      ("clean", .integer(cleanSteps.count)), ("dirty", .integer(dirtyCount)),
      ("torch", .string(Torch.version)), ("threads", .integer(threadCount)),
      ("alloc", .string(environment["PEERS_ALLOC"] ?? "default")),
      ("loss", .array(losses.prefix(10).map(Self.rounded))),
      ("gnorm", .array(norms.prefix(3).map(Self.rounded))),
    ]
    if command.json {
      Output.write(JSONValue.object(JSONObject(fields.map { .init(key: $0, value: $1) })).text())
    } else {
      Output.write(rows: fields.map { ($0, $1.stringValue ?? $1.text()) })
    }
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
